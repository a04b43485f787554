"""Carry embeddings between OpenAI's protocol and others: inputs in the hub's words, vectors out.

`input_type` is an extension that compatible servers know: what the vectors are for, in the words of
Cohere (`search_query`, `search_document`, `classification`, `clustering`) or of the hub.
"""

import base64
import struct
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType

from llm_gateway.adapters.counting import count
from llm_gateway.adapters.fields import Fields, wrong
from llm_gateway.adapters.openai_chat.wire import error_in_answer
from llm_gateway.adapters.paths import path_for
from llm_gateway.adapters.refusal import refuse_extras, unexpressible
from llm_gateway.adapters.steering_fields import outgoing
from llm_gateway.errors import InvalidAnswerError
from llm_gateway.types import (
    Call,
    EmbeddingsAnswer,
    EmbeddingsRequest,
    Facts,
    Outgoing,
    Purpose,
    Quirks,
    Usage,
)

PATH = "/embeddings"
_FORMATS = {None, "float", "base64"}
_PURPOSES: dict[str, Purpose] = {
    "query": "query",
    "search_query": "query",
    "document": "document",
    "search_document": "document",
    "passage": "document",
    "classification": "classification",
    "clustering": "clustering",
    "similarity": "similarity",
}


def parse_request(body: dict[str, Any]) -> EmbeddingsRequest:
    """Return the request in the hub's words. Raises InvalidRequestError naming the field."""
    fields, extras = Fields(body), dict[str, Any]()
    encoding = fields.text("encoding_format")
    if encoding not in _FORMATS:
        raise wrong("encoding_format", "float or base64")
    purpose = fields.text("input_type")
    if purpose is not None and purpose.lower() not in _PURPOSES:
        raise wrong("input_type", f"one of {', '.join(_PURPOSES)}")
    request = EmbeddingsRequest(
        model=fields.required("model"),
        inputs=tuple(_input(one) for one in _inputs(fields.take("input"))),
        dimensions=fields.integer("dimensions"),
        purpose=None if purpose is None else _PURPOSES[purpose.lower()],
        user=fields.text("user"),
        extras=extras,
    )
    fields.close(extras)
    return request


def render_request(request: EmbeddingsRequest, quirks: Quirks) -> Outgoing:
    """Return the request on the wire. Raises UnexpressibleError naming what has no word here."""
    refuse_extras(request)
    if request.purpose is not None:
        raise unexpressible("input_type")
    body = {
        "model": request.model,
        "input": list(request.inputs),
        "dimensions": request.dimensions,
        "user": request.user,
        "encoding_format": "float",
    }
    given = {name: value for name, value in body.items() if value is not None}
    for name in quirks.unsupported.intersection(given):
        raise unexpressible(name)
    path = path_for("embeddings", PATH, request.model, quirks)
    return outgoing(path, given, quirks.default_headers)


class _Vector(Struct):
    embedding: list[float] | str
    index: int = 0


class _Answer(Struct):
    data: list[_Vector] | None = None
    model: Any = None
    usage: dict[str, Any] | UnsetType | None = UNSET
    error: Any = None


_decode = msgspec.json.Decoder(_Answer).decode


def read_answer(body: bytes) -> tuple[EmbeddingsAnswer, Facts]:
    """Return the vectors of an answer. Raises InvalidAnswerError, or the error it names instead."""
    try:
        answer = _decode(body)
        vectors = tuple(map(_vector, sorted(answer.data or (), key=_index)))
    except (ValueError, struct.error) as error:
        raise InvalidAnswerError("The provider's answer is not valid JSON.") from error
    if answer.error is not None:
        raise error_in_answer(answer.error)
    if not vectors:
        raise InvalidAnswerError("The provider's answer has no embeddings.")
    model = answer.model if isinstance(answer.model, str) else None
    facts = Facts(model=model, complete=True, content=True)
    usage = answer.usage or {}
    try:
        facts.usage = Usage(input=count(usage["prompt_tokens"])) if usage else None
    except (KeyError, ValueError):
        facts.usage_invalid = str(usage)
    return EmbeddingsAnswer(vectors=vectors, usage=facts.usage or Usage()), facts


def render_answer(
    answer: EmbeddingsAnswer, call: Call, *, model: str, request_id: str, created: int = 0
) -> bytes:
    """Return vectors as numbers, or packed where the caller asked for base64."""
    del request_id, created  # the protocol has no place for them
    packed = call.body.get("encoding_format") == "base64"
    usage = {"prompt_tokens": answer.usage.input, "total_tokens": answer.usage.input}
    data = [
        {
            "object": "embedding",
            "index": index,
            "embedding": _packed(vector) if packed else vector,
        }
        for index, vector in enumerate(answer.vectors)
    ]
    return msgspec.json.encode({"object": "list", "data": data, "model": model, "usage": usage})


def _inputs(given: object) -> Sequence[Any]:
    if isinstance(given, str):
        return [given]
    if not isinstance(given, list) or not given:
        raise wrong("input", "a text, a list of texts, or tokens")
    return [given] if isinstance(given[0], int) else given


def _input(one: object) -> str | tuple[int, ...]:
    if isinstance(one, str):
        return one
    if isinstance(one, list) and all(type(token) is int for token in one):
        return tuple(one)
    raise wrong("input", "a text, a list of texts, or tokens")


def _index(vector: _Vector) -> int:
    return vector.index


def _vector(vector: _Vector) -> tuple[float, ...]:
    if isinstance(vector.embedding, list):
        return tuple(vector.embedding)
    raw = base64.b64decode(vector.embedding, validate=True)
    return struct.unpack(f"<{len(raw) // 4}f", raw)


def _packed(vector: tuple[float, ...]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
