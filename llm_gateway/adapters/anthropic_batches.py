"""The protocol of POST /v1/messages/batches: many messages at once, answered within a day.

All requests of a batch call one model: it has one price and one provider. What they used is known
when their results are; until then nothing tells of it.
"""

import re
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Struct

from llm_gateway.adapters import anthropic_messages, batched
from llm_gateway.adapters.anthropic_messages.call import headers
from llm_gateway.adapters.anthropic_messages.wire import error_in_answer, read_usage
from llm_gateway.adapters.base import Changes
from llm_gateway.adapters.steering import refuse_steering
from llm_gateway.adapters.steering_fields import object_list, outgoing, wrong
from llm_gateway.errors import InvalidAnswerError, InvalidRequestError
from llm_gateway.types import Call, Facts, Outgoing, Quirks, Usage

__all__ = [
    "content",
    "ended",
    "files",
    "name",
    "parse_call",
    "parse_error",
    "path_of",
    "relay_answer",
    "render_error",
    "render_relay",
    "results",
    "shown",
    "used",
]

name = "anthropic_batches"
PATH = "/v1/messages/batches"
KNOWN = frozenset({"requests"})
parse_error = anthropic_messages.parse_error
render_error = anthropic_messages.render_error


class Batch(Struct):
    """What of a batch is looked at."""

    id: str = ""
    processing_status: str = ""
    results_url: str | None = None
    error: Any = None


class Result(Struct):
    """What of one line of the results is looked at."""

    result: dict[str, Any]


# What may stand in a path and in a column.
_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_decode = msgspec.json.Decoder(Batch).decode
_decode_result = msgspec.json.Decoder(Result).decode


def parse_call(body: dict[str, Any], *, size: int) -> Call:
    """Return what steers the gateway: all requests together, as one call of their model.

    Raises InvalidRequestError naming the field.
    """
    refuse_steering(body, KNOWN)
    requests = object_list(body, "requests")
    if not requests:
        raise wrong("requests", "a list with at least one request")
    placed = [
        (f"requests[{place}].params", _call_of(place, request))
        for place, request in enumerate(requests)
    ]
    return batched.together(placed, name, body, size=size)


def _call_of(place: int, request: dict[str, Any]) -> Call:
    """Return what steers the gateway of one request, which is a body of messages."""
    at, params = f"requests[{place}].params", request.get("params")
    if not isinstance(params, dict):
        raise wrong(at, "an object")
    if params.get("stream"):
        raise InvalidRequestError(
            f"'{at}.stream' is not possible in a batch.", param=f"{at}.stream"
        )
    try:
        call = anthropic_messages.parse_call(params, size=0)
    except InvalidRequestError as error:
        error.param = f"{at}.{error.param}"
        raise
    if call.max_output_tokens is None:
        raise wrong(f"{at}.max_tokens", "a whole number")
    return call


def render_relay(call: Call, changes: Changes, quirks: Quirks) -> Outgoing:
    """Return the caller's own body, each request under the upstream's model name."""
    requests = [
        {**one, "params": {**one["params"], "model": changes.upstream_name}}
        for one in call.body["requests"]
    ]
    return outgoing(PATH, {**call.body, "requests": requests}, headers(quirks))


def relay_answer(body: bytes, *, model: str) -> tuple[bytes, Facts]:
    """Return the batch as it was begun, and its facts: `kept` is its id.

    Raises InvalidAnswerError for what is no batch.
    """
    batch = _batch(body)
    if not _ID.fullmatch(batch.id):
        raise InvalidAnswerError("The provider gave its batch no id that can be asked for.")
    facts = Facts(id=batch.id, complete=True, content=True, kept=(batch.id,))
    return shown(body, model=model), facts


def shown(body: bytes, *, model: str) -> bytes:  # noqa: ARG001 - as all are called
    """Return a batch as the caller gets it: nothing leads past the gateway."""
    batch = _batch(body)
    if batch.results_url is None:
        return body
    # Official clients fetch it from where they were told to, with their key.
    told = msgspec.json.decode(body)
    return msgspec.json.encode({**told, "results_url": f"{PATH}/{batch.id}/results"})


def content(body: bytes, *, model: str) -> bytes:
    """Return the results of a batch as the caller gets them: under the public model."""
    return b"".join(_named(line, model) for line in body.splitlines(keepends=True))


def ended(body: bytes) -> bool:
    """Say whether the results of a batch are there."""
    return _batch(body).results_url is not None


def path_of(batch_id: str) -> str:
    """Return where a batch is asked for."""
    return f"{PATH}/{batch_id}"


def results(body: bytes) -> list[str]:
    """Return where the answers of a batch that has ended stand."""
    return [f"{PATH}/{_batch(body).id}/results"]


def files(_body: bytes) -> list[str]:
    """Return the ids of the files that came of a batch: of this protocol none."""
    return []


def used(_batch: bytes, results: bytes) -> Iterator[Usage]:
    """Yield what each answered request of a batch used. Raises InvalidAnswerError.

    One that failed, expired or was stopped costs nothing.
    """
    for line in results.splitlines():
        if not line.strip():
            continue
        try:
            message = _decode_result(line).result.get("message")
            if message is not None:
                yield read_usage(message["usage"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InvalidAnswerError("A result of the batch tells no usage.") from error


def _batch(body: bytes) -> Batch:
    """Raise InvalidAnswerError for what is no batch, and the error that an answer names instead."""
    try:
        batch = _decode(body)
    except ValueError as error:
        raise InvalidAnswerError("The provider's answer is no batch.") from error
    if batch.error is not None:
        raise error_in_answer(batch.error)
    if not batch.id:
        raise InvalidAnswerError("The provider's answer is no batch.")
    return batch


def _named(line: bytes, model: str) -> bytes:
    """Return a line of results under the model's public name."""
    if not line.strip():
        return line
    try:
        told = msgspec.json.decode(line)
        message = told["result"].get("message")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidAnswerError("The provider's results are not understood.") from error
    if isinstance(message, dict) and "model" in message:
        message["model"] = model
    return msgspec.json.encode(told) + b"\n"
