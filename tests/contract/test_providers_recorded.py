"""What real providers of these kinds said reaches callers of two dialects through a gateway."""

import http.client
import json
import re
from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from llm_gateway.adapters import CHAT_ADAPTERS
from llm_gateway.types import Call
from tests.contract.recordings import Reply
from tests.contract.test_same_dialect import BECOMES
from tests.contract.town import (
    INPUT,
    OUTPUT,
    RECORDED,
    SEARCH,
    Recorded,
    Town,
    bare,
    datas,
)
from tests.unit.adapters import golden
from tests.unit.adapters import recordings as source

HI: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 900}
ASKED: dict[str, dict[str, Any]] = {
    "openai_chat": HI,
    "anthropic_messages": HI,
    "openai_responses": {"input": "hi", "max_output_tokens": 900},
    "gemini": {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]},
}
# What the last event of each dialect's streams has.
ENDS = {
    "openai_chat": "[DONE]",
    "anthropic_messages": '"message_stop"',
    "openai_responses": '"response.',
    "gemini": '"finishReason"',
}
DIALECTS = tuple(CHAT_ADAPTERS)
GOOD = [row for row in RECORDED if row.status == 200 and not row.breaks]
CHATS = [row for row in GOOD if row.is_chat]
FAILED = [row for row in RECORDED if row.status != 200]
BROKEN = [row for row in RECORDED if row.breaks]
EMBEDDED = [row for row in GOOD if row.api == "cohere.embed"]


def over(chosen: list[Recorded]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("row", chosen, ids=lambda row: row.id)


def test_the_recordings_are_here() -> None:
    if not RECORDED:
        source.absent()
    assert all((CHATS, FAILED, BROKEN, EMBEDDED))


def check_cost(reply: Reply, row: Recorded) -> None:
    usage = row.events()[1].usage
    assert usage is not None
    cost = usage.input * INPUT + usage.output * OUTPUT + usage.tool_calls * SEARCH
    assert Decimal(reply.headers["x-mobius-cost-usd"]) == cost


@over(CHATS)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_an_answer_reaches_a_caller_whole(town: Town, dialect: str, row: Recorded) -> None:
    reply = town.ask(dialect, ASKED[dialect], model=row.id)
    assert reply.status == 200, reply.body
    check_cost(reply, row)
    if row.adapter != dialect:
        adapter = CHAT_ADAPTERS[dialect]
        expected = golden.whole(adapter, row.events()[0], call_of(dialect))
        assert bare(json.loads(reply.body)) == bare(json.loads(expected))


@over(CHATS)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_an_answer_reaches_a_caller_as_a_stream(town: Town, dialect: str, row: Recorded) -> None:
    reply = town.ask(dialect, ASKED[dialect], model=row.id, stream=True)
    assert reply.status == 200, reply.body
    got = datas(reply.body)
    assert ENDS[dialect] in json.dumps(got[-1])
    if row.adapter != dialect:
        adapter, call = CHAT_ADAPTERS[dialect], replace(call_of(dialect), stream=True)
        writer = adapter.writer(call, model="m", request_id="r", created=1)
        expected = b"".join(map(writer.feed, row.events()[0])) + writer.end()
        assert [bare(one) for one in got] == [bare(one) for one in datas(expected)]


def call_of(dialect: str) -> Call:
    named: dict[str, Any] = {"model": "m"} if dialect == "gemini" else {}
    parse: Any = CHAT_ADAPTERS[dialect].parse_call
    call: Call = parse({**ASKED[dialect], "model": "m"}, size=1, **named)
    return call


@over(EMBEDDED)
def test_vectors_reach_an_openai_caller(town: Town, row: Recorded) -> None:
    reply = town.ask("openai_embeddings", {"model": row.id, "input": ["a"] * count(row)})
    assert reply.status == 200, reply.body
    vectors = [item["embedding"] for item in json.loads(reply.body)["data"]]
    assert vectors == row.said["embeddings"]["float"]
    check_cost(reply, row)


def count(row: Recorded) -> int:
    return len(row.said["embeddings"]["float"])


@over(FAILED)
def test_a_providers_error_becomes_what_is_documented(town: Town, row: Recorded) -> None:
    if row.is_chat:
        reply = town.ask("anthropic_messages", {**HI, "model": row.id})
    else:
        reply = town.ask("openai_embeddings", {"model": row.id, "input": "a"})
    status, code = BECOMES[row.status]
    assert reply.status == status, reply.body
    assert code is None or reply.headers["x-mobius-code"] == code
    assert json.loads(reply.body)["error"]["message"]


@over(BROKEN)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_an_error_within_a_stream_never_looks_complete(
    town: Town, dialect: str, row: Recorded
) -> None:
    try:
        reply = town.ask(dialect, ASKED[dialect], model=row.id, stream=True)
    except http.client.IncompleteRead as cut:  # behind the error, so that nobody takes it as whole
        body, told = cut.partial, datas(cut.partial)[-1]
    else:
        body, told = reply.body, json.loads(reply.body)
        assert reply.status != 200
    assert told["error"]["message"]
    assert not re.search(rb"\[DONE\]|message_stop|response\.completed|finishReason", body)
