"""The protocol of Gemini's embedContent and batchEmbedContents: contents in, vectors out.

A single content and a batch of them differ in their envelope alone. How they cross to other
protocols stands in `gemini_embeddings_across`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from llm_gateway.adapters.base import Changes
from llm_gateway.adapters.counting import RAW_KEPT, count, shares, text_bytes
from llm_gateway.adapters.gemini import wire
from llm_gateway.adapters.gemini.call import media_of, model_of, path_of, renamed, resource_of
from llm_gateway.adapters.gemini.errors import parse_error, render_error
from llm_gateway.adapters.gemini.proto import camel, items, member
from llm_gateway.adapters.gemini_embeddings_across import (
    BATCH,
    parse_request,
    read_answer,
    render_answer,
    render_request,
    requests_of,
)
from llm_gateway.adapters.steering import refuse_steering
from llm_gateway.adapters.steering_fields import outgoing
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

name = "gemini_embeddings"
SINGLE = "embedContent"
_FIELDS = frozenset({
    "content", "task_type", "title", "output_dimensionality", "embed_content_config", "model",
    "requests",
})  # fmt: skip
KNOWN = _FIELDS | {camel(field) for field in _FIELDS}
Wire = dict[str, Any]


class Vectors(Struct, rename="camel"):
    embedding: Raw | UnsetType = UNSET
    embeddings: list[Raw] | None = None
    usage_metadata: Raw | UnsetType = UNSET
    error: Any = None

    @property
    def all(self) -> list[Raw]:
        return self.embeddings or ([] if self.embedding is UNSET else [self.embedding])


_decode = msgspec.json.Decoder(Vectors).decode
_members = msgspec.json.Decoder(dict[str, Raw]).decode


def parse_call(body: dict[str, Any], *, size: int, model: str = "") -> Call:
    """Return what steers the gateway; `model` is as the path names it, `items` counts contents.

    Raises InvalidRequestError naming the field.
    """
    refuse_steering(body, KNOWN)
    requests = requests_of(body)
    media = media_of([content for one in requests for content in items(member(one, "content"))])
    return Call(
        dialect=name,
        operation="embeddings",
        model=model_of(requests[0], model),
        body=body,
        size=size,
        needs=frozenset({"embeddings"}),
        items=len(requests),
        images=media.images,
        documents=media.documents,
        audio=media.audio,
        media_bytes=media.inline_bytes,
        units=frozenset({"audio_input_token"} if media.audio else ()),
        unsized=media.unsized,
    )


def split(call: Call, quirks: Quirks) -> list[Call]:
    """Return the call as calls of what a provider takes at once, in order.

    A single content may be larger than that: the provider judges it.
    """
    batches: list[list[Wire]] = []
    room = 0
    for one in requests_of(call.body):
        size = text_bytes(one)
        if not batches or len(batches[-1]) == quirks.embeddings_batch or size > room:
            batches.append([])
            room = quirks.embeddings_batch_bytes
        batches[-1].append(one)
        room -= size
    return [call] if len(batches) == 1 else [_of_requests(call, batch) for batch in batches]


def likeness(call: Call) -> list[Wire]:
    """Return what is asked of each content, once where that is the same."""
    asked = [
        {name: value for name, value in one.items() if name not in {"content", "model"}}
        for one in requests_of(call.body)
    ]
    return asked[:1] if all(one == asked[0] for one in asked) else asked


def merge(calls: Sequence[Call]) -> Call:
    """Return calls that are alike as one."""
    return _of_requests(calls[0], [one for call in calls for one in requests_of(call.body)])


def render_relay(call: Call, changes: Changes, quirks: Quirks) -> Outgoing:
    """Return the caller's own body under the upstream's model name."""
    upstream = changes.upstream_name
    if "requests" not in call.body:
        body = renamed(call.body, upstream)
        return outgoing(path_of(upstream, SINGLE), body, quirks.default_headers)
    # The protocol asks for the model in each of them.
    named = [{**one, "model": resource_of(upstream)} for one in requests_of(call.body)]
    body = {**renamed(call.body, upstream), "requests": named}
    return outgoing(path_of(upstream, BATCH), body, quirks.default_headers)


def relay_answer(body: bytes, *, model: str) -> tuple[bytes, Facts]:
    """Return the answer, which names no model, and its facts.

    Raises InvalidAnswerError for what holds no vectors, or the error it names instead.
    """
    del model
    try:
        answer = _decode(body)
        body.decode()
    except ValueError as error:
        raise InvalidAnswerError("The provider's answer is not valid JSON.") from error
    if answer.error is not None:
        raise wire.error_in_answer(answer.error)
    if not answer.all:
        raise InvalidAnswerError("The provider's answer has no embeddings.")
    facts = Facts(complete=True, content=True)
    _observe_usage(answer, facts)
    return body, facts


def join(bodies: Sequence[bytes], usage: Usage) -> bytes:
    """Return the relayed answers of a call's batches as one."""
    if len(bodies) == 1:
        return bodies[0]
    return _batch(bodies[0], [one for body in bodies for one in _decode(body).all], usage)


def cut(
    body: bytes, calls: Sequence[Call], usage: Usage | None
) -> list[tuple[bytes, Usage | None]]:
    """Return the relayed answer of a merged call as the answers of its calls.

    Usage is split by the size of what each asked, to the last token. Raises InvalidAnswerError for
    an answer with fewer or more vectors than contents.
    """
    vectors = _decode(body).all
    if len(vectors) != sum(call.items for call in calls):
        raise InvalidAnswerError("The provider's answer has not one vector for each content.")
    weights = [text_bytes(requests_of(call.body)) for call in calls]
    used = [None] * len(calls) if usage is None else shares(usage.input, weights)
    answers, start = [], 0
    for call, tokens in zip(calls, used, strict=True):
        own = None if tokens is None else Usage(input=tokens)
        part = vectors[start : start + call.items]
        single = "requests" not in call.body
        answers.append((_single(part[0], own) if single else _batch(body, part, own), own))
        start += call.items
    return answers


def _of_requests(call: Call, requests: list[Wire]) -> Call:
    rest = {} if "requests" not in call.body else call.body
    return msgspec.structs.replace(
        call,
        body={**rest, "requests": requests},
        items=len(requests),
        size=text_bytes(requests),
    )


def _batch(like: bytes, vectors: Sequence[Raw], usage: Usage | None) -> bytes:
    """Return an answer of these vectors, in everything else as another one is."""
    rest: Mapping[str, Any] = _members(like)
    kept = {key: rest[key] for key in rest if key not in {"embedding", "embeddings"}}
    return msgspec.json.encode({**kept, "embeddings": vectors, **_told(usage)})


def _single(vector: Raw, usage: Usage | None) -> bytes:
    return msgspec.json.encode({"embedding": vector, **_told(usage)})


def _told(usage: Usage | None) -> Wire:
    return {} if usage is None else {"usageMetadata": {"promptTokenCount": usage.input}}


def _observe_usage(answer: Vectors, facts: Facts) -> None:
    if answer.usage_metadata is UNSET:
        return
    raw = bytes(answer.usage_metadata)
    try:
        facts.usage = Usage(input=count(msgspec.json.decode(raw, type=dict)["promptTokenCount"]))
    except (KeyError, ValueError):
        facts.usage_invalid = raw[:RAW_KEPT].decode(errors="replace")
