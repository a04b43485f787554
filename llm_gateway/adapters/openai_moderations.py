"""The protocol of POST /v1/moderations, both directions: texts and images in, categories out.

OpenAI does it for nothing and reports no usage; servers that bill it report tokens.
"""

from typing import Any

from llm_gateway.adapters.base import Changes
from llm_gateway.adapters.counting import count
from llm_gateway.adapters.openai_chat.errors import parse_error, render_error
from llm_gateway.adapters.paths import path_for
from llm_gateway.adapters.steering import refuse_steering
from llm_gateway.adapters.steering_fields import inline_size, model_name, outgoing, wrong
from llm_gateway.adapters.whole_relay import Listed, refuse_stream, relay_listed
from llm_gateway.types import Call, Facts, Outgoing, Quirks, Usage

__all__ = ["name", "parse_call", "parse_error", "relay_answer", "render_error", "render_relay"]

name = "openai_moderations"
PATH = "/moderations"
DEFAULT_MODEL = "omni-moderation-latest"  # the protocol's own, where a caller names none
KNOWN = frozenset({"input", "model"})


def parse_call(body: dict[str, Any], *, size: int) -> Call:
    """Return what steers the gateway; `items` is the number of inputs.

    Raises InvalidRequestError naming the field.
    """
    refuse_steering(body, KNOWN)
    refuse_stream(body)
    inputs = _inputs(body)
    images = [one for one in inputs if isinstance(one, dict) and one.get("type") == "image_url"]
    return Call(
        dialect=name,
        operation="moderations",
        model=DEFAULT_MODEL if body.get("model") is None else model_name(body),
        body=body,
        size=size,
        needs=frozenset({"moderations"}),
        items=len(inputs),
        images=len(images),
        media_bytes=sum(inline_size(one.get("image_url"), "url") for one in images),
    )


def render_relay(call: Call, changes: Changes, quirks: Quirks) -> Outgoing:
    """Return the caller's own body under the upstream's model name."""
    body = {**call.body, "model": changes.upstream_name}
    path = path_for("moderations", PATH, changes.upstream_name, quirks)
    return outgoing(path, body, quirks.default_headers)


def relay_answer(body: bytes, *, model: str) -> tuple[bytes, Facts]:
    """Return the answer with its model renamed, and its facts.

    Raises InvalidAnswerError for what holds no results, or the error it names instead.
    """
    return relay_listed(body, model=model, read_usage=_usage)


def _usage(answer: Listed) -> Usage | None:
    if not isinstance(answer.usage, dict):
        return None
    return Usage(
        input=count(answer.usage.get("prompt_tokens")),
        output=count(answer.usage.get("completion_tokens")),
    )


def _inputs(body: dict[str, Any]) -> list[Any]:
    given = body.get("input")
    if isinstance(given, str):
        return [given]
    if not isinstance(given, list) or not given:
        raise wrong("input", "a text, or a list of texts and images")
    return given
