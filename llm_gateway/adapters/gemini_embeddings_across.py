"""Carry embeddings between Gemini's protocol and others: texts in the hub's words, vectors out.

Gemini says for each content of a batch what others say once for all of them, so it has to be equal.
"""

from typing import Any

import msgspec
from msgspec import Struct

from llm_gateway.adapters.counting import count
from llm_gateway.adapters.fields import wrong
from llm_gateway.adapters.gemini import wire
from llm_gateway.adapters.gemini.call import path_of, resource_of
from llm_gateway.adapters.gemini.proto import ProtoFields
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

BATCH = "batchEmbedContents"
_PURPOSES: dict[str, Purpose] = {
    "RETRIEVAL_QUERY": "query",
    "RETRIEVAL_DOCUMENT": "document",
    "CLASSIFICATION": "classification",
    "CLUSTERING": "clustering",
    "SEMANTIC_SIMILARITY": "similarity",
}
_TASKS = {purpose: task for task, purpose in _PURPOSES.items()}


class _Vector(Struct):
    values: tuple[float, ...] = ()


class _Answer(Struct, rename="camel"):
    embedding: _Vector | None = None
    embeddings: list[_Vector] | None = None
    usage_metadata: dict[str, Any] | None = None
    error: Any = None


_decode = msgspec.json.Decoder(_Answer).decode


class _One(Struct, frozen=True):
    """What one content of a batch asks for."""

    text: str
    dimensions: int | None
    purpose: Purpose | None


def requests_of(body: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the single request that a body is, or those of a batch."""
    if "requests" not in body:
        return [body]
    requests = body["requests"]
    requests = [requests] if isinstance(requests, dict) else requests
    if not isinstance(requests, list) or not requests:
        raise wrong("requests", "a list with at least one request")
    for index, one in enumerate(requests):
        if not isinstance(one, dict):
            raise wrong(f"requests[{index}]", "an object")
    return requests


def parse_request(body: dict[str, Any]) -> EmbeddingsRequest:
    """Return the request in the hub's words. Raises InvalidRequestError naming the field."""
    extras: dict[str, Any] = {}
    whole = ProtoFields(body)
    batch = "requests" in body
    asked = [_one(one, extras) for one in (whole.objects("requests") if batch else [whole])]
    if batch:
        whole.take("model")
        whole.close(extras)
    first = asked[0]
    for index, one in enumerate(asked):
        if (one.dimensions, one.purpose) != (first.dimensions, first.purpose):
            raise unexpressible(f"requests[{index}]", "all inputs have to ask for the same")
    return EmbeddingsRequest(
        model="",
        inputs=tuple(one.text for one in asked),
        dimensions=first.dimensions,
        purpose=first.purpose,
        extras=extras,
    )


def render_request(request: EmbeddingsRequest, quirks: Quirks) -> Outgoing:
    """Return the request on the wire. Raises UnexpressibleError naming what has no word here."""
    refuse_extras(request)
    if request.user is not None:
        raise unexpressible("user")
    settings = {
        "outputDimensionality": request.dimensions,
        "taskType": _TASKS.get(request.purpose) if request.purpose else None,
    }
    given = {name: value for name, value in settings.items() if value is not None}
    model = resource_of(request.model)
    requests = [{"model": model, "content": _content(one), **given} for one in request.inputs]
    return outgoing(path_of(request.model, BATCH), {"requests": requests}, quirks.default_headers)


def read_answer(body: bytes) -> tuple[EmbeddingsAnswer, Facts]:
    """Return the vectors of an answer. Raises InvalidAnswerError, or the error it names instead."""
    try:
        answer = _decode(body)
    except ValueError as error:
        raise InvalidAnswerError("The provider's answer is not valid JSON.") from error
    if answer.error is not None:
        raise wire.error_in_answer(answer.error)
    vectors = answer.embeddings or ([answer.embedding] if answer.embedding else [])
    if not vectors:
        raise InvalidAnswerError("The provider's answer has no embeddings.")
    facts = Facts(complete=True, content=True)
    usage = answer.usage_metadata or {}
    try:
        facts.usage = Usage(input=count(usage["promptTokenCount"])) if usage else None
    except (KeyError, ValueError):
        facts.usage_invalid = str(usage)
    read = tuple(vector.values for vector in vectors)
    return EmbeddingsAnswer(vectors=read, usage=facts.usage or Usage()), facts


def render_answer(
    answer: EmbeddingsAnswer, call: Call, *, model: str, request_id: str, created: int = 0
) -> bytes:
    """Return vectors in the envelope that was asked for."""
    del model, request_id, created  # the protocol has no place for them
    vectors = [{"values": vector} for vector in answer.vectors]
    shape = {"embeddings": vectors} if "requests" in call.body else {"embedding": vectors[0]}
    usage = {"promptTokenCount": answer.usage.input}
    return msgspec.json.encode({**shape, "usageMetadata": usage})


def _content(one: str | tuple[int, ...]) -> dict[str, Any]:
    if not isinstance(one, str):
        raise unexpressible("input", "it takes texts and no tokens")
    return {"parts": [{"text": one}]}


def _one(request: ProtoFields, extras: dict[str, Any]) -> _One:
    request.take("model")
    content = request.inner("content")
    if content is None:
        raise wrong(request.at("content"), "an object")
    content.take("role")
    config = request.inner("embedContentConfig") or ProtoFields({}, "")
    task = request.text("taskType") or config.text("taskType")
    dimensions = request.integer("outputDimensionality") or config.integer("outputDimensionality")
    if task not in {None, "TASK_TYPE_UNSPECIFIED", *_PURPOSES}:
        extras[request.at("taskType")] = task
    text = _text(content, extras)
    for fields in (content, config, request):
        fields.close(extras)
    return _One(text, dimensions, _PURPOSES.get(task or ""))


def _text(content: ProtoFields, extras: dict[str, Any]) -> str:
    """Return the one text of a content: other protocols know no input of several parts."""
    texts = []
    for part in content.objects("parts"):
        texts.append(part.text("text") or "")
        part.close(extras)
    if len(texts) > 1:
        extras[content.at("parts")] = texts
    return texts[0] if texts else ""
