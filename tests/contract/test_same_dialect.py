"""Every recorded exchange passes through unchanged but for the model name (contract §4)."""

import json
import re
from collections.abc import Iterator
from http.client import IncompleteRead
from typing import Any

import pytest
from anthropic.types import Message
from openai.types import Completion, CreateEmbeddingResponse
from openai.types.chat import ChatCompletion
from pydantic import BaseModel

from tests.contract.conftest import Stage
from tests.contract.recordings import (
    PATHS,
    PLAIN_APIS,
    Recording,
    Reply,
    everything,
    identifier,
    recorded_errors,
    send,
)
from tests.harness.replay import ReplayUpstream

ROWS = everything(*PLAIN_APIS)
GOOD = [row for row in ROWS if row.status < 400 and not row.breaks]
BROKEN = [row for row in ROWS if row.breaks]
FAILED = recorded_errors(*PLAIN_APIS)
# Whose older answers fulfil the types of today's SDK.
TYPES: dict[str, type[BaseModel]] = {
    "openai.chat": ChatCompletion,
    "openai.embeddings": CreateEmbeddingResponse,
    "openai.completions": Completion,
    "anthropic.messages": Message,
}
# How a stream says that it is over.
COMPLETE = re.compile(r"\[DONE\]|message_stop|response\.(completed|incomplete)")
PUBLIC = "public-name"  # a model in the golden cases, as callers know it
# What an upstream's own error becomes (faults.md §2).
BECOMES = {
    400: (400, None),
    413: (413, None),
    422: (422, None),
    401: (502, "upstream_auth"),
    403: (502, "upstream_auth"),
    404: (502, "upstream_error"),
    429: (429, "upstream_rate_limited"),
    500: (502, "upstream_error"),
}


def ask(stage: Stage, row: Recording, *, piece: int | None = None) -> Reply:
    stage.play(row, piece=piece)
    headers = {"anthropic-version": "2023-06-01"} if row.kind == "anthropic" else {}
    return send(stage.url, PATHS[row.api], {**row.request, "model": row.id}, headers)


def test_the_recordings_are_here(replay_upstream: ReplayUpstream) -> None:
    """Where they are not, this names the leg; in CI it fails."""
    assert replay_upstream.base_url
    assert {row.api for row in ROWS if not row.golden} == (set(PLAIN_APIS))


@pytest.mark.parametrize("row", [row for row in GOOD if not row.streamed], ids=identifier)
def test_a_whole_answer_is_equal_but_for_the_model(stage: Stage, row: Recording) -> None:
    reply = ask(stage, row)
    assert reply.status == 200, reply.body
    answer = json.loads(reply.body)
    assert answer == _renamed(row.response, row.id)
    assert reply.headers["x-mobius-model"] == row.id
    # The SDK has no type for vectors that stay packed.
    if row.api in TYPES and row.request.get("encoding_format") != "base64":
        official = TYPES[row.api]
        assert official.model_validate(answer).model_dump(exclude={"model"}) == (
            official.model_validate(row.response).model_dump(exclude={"model"})
        )


@pytest.mark.parametrize("row", [row for row in GOOD if row.streamed], ids=identifier)
def test_a_stream_is_equal_byte_for_byte_but_for_the_model(stage: Stage, row: Recording) -> None:
    reply = ask(stage, row)
    assert reply.status == 200, reply.body
    got = reply.body.decode()
    assert got == streamed(row)
    assert f'"{row.id}"' in got


@pytest.mark.parametrize("row", BROKEN, ids=identifier)
def test_an_error_within_a_stream_ends_it_there(stage: Stage, row: Recording) -> None:
    try:
        reply = ask(stage, row)
    except IncompleteRead as cut:  # HTTP itself says that this is not all
        got = cut.partial.decode()
    else:  # nothing had been said before
        assert reply.status >= 400
        assert json.loads(reply.body)["error"]["message"]
        return
    *before, last = got.removesuffix("\n\n").split("\n\n")
    assert streamed(row).startswith("\n\n".join(before))
    assert '"error"' in last
    assert not COMPLETE.search(got)


@pytest.mark.parametrize("row", GOOD, ids=identifier)
def test_the_upstream_gets_what_the_client_sent(stage: Stage, row: Recording) -> None:
    ask(stage, row)
    body = stage.received(row)
    sent = {**row.request, "model": stage.provider(row)[1]}
    if row.request.get("stream") and row.asks_for_usage:
        sent["stream_options"] = {**(sent.get("stream_options") or {}), "include_usage": True}
    assert body == sent


@pytest.mark.usefixtures("replay_upstream")
@pytest.mark.parametrize("row", FAILED, ids=identifier)
def test_an_upstreams_error_becomes_what_is_documented(stage: Stage, row: Recording) -> None:
    reply = ask(stage, row)
    status, code = BECOMES[row.status]
    assert reply.status == status, reply.body
    if code is not None:
        assert reply.headers["x-mobius-code"] == code
    else:
        assert _said(row.response)[:40] in reply.body.decode()


def _renamed(answer: Any, model: str) -> Any:
    return {**answer, "model": model} if "model" in answer else answer


def streamed(row: Recording) -> str:
    """Return the stream as the caller is to get it: every model that was named is exchanged."""
    if row.relayed is not None:
        return str(row.relayed).replace(f'"{PUBLIC}"', f'"{row.id}"')
    said = {found for event in _events(row.response) for found in _models(event)}
    stream = str(row.response)
    for model in said:
        stream = re.sub(rf'"model":( ?)"{re.escape(model)}"', rf'"model":\1"{row.id}"', stream)
    return stream


def _events(stream: str) -> Iterator[Any]:
    for line in stream.splitlines():
        if line.startswith("data: {"):
            yield json.loads(line.removeprefix("data: "))


def _models(event: Any) -> Iterator[str]:
    """Yield the model's name where each dialect has it; Azure's first chunk has an empty one."""
    for holder in (event, event.get("message"), event.get("response")):
        if isinstance(holder, dict) and holder.get("model"):
            yield holder["model"]


def _said(error: Any) -> str:
    inner = error.get("error", error) if isinstance(error, dict) else {}
    return json.dumps(inner.get("message", "")).strip('"')
