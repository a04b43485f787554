"""The protocol of POST /v1/embeddings: inputs in, vectors out; batches are cut and joined here."""

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from llm_gateway.adapters import splice
from llm_gateway.adapters.base import Changes
from llm_gateway.adapters.counting import RAW_KEPT, count
from llm_gateway.adapters.openai_chat.errors import parse_error, render_error
from llm_gateway.adapters.openai_chat.wire import error_in_answer
from llm_gateway.adapters.steering import refuse_steering
from llm_gateway.adapters.steering_fields import model_name, outgoing, wrong
from llm_gateway.errors import InvalidAnswerError
from llm_gateway.types import Call, Facts, Outgoing, Quirks, Usage

__all__ = [
    "join",
    "name",
    "parse_call",
    "parse_error",
    "relay_answer",
    "render_error",
    "render_relay",
    "split",
]

name = "openai_embeddings"
PATH = "/embeddings"
KNOWN = frozenset({"dimensions", "encoding_format", "input", "model", "user"})


class Vectors(Struct):
    data: list[Raw] | None = None
    model: Any = None
    usage: Raw | UnsetType = UNSET
    error: Any = None


_decode = msgspec.json.Decoder(Vectors).decode
_members = msgspec.json.Decoder(dict[str, Raw]).decode


def parse_call(body: dict[str, Any], *, size: int) -> Call:
    """Return what steers the gateway; `items` is the number of inputs.

    Raises InvalidRequestError naming the field.
    """
    refuse_steering(body, KNOWN)
    user = body.get("user")
    if user is not None and not isinstance(user, str):
        raise wrong("user", "a string")
    return Call(
        dialect=name,
        operation="embeddings",
        model=model_name(body),
        body=body,
        size=size,
        end_user=user or None,
        needs=frozenset({"embeddings"}),
        items=len(_inputs(body)),
    )


def split(call: Call, quirks: Quirks) -> list[Call]:
    """Return the call as calls of at most `quirks.embeddings_batch` inputs, in order."""
    inputs = _inputs(call.body)
    if len(inputs) <= quirks.embeddings_batch:
        return [call]
    batches = [
        inputs[start : start + quirks.embeddings_batch]
        for start in range(0, len(inputs), quirks.embeddings_batch)
    ]
    return [
        msgspec.structs.replace(call, body={**call.body, "input": batch}, items=len(batch))
        for batch in batches
    ]


def render_relay(call: Call, changes: Changes, quirks: Quirks) -> Outgoing:
    """Return the caller's own body under the upstream's model name."""
    body = {**call.body, "model": changes.upstream_name}
    return outgoing(PATH, body, quirks.default_headers)


def relay_answer(body: bytes, *, model: str) -> tuple[bytes, Facts]:
    """Return the answer with its model renamed, and its facts.

    Raises InvalidAnswerError for what holds no vectors, or the error it names instead.
    """
    try:
        answer = _decode(body)
        body.decode()
        renamed = splice.substitute(body, ("model",), msgspec.json.encode(model))
    except ValueError as error:
        raise InvalidAnswerError("The provider's answer is not valid JSON.") from error
    if answer.error is not None:
        raise error_in_answer(answer.error)
    if not answer.data:
        raise InvalidAnswerError("The provider's answer has no embeddings.")
    upstream_model = answer.model if isinstance(answer.model, str) else None
    facts = Facts(model=upstream_model, complete=True, content=True)
    _observe_usage(answer, facts)
    return renamed if upstream_model is not None else body, facts


def join(bodies: Sequence[bytes], usage: Usage) -> bytes:
    """Return the relayed answers of a call's batches as one; vectors are numbered anew."""
    if len(bodies) == 1:
        return bodies[0]
    vectors = [vector for body in bodies for vector in _decode(body).data or ()]
    numbered = [
        {**_members(vector), "index": Raw(str(number).encode())}
        for number, vector in enumerate(vectors)
    ]
    total = {"prompt_tokens": usage.input, "total_tokens": usage.input}
    return msgspec.json.encode({**_members(bodies[0]), "data": numbered, "usage": total})


def _inputs(body: dict[str, Any]) -> list[Any]:
    """Return the inputs as a list: texts, or lists of tokens; a single one as a list of it."""
    given = body.get("input")
    if isinstance(given, str):
        return [given]
    if not isinstance(given, list) or not given:
        raise wrong("input", "a text, a list of texts, or tokens")
    return [given] if isinstance(given[0], int) else given


def _observe_usage(answer: Vectors, facts: Facts) -> None:
    if answer.usage is UNSET:
        return
    raw = bytes(answer.usage)
    try:
        facts.usage = Usage(input=count(msgspec.json.decode(raw, type=dict)["prompt_tokens"]))
    except (KeyError, ValueError):
        facts.usage_invalid = raw[:RAW_KEPT].decode(errors="replace")
