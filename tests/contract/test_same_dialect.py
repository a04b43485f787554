"""Every recorded exchange passes through unchanged but for the model name (contract §4)."""

import json
import re
from typing import Any

import pytest
from anthropic.types import Message
from openai.types import CreateEmbeddingResponse
from openai.types.chat import ChatCompletion
from pydantic import BaseModel

from tests.contract.configured import APIS
from tests.contract.conftest import Stage
from tests.contract.recordings import (
    PATHS,
    Recording,
    Reply,
    everything,
    identifier,
    recorded_errors,
    send,
)
from tests.harness.replay import ReplayUpstream

ROWS = everything(*APIS)
GOOD = [row for row in ROWS if row.status < 400]
TYPES: dict[str, type[BaseModel]] = {
    "openai.chat": ChatCompletion,
    "openai.embeddings": CreateEmbeddingResponse,
    "anthropic.messages": Message,
}
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


def ask(stage: Stage, row: Recording) -> Reply:
    stage.play(row)
    headers = {"anthropic-version": "2023-06-01"} if row.kind == "anthropic" else {}
    return send(stage.url, PATHS[row.api], {**row.request, "model": row.id}, headers)


def test_the_recordings_are_here(replay_upstream: ReplayUpstream) -> None:
    """Where they are not, this names the leg; in CI it fails."""
    assert replay_upstream.base_url
    assert {row.api for row in ROWS if not row.golden} == set(APIS)


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
    if row.golden:
        assert got == row.relayed.replace(f'"{PUBLIC}"', f'"{row.id}"')
    else:
        assert _anonymous(got) == _anonymous(row.response)
    assert f'"{row.id}"' in got


@pytest.mark.parametrize("row", GOOD, ids=identifier)
def test_the_upstream_gets_what_the_client_sent(stage: Stage, row: Recording) -> None:
    ask(stage, row)
    body = stage.received(row)
    sent = {**row.request, "model": stage.provider(row)[1]}
    if row.request.get("stream") and row.api == "openai.chat":
        sent["stream_options"] = {**(sent.get("stream_options") or {}), "include_usage": True}
    assert body == sent


@pytest.mark.usefixtures("replay_upstream")
@pytest.mark.parametrize("row", recorded_errors(*APIS), ids=identifier)
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


def _anonymous(stream: str) -> str:
    """Blank the model's name at its own place in each event; nested ones stay."""
    return re.sub(
        r'^(data: \{(?:"type":"message_start","message":\{)?(?:(?!"choices").)*?"model": ?)"[^"]*"',
        r'\1""',
        stream,
        flags=re.MULTILINE,
    )


def _said(error: Any) -> str:
    inner = error.get("error", error) if isinstance(error, dict) else {}
    return json.dumps(inner.get("message", "")).strip('"')
