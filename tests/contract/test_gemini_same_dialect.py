"""Every recorded exchange of Gemini passes through unchanged but for the model name."""

import json
import re
from typing import Any

import pytest

from tests.contract.conftest import Stage
from tests.contract.recordings import (
    GEMINI,
    PATHS,
    Recording,
    Reply,
    everything,
    identifier,
    recorded_errors,
    send,
)
from tests.harness.replay import ReplayUpstream

ROWS = everything(*GEMINI)
GOOD = [row for row in ROWS if row.status < 400]
FAILED = recorded_errors(*GEMINI)
STREAMS = [row for row in GOOD if row.streamed]
PUBLIC = "public-name"  # a model in the golden cases, as callers know it
BECOMES = {404: (502, "upstream_error"), 429: (429, "upstream_rate_limited")}


def ask(stage: Stage, row: Recording, path: str = "", *, piece: int | None = None) -> Reply:
    stage.play(row, piece=piece)
    return send(stage.url, (path or PATHS[row.api]).format(model=row.id), row.request)


def test_the_recordings_are_here(replay_upstream: ReplayUpstream) -> None:
    """Where they are not, this names the leg; in CI it fails."""
    assert replay_upstream.base_url
    assert {row.api for row in ROWS} == set(GEMINI)


@pytest.mark.parametrize("row", [row for row in GOOD if not row.streamed], ids=identifier)
def test_a_whole_answer_is_equal_but_for_the_model(stage: Stage, row: Recording) -> None:
    reply = ask(stage, row)
    assert reply.status == 200, reply.body
    assert json.loads(reply.body) == _renamed(row.response, row.id)
    assert reply.headers["x-mobius-model"] == row.id
    newer = ask(stage, row, PATHS[row.api].replace("/v1beta/", "/v1/"))
    assert newer.body == reply.body


@pytest.mark.parametrize("row", STREAMS, ids=identifier)
def test_a_stream_is_equal_byte_for_byte_but_for_the_model(stage: Stage, row: Recording) -> None:
    reply = ask(stage, row)
    assert reply.status == 200, reply.body
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert reply.body.decode() == streamed(row)


@pytest.mark.parametrize("row", STREAMS, ids=identifier)
def test_without_events_a_stream_is_one_array_of_the_same(stage: Stage, row: Recording) -> None:
    reply = ask(stage, row, PATHS[row.api].removesuffix("?alt=sse"))
    assert reply.status == 200, reply.body
    assert reply.headers["content-type"] == "application/json"
    lines = [line for line in streamed(row).splitlines() if line.startswith("data: ")]
    assert json.loads(reply.body) == [json.loads(line.removeprefix("data: ")) for line in lines]


@pytest.mark.parametrize("row", GOOD, ids=identifier)
def test_the_upstream_gets_what_the_client_sent(stage: Stage, row: Recording) -> None:
    ask(stage, row)
    wanted: Any = row.request
    if row.api == "gemini.batchEmbedContents":
        name = f"models/{stage.provider(row)[1]}"
        wanted = {"requests": [{**one, "model": name} for one in row.request["requests"]]}
    elif row.api == "gemini.embedContent":
        wanted = {**row.request, "model": f"models/{stage.provider(row)[1]}"}
    assert stage.received(row) == wanted


@pytest.mark.usefixtures("replay_upstream")
@pytest.mark.parametrize("row", FAILED, ids=identifier)
def test_an_upstreams_error_becomes_what_is_documented(stage: Stage, row: Recording) -> None:
    reply = ask(stage, row)
    status, code = BECOMES[row.status]
    assert (reply.status, reply.headers["x-mobius-code"]) == (status, code), reply.body
    error = json.loads(reply.body)["error"]
    assert error["code"] == status
    assert {detail["@type"].rpartition(".")[2] for detail in error["details"]} >= {"ErrorInfo"}
    if status == 429:
        assert int(reply.headers["retry-after"]) > 0


def _renamed(answer: Any, model: str) -> Any:
    return {**answer, "modelVersion": model} if "modelVersion" in answer else answer


def streamed(row: Recording) -> str:
    """Return the stream as the caller is to get it."""
    if row.golden:
        return str(row.relayed).replace(f'"{PUBLIC}"', f'"{row.id}"')
    return re.sub(r'("modelVersion": ?)"[^"]*"', rf'\1"{row.id}"', row.response)
