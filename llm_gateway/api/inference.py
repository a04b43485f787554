"""Complete, stream and embed: the one path, asked in the gateway's own words."""

from collections.abc import AsyncIterator
from typing import Any, Literal, get_args
from uuid import UUID

import msgspec
from django.http import HttpResponse, StreamingHttpResponse
from drf_spectacular.utils import OpenApiResponse, extend_schema
from msgspec.structs import replace
from rest_framework.request import Request

from llm_gateway.adapters import native, sse
from llm_gateway.api import schemas
from llm_gateway.api.problems import set_headers
from llm_gateway.api.views import GatewayView
from llm_gateway.errors import InvalidRequestError, SchemaMismatchError
from llm_gateway.service import asking, chatting, process
from llm_gateway.service.body import parse_body
from llm_gateway.service.carried import CLOSING, Carried
from llm_gateway.service.controls import parse_controls
from llm_gateway.service.inbound import Answer, Controls, Inbound
from llm_gateway.service.once import idempotency
from llm_gateway.types import StrategyName

TAGS = ["inference"]
STRATEGIES = get_args(StrategyName)
MOST_MODELS = 16


class Inference(GatewayView):
    """Reads a body, asks the service, and lets what was begun end well."""

    async def read(self, request: Request) -> tuple[dict[str, Any], asking.Asker]:
        """Return the body without what in it is about the way, and who asks on which."""
        raw: bytes = request.read()
        body = parse_body(raw)
        headers = dict(request.scope["headers"])  # type: ignore[attr-defined] # ASGI's
        return body, asking.Asker(
            runtime=await process.opened(),
            caller=self.caller,
            endpoint=request.path,
            request_id=self.request_id,
            controls=_steered(body, parse_controls(headers)),
            idempotency=idempotency(headers, request.path, raw),
        )

    async def ask(self, request: Request, inbound: Inbound) -> tuple[Carried, Answer]:
        carried = Carried(await process.opened(), inbound)
        request.scope[CLOSING].on_close(carried.end)  # type: ignore[attr-defined] # ASGI's
        return carried, await carried.answer()

    async def complete(
        self, request: Request, body: dict[str, Any], asker: asking.Asker
    ) -> HttpResponse:
        """Return the whole answer to a chat."""
        check_no_stream(body)
        chat = await chatting.chat_of(asker, body)
        _, answer = await self.ask(request, chat.inbound)
        answer.headers += chat.headers
        return _json(await chatting.whole(chat, answer, asker), answer)


class Complete(Inference):
    @extend_schema(
        operation_id="complete",
        summary="Ask and get the whole answer",
        description=(
            "Same path, limits, budgets and fallbacks as the OpenAI and Anthropic endpoints. The"
            " headers `x-mobius-*` and `x-ratelimit-*` are set as there."
        ),
        tags=TAGS,
        request=schemas.CompleteRequest,
        responses={200: schemas.Completion, "4XX": schemas.PROBLEM, "5XX": schemas.PROBLEM},
        examples=schemas.COMPLETE_EXAMPLES,
    )
    async def post(self, request: Request) -> HttpResponse:
        body, asker = await self.read(request)
        return await self.complete(request, body, asker)


class Stream(Inference):
    @extend_schema(
        operation_id="stream",
        summary="Ask and get the answer as it is written",
        description=(
            "Server-sent events: `data: {content, provider, model, finish_reason}` for each piece;"
            " the last one also has `usage` and `cost_usd`. Then `data: [DONE]`, or"
            " `data: {error}` and no `[DONE]` where the answer breaks off."
        ),
        tags=TAGS,
        request=schemas.CompleteRequest,
        responses={
            (200, "text/event-stream"): OpenApiResponse(schemas.Chunk, "One event"),
            "4XX": schemas.PROBLEM,
            "5XX": schemas.PROBLEM,
        },
        examples=schemas.COMPLETE_EXAMPLES,
    )
    async def post(self, request: Request) -> StreamingHttpResponse:
        body, asker = await self.read(request)
        check_no_stream(body)
        chat = await chatting.chat_of(asker, {**body, "stream": True})
        carried, answer = await self.ask(request, chat.inbound)
        answer.headers += chat.headers
        response = StreamingHttpResponse(
            _events(chat, carried, answer, self.request_id),
            content_type="text/event-stream; charset=utf-8",
        )
        set_headers(response, answer.headers)
        return response


class Embed(Inference):
    @extend_schema(
        operation_id="embed",
        summary="Turn texts into vectors",
        description="Any number of texts; the vectors come in their order.",
        tags=TAGS,
        request=schemas.EmbedRequest,
        responses={200: schemas.Embeddings, "4XX": schemas.PROBLEM, "5XX": schemas.PROBLEM},
    )
    async def post(self, request: Request) -> HttpResponse:
        body, asker = await self.read(request)
        for field in body.keys() - {"texts", "model"}:
            raise InvalidRequestError(f"'{field}' is not a parameter.", param=field)
        texts = body.get("texts")
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise InvalidRequestError("'texts' must be a list of texts.", param="texts")
        inbound = asking.embed(asker, texts, body.get("model"))
        _, answer = await self.ask(request, inbound)
        return _json(asking.embeddings(answer), answer)


async def _events(
    chat: chatting.Chat, carried: Carried, answer: Answer, request_id: UUID
) -> AsyncIterator[bytes]:
    try:
        async for chunk in chatting.pieces(chat, carried, answer):
            said = msgspec.structs.asdict(chunk)
            if chunk.usage is None:
                del said["usage"], said["cost_usd"]
            if chunk.max_tokens is None:
                del said["max_tokens"]
            yield sse.unnamed(msgspec.json.encode(said))
    except asking.BrokenStreamError as error:
        yield sse.unnamed(msgspec.json.encode({"error": error.problem}))
    except SchemaMismatchError as error:
        yield native.render_stream_error(error, request_id=str(request_id))
    else:
        yield sse.unnamed(native.DONE)


def _steered(body: dict[str, Any], controls: Controls) -> Controls:
    """Take the way out of the body; what a header says holds where both speak."""
    provider, strategy = body.pop("provider", None), body.pop("strategy", None)
    if provider is not None and not isinstance(provider, str):
        raise InvalidRequestError("'provider' must be a name.", param="provider")
    if strategy is not None and strategy not in STRATEGIES:
        raise InvalidRequestError(
            f"'strategy' must be one of {', '.join(STRATEGIES)}.", param="strategy"
        )
    return replace(
        controls,
        cache=controls.cache or _cache(body),
        provider=controls.provider or provider,
        strategy=controls.strategy or strategy,
        further=_further(body),
    )


def _cache(body: dict[str, Any]) -> Literal["no-cache", "no-store"] | None:
    """Take out whether an answer may be given again: false is neither looked for nor kept."""
    match body.pop("cache", None):
        case None | True:
            return None
        case False | "no-store":
            return "no-store"
        case "no-cache":
            return "no-cache"
        case _:
            raise InvalidRequestError(
                "'cache' must be true, false, 'no-cache' or 'no-store'.", param="cache"
            )


def _further(body: dict[str, Any]) -> tuple[str, ...]:
    """Put the first of `models` where one model stands; return the others."""
    models = body.pop("models", None)
    if models is None:
        return ()
    if not isinstance(models, list) or not all(isinstance(name, str) for name in models):
        raise InvalidRequestError("'models' must be a list of names.", param="models")
    if not 0 < len(models) <= MOST_MODELS or body.get("model") is not None:
        raise InvalidRequestError(
            f"Send 'model', or 'models' with 1 to {MOST_MODELS} names.", param="models"
        )
    body["model"] = models[0]
    return tuple(models[1:])


def check_no_stream(body: dict[str, Any]) -> None:
    if "stream" in body:
        raise InvalidRequestError(
            "'stream' is not a parameter: use /api/v1/llm/stream.", param="stream"
        )


def _json(value: object, answer: Answer) -> HttpResponse:
    response = HttpResponse(msgspec.json.encode(value), content_type="application/json")
    set_headers(response, answer.headers)
    return response
