"""Every recorded exchange passes through unchanged but for the model name (contract §4)."""

import json
import re
from typing import Any

import pytest
from anthropic.types import Message
from openai.types import CreateEmbeddingResponse
from openai.types.chat import ChatCompletion
from pydantic import BaseModel

from tests.contract.conftest import APIS, Replayed
from tests.contract.recordings import PATHS, Recording, Reply, recordings, send

ROWS = recordings(*APIS)
GOOD = [row for row in ROWS if row.status < 400]
BAD = [row for row in ROWS if row.status >= 400]
TYPES: dict[str, type[BaseModel]] = {
    "openai.chat": ChatCompletion,
    "openai.embeddings": CreateEmbeddingResponse,
    "anthropic.messages": Message,
}
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


def identifier(row: Recording) -> str:
    return row.id


def ask(replayed: Replayed, row: Recording) -> Reply:
    headers = {"anthropic-version": "2023-06-01"} if row.api.startswith("anthropic") else {}
    return send(replayed.url, PATHS[row.api], {**row.request, "model": row.id}, headers)


def test_the_recordings_are_here(replayed: Replayed) -> None:
    assert len(GOOD) > 80
    assert replayed.url


@pytest.mark.parametrize("row", [row for row in GOOD if not row.streamed], ids=identifier)
def test_a_whole_answer_is_equal_but_for_the_model(replayed: Replayed, row: Recording) -> None:
    reply = ask(replayed, row)
    assert reply.status == 200, reply.body
    answer = json.loads(reply.body)
    assert answer == _renamed(row.response, row.id)
    assert reply.headers["x-mobius-model"] == row.id or row.api == "anthropic.count_tokens"
    if row.api in TYPES:
        official = TYPES[row.api]
        assert official.model_validate(answer).model_dump(exclude={"model"}) == (
            official.model_validate(row.response).model_dump(exclude={"model"})
        )


@pytest.mark.parametrize("row", [row for row in GOOD if row.streamed], ids=identifier)
def test_a_stream_is_equal_byte_for_byte_but_for_the_model(
    replayed: Replayed, row: Recording
) -> None:
    reply = ask(replayed, row)
    assert reply.status == 200, reply.body
    assert _anonymous(reply.body.decode()) == _anonymous(row.response)
    assert f'"{row.id}"' in reply.body.decode()


@pytest.mark.parametrize("row", GOOD, ids=identifier)
def test_the_upstream_gets_what_the_client_sent(replayed: Replayed, row: Recording) -> None:
    ask(replayed, row)
    body = replayed.received(row.id)[-1]["body"]
    sent = {**row.request, "model": f"rec:{row.id}"}
    if row.request.get("stream") and row.api == "openai.chat":
        sent["stream_options"] = {**(sent.get("stream_options") or {}), "include_usage": True}
    assert body == sent


@pytest.mark.parametrize("row", BAD, ids=identifier)
def test_an_upstreams_error_becomes_what_is_documented(replayed: Replayed, row: Recording) -> None:
    reply = ask(replayed, row)
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
