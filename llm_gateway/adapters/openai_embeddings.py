"""The protocol of POST /v1/embeddings: inputs in, vectors out.

Calls are cut into batches and joined into one here, and answers the other way round.
"""

from collections.abc import Sequence
from itertools import islice
from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from llm_gateway.adapters import splice
from llm_gateway.adapters.base import Changes
from llm_gateway.adapters.counting import RAW_KEPT, count, shares
from llm_gateway.adapters.embeddings_across import (
    PATH,
    parse_request,
    read_answer,
    render_answer,
    render_request,
)
from llm_gateway.adapters.openai_chat.errors import parse_error, render_error
from llm_gateway.adapters.openai_chat.wire import error_in_answer
from llm_gateway.adapters.paths import path_for
from llm_gateway.adapters.steering import refuse_steering
from llm_gateway.adapters.steering_fields import model_name, outgoing, wrong
from llm_gateway.errors import InvalidAnswerError
from llm_gateway.types import Call, Facts, Outgoing, Quirks, Usage

__all__ = [
    "cut",
    "join",
    "likeness",
    "merge",
    "name",
    "parse_call",
    "parse_error",
    "parse_request",
    "read_answer",
    "relay_answer",
    "render_answer",
    "render_error",
    "render_relay",
    "render_request",
    "split",
]

name = "openai_embeddings"
KNOWN = frozenset({"dimensions", "encoding_format", "input", "model", "user"})


class Vectors(Struct):
    data: list[Raw] | None = None
    model: Any = None
    usage: Raw | UnsetType = UNSET
    error: Any = None


class Numbered(Struct):
    index: int = 0


_decode = msgspec.json.Decoder(Vectors).decode
_numbered = msgspec.json.Decoder(Numbered).decode
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
    """Return the call as calls of what a provider takes at once, in order.

    That is `embeddings_batch` inputs of `embeddings_batch_bytes` in all; a single input may be
    larger: the provider judges it.
    """
    batches: list[list[Any]] = []
    room = 0
    for one in _inputs(call.body):
        size = _weight(one)
        if not batches or len(batches[-1]) == quirks.embeddings_batch or size > room:
            batches.append([])
            room = quirks.embeddings_batch_bytes
        batches[-1].append(one)
        room -= size
    return [call] if len(batches) == 1 else [_of_inputs(call, batch) for batch in batches]


def likeness(call: Call) -> dict[str, Any]:
    """Return all but the inputs of a call."""
    return {name: value for name, value in call.body.items() if name != "input"}


def merge(calls: Sequence[Call]) -> Call:
    """Return calls that differ in nothing but their inputs as one call."""
    return _of_inputs(calls[0], [one for call in calls for one in _inputs(call.body)])


def render_relay(call: Call, changes: Changes, quirks: Quirks) -> Outgoing:
    """Return the caller's own body under the upstream's model name."""
    body = {**call.body, "model": changes.upstream_name}
    path = path_for("embeddings", PATH, changes.upstream_name, quirks)
    return outgoing(path, body, quirks.default_headers)


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
    vectors = [vector for body in bodies for vector in _in_order(_decode(body).data or ())]
    return _answer(bodies[0], vectors, usage)


def cut(
    body: bytes, calls: Sequence[Call], usage: Usage | None
) -> list[tuple[bytes, Usage | None]]:
    """Return the relayed answer of a merged call as the answers of its calls.

    Usage is split by the size of what each asked, to the last token. Raises InvalidAnswerError for
    an answer with fewer or more vectors than inputs.
    """
    vectors = iter(_in_order(_decode(body).data or ()))
    parts = [list(islice(vectors, call.items)) for call in calls]
    if next(vectors, None) is not None or len(parts[-1]) < calls[-1].items:
        raise InvalidAnswerError("The provider's answer has not one vector for each input.")
    if usage is None:
        return [(_answer(body, part, None), None) for part in parts]
    weights = [sum(map(_weight, _inputs(call.body))) for call in calls]
    used = [Usage(input=share) for share in shares(usage.input, weights)]
    return [(_answer(body, part, own), own) for part, own in zip(parts, used, strict=True)]


def _answer(like: bytes, vectors: Sequence[Raw], usage: Usage | None) -> bytes:
    """Return an answer of these vectors, in everything else as another one is."""
    numbered = [
        {**_members(vector), "index": Raw(b"%d" % number)} for number, vector in enumerate(vectors)
    ]
    answer: dict[str, Any] = {**_members(like), "data": numbered}
    if usage is not None:
        answer["usage"] = {"prompt_tokens": usage.input, "total_tokens": usage.input}
    return msgspec.json.encode(answer)


def _in_order(vectors: Sequence[Raw]) -> list[Raw]:
    """Return vectors in the order of their inputs: a provider may number them otherwise."""
    return sorted(vectors, key=_index)


def _index(vector: Raw) -> int:
    return _numbered(vector).index


def _of_inputs(call: Call, inputs: list[Any]) -> Call:
    size = sum(map(_weight, inputs))
    body = {**call.body, "input": inputs}
    return msgspec.structs.replace(call, body=body, items=len(inputs), size=size)


def _weight(one: object) -> int:
    """Return bytes of a text, or of as many tokens: no input has more tokens than that."""
    if isinstance(one, str):
        return len(one) if one.isascii() else len(one.encode("utf-8", "surrogatepass"))
    return len(one) if isinstance(one, list) else 0


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
