"""Count a prompt's tokens, and shorten it: nothing is sent anywhere."""

from typing import Any

import msgspec
from django.http import HttpResponse
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request

from llm_gateway.api import prompt_schemas, schemas
from llm_gateway.api.views import GatewayView, check_fields
from llm_gateway.errors import InvalidRequestError
from llm_gateway.service import preparing, process
from llm_gateway.service.asking import default_model
from llm_gateway.service.body import parse_body
from llm_gateway.service.counting import count_body

MOST_MODELS = 16


class CountTokens(GatewayView):
    @extend_schema(
        operation_id="count_tokens",
        summary="Count the tokens of a chat's input, by model",
        description=(
            "Exact where the model's vocabulary is public and the input is text; elsewhere an"
            " estimate with its error. Costs nothing and is sent nowhere."
        ),
        tags=["inference"],
        request=prompt_schemas.CountRequest,
        responses={200: prompt_schemas.Tokens, "4XX": schemas.PROBLEM},
    )
    async def post(self, request: Request) -> HttpResponse:
        body = parse_body(request.read())
        names = _names(body)
        runtime = await process.opened()
        return _json(await count_body(runtime, self.caller, body, names))


class OptimizePrompt(GatewayView):
    @extend_schema(
        operation_id="optimize_prompt",
        summary="Shorten a prompt to a number of tokens",
        description=(
            "Whitespace goes first, then what is repeated, then the oldest turns. Instructions and"
            " the last turn stay; a tool's call and its results go together. Of a single `prompt`"
            " the paragraphs that add least may go, too."
        ),
        tags=["inference"],
        request=prompt_schemas.OptimizeRequest,
        responses={200: prompt_schemas.OptimizedPrompt, "4XX": schemas.PROBLEM},
    )
    async def post(self, request: Request) -> HttpResponse:
        body = parse_body(request.read())
        check_fields(body, {"messages", "prompt", "target_tokens", "model"})
        target = body.get("target_tokens")
        if isinstance(target, bool) or not isinstance(target, int) or target < 1:
            raise InvalidRequestError(
                "'target_tokens' must be a whole number of at least 1.", param="target_tokens"
            )
        runtime = await process.opened()
        model = _name(body.get("model") or default_model(runtime, self.caller, "chat"), "model")
        if "messages" in body and "prompt" in body:
            raise InvalidRequestError("Send 'messages' or 'prompt', not both.", param="prompt")
        found = await preparing.shortened(runtime, self.caller, dict(body), target, model)
        is_text = isinstance(body.get("prompt"), str)
        words = (
            {"prompt": found.messages[0]["content"]} if is_text else {"messages": found.messages}
        )
        return _json({**words, **preparing.report(found)})


def _names(body: dict[str, Any]) -> list[str] | None:
    """Take the models out of a body; None where it names none."""
    one, several = body.pop("model", None), body.pop("models", None)
    if several is None:
        return None if one is None else [_name(one, "model")]
    if one is not None or not isinstance(several, list) or not 0 < len(several) <= MOST_MODELS:
        raise InvalidRequestError(
            f"Send 'model', or 'models' with 1 to {MOST_MODELS} names.", param="models"
        )
    return [_name(name, "models") for name in several]


def _name(value: object, param: str) -> str:
    if not isinstance(value, str) or not value:
        raise InvalidRequestError(f"'{param}' must be the name of a model.", param=param)
    return value


def _json(value: object) -> HttpResponse:
    return HttpResponse(msgspec.json.encode(value), content_type="application/json")
