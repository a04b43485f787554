"""Providers with words or accents of their own answer callers of every dialect, and are billed."""

import http.client
import json
import re
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from llm_gateway.adapters import CHAT_ADAPTERS, EMBEDDINGS_ADAPTERS, EMBEDDINGS_UPSTREAMS
from llm_gateway.types import Facts
from tests.contract.recordings import Reply
from tests.contract.town import (
    BEARER,
    CASES,
    INPUT,
    OUTPUT,
    PAIR,
    PATHS,
    POOR,
    SEARCH,
    WHOLE,
    Town,
    bare,
    datas,
    name_of,
)
from tests.harness.config import API_KEY
from tests.unit.adapters import golden, golden_providers
from tests.unit.adapters.golden_providers import Case


def facts_of(case: Case) -> dict[str, Any]:
    """Return what the case's answer told, as its golden file has it."""
    told: dict[str, Any] = json.loads((case.folder / "events.json").read_bytes())["facts"]
    return told


CHATS = [case for case in CASES if case.dialect in CHAT_ADAPTERS]
EMBEDDINGS = [case for case in CASES if case.dialect in EMBEDDINGS_ADAPTERS]
REFUSED = [case for case in CHATS if (case.folder / "refused.json").exists()]
BROKEN = [
    case
    for case in CHATS
    if (case.folder / "events.json").exists() and facts_of(case)["error"] != "NoneType"
]
ANSWERED = [case for case in CHATS if case not in [*REFUSED, *BROKEN]]

each_answered = pytest.mark.parametrize("case", ANSWERED, ids=lambda case: case.id)


# --- chats


def events_of(case: Case) -> tuple[list[Any], Facts]:
    if case.stream is None:
        return case.upstream.read_answer((case.folder / "upstream.json").read_bytes())
    return golden_providers.read(case.upstream, golden_providers.frames_of(case))


@each_answered
def test_a_caller_gets_the_whole_answer_and_its_price(town: Town, case: Case) -> None:
    events, facts = events_of(case)
    body = {name: value for name, value in case.body.items() if name != "stream"}
    reply = town.ask(case.dialect, {**body, "model": name_of(case)})
    assert reply.status == 200, reply.body
    if same_dialect(case) and case.stream is None:
        relayed = json.loads((case.folder / "upstream.json").read_bytes())
        assert json.loads(reply.body) == {**relayed, "model": name_of(case)}
    else:
        expected = golden.whole(CHAT_ADAPTERS[case.dialect], events, case.call)
        assert bare(json.loads(reply.body)) == bare(json.loads(expected))
    assert facts.usage is not None
    cost = facts.usage.input * INPUT + facts.usage.output * OUTPUT
    cost += facts.usage.tool_calls * SEARCH
    assert Decimal(reply.headers["x-mobius-cost-usd"]) == cost
    assert reply.headers["x-mobius-attempts"] == "1"


@each_answered
def test_a_caller_gets_the_stream_event_by_event(town: Town, case: Case) -> None:
    events, _ = events_of(case)
    body = {**case.body, "model": name_of(case), "stream": True}
    reply = town.ask(case.dialect, body)
    assert reply.status == 200, reply.body
    got = datas(reply.body)
    if same_dialect(case) and case.stream is not None:
        assert got[-1] == "[DONE]"
        return
    adapter = CHAT_ADAPTERS[case.dialect]
    call = adapter.parse_call(body, size=1)
    writer = adapter.writer(call, model="m", request_id="r", created=1)
    expected = b"".join(map(writer.feed, events)) + writer.end()
    if not same_dialect(case):
        assert [bare(one) for one in got] == [bare(one) for one in datas(expected)]


@pytest.mark.parametrize("case", BROKEN, ids=lambda case: case.id)
def test_an_error_within_a_stream_is_told_and_never_looks_complete(town: Town, case: Case) -> None:
    reply = town.ask(case.dialect, {**case.body, "model": name_of(case), "stream": True})
    # A status while nothing has left, else an event.
    told = json.loads(reply.body) if reply.status != 200 else datas(reply.body)[-1]
    assert told["error"]["message"]
    assert not reply.body.endswith((b"[DONE]\n\n", b'"message_stop"}\n\n'))


@each_answered
def test_the_provider_is_asked_in_its_own_words(town: Town, case: Case) -> None:
    town.ask(case.dialect, {**case.body, "model": name_of(case)})
    if same_dialect(case):
        return
    asked = town.asked(name_of(case))
    wanted = json.loads((case.folder / "sent.json").read_bytes())
    path = wanted["path"].replace("2024-10-21", "2025-04-01-preview")
    assert asked == {"path": path, "body": wanted["body"]}


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.id)
def test_what_the_provider_has_no_word_for_is_a_400_that_names_it(town: Town, case: Case) -> None:
    named = json.loads((case.folder / "refused.json").read_bytes())["param"]
    reply = town.ask(case.dialect, {**case.body, "model": name_of(case)})
    if same_dialect(case):  # passed on as it came: the provider judges it
        assert reply.status == 200
        return
    assert reply.status == 400, reply.body
    assert json.loads(reply.body)["error"]["param"] == named
    assert name_of(case) not in town.providers.asked


def same_dialect(case: Case, operation: str = "chat") -> bool:
    return case.speech.adapters[operation] == case.dialect


# --- signatures


def test_bedrock_is_called_with_a_signature_and_never_with_the_secret(town: Town) -> None:
    case = next(case for case in ANSWERED if case.kind == "bedrock")
    town.ask(case.dialect, {**case.body, "model": name_of(case)})
    headers = town.providers.asked[name_of(case)].headers
    date = headers["x-amz-date"]
    assert re.fullmatch(r"\d{8}T\d{6}Z", date)
    assert re.fullmatch(
        rf"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/{date[:8]}/eu-central-1/bedrock/aws4_request, "
        r"SignedHeaders=host;x-amz-date, Signature=[0-9a-f]{64}",
        headers["authorization"],
    )
    assert PAIR.partition(":")[2] not in str(headers)


def test_bedrock_is_called_with_an_api_key_as_a_bearers(town: Town) -> None:
    case = next(case for case in ANSWERED if case.kind == "bedrock")
    town.ask(case.dialect, {**case.body, "model": "bearer"})
    headers = town.providers.asked["bearer"].headers
    assert headers["authorization"] == f"Bearer {BEARER}"
    assert "x-amz-date" not in headers


# --- embeddings, reranking, moderations


@pytest.mark.parametrize("case", EMBEDDINGS, ids=lambda case: case.id)
def test_vectors_of_a_native_provider_reach_an_openai_caller(town: Town, case: Case) -> None:
    reply = town.ask(case.dialect, {**case.body, "model": name_of(case)})
    assert reply.status == 200, reply.body
    got = json.loads(reply.body)
    answer = json.loads((case.folder / f"client.{case.dialect}.json").read_bytes())
    assert {**got, "model": ""} == {**answer, "model": ""}
    upstream = EMBEDDINGS_UPSTREAMS[case.speech.adapters["embeddings"]]
    facts = upstream.read_answer((case.folder / "upstream.json").read_bytes())[1]
    assert facts.usage is not None
    assert Decimal(reply.headers["x-mobius-cost-usd"]) == facts.usage.input * INPUT
    wanted = json.loads((case.folder / "sent.json").read_bytes())["body"]
    if same_dialect(case, "embeddings"):
        wanted = {**case.body, "model": wanted["model"]}
    assert town.asked(name_of(case))["body"] == wanted


@pytest.mark.parametrize("case", WHOLE, ids=name_of)
def test_reranking_and_moderation_pass_through_and_are_billed(town: Town, case: Path) -> None:
    dialect, body = case.parent.name, json.loads((case / "request.json").read_bytes())
    reply = town.ask(dialect, {**body, "model": name_of(case)})
    assert reply.status == 200, reply.body
    answer = json.loads((case / "upstream.json").read_bytes())
    renamed = {"model": name_of(case)} if "model" in answer else {}
    assert json.loads(reply.body) == {**answer, **renamed}
    assert town.asked(name_of(case)) == {
        "path": PATHS[dialect].removeprefix("/v1"),
        "body": {**body, "model": "upstream-name"},
    }
    cost = Decimal(reply.headers["x-mobius-cost-usd"])
    used = answer.get("usage") or {}
    if "prompt_tokens" in used:
        assert cost == used["prompt_tokens"] * INPUT
    elif dialect == "cohere_rerank":
        assert cost == SEARCH
    else:  # no usage is reported: counted, and flagged
        assert cost > 0


@pytest.mark.parametrize("case", WHOLE, ids=name_of)
def test_reranking_and_moderation_take_a_hold_first(town: Town, case: Path) -> None:
    dialect, body = case.parent.name, json.loads((case / "request.json").read_bytes())
    town.providers.asked.pop(name_of(case), None)
    reply = town.ask(dialect, {**body, "model": name_of(case)}, POOR)
    assert reply.status == 402, reply.body
    assert reply.headers["x-mobius-code"] == "insufficient_quota"
    assert name_of(case) not in town.providers.asked


@pytest.mark.parametrize("dialect", ["cohere_rerank", "openai_moderations"])
def test_reranking_and_moderation_refuse_in_words_of_their_dialect(
    town: Town, dialect: str
) -> None:
    case = next(case for case in WHOLE if case.parent.name == dialect)
    body = {**json.loads((case / "request.json").read_bytes()), "model": name_of(case)}
    streamed = town.ask(dialect, {**body, "stream": True})
    unknown = town.ask(dialect, {**body, "model": "nobody"})
    unserved = town.ask(dialect, {**body, "model": name_of(ANSWERED[0])})
    assert [one.status for one in (streamed, unknown, unserved)] == [400, 404, 400]
    for reply in (streamed, unknown, unserved):
        told = json.loads(reply.body)
        inner = told if dialect == "cohere_rerank" else told["error"]
        assert inner["message"]
        assert inner["request_id"] == reply.headers["x-request-id"]
    assert "rerank" in unserved.body.decode() or "moderations" in unserved.body.decode()


def test_the_request_log_tells_of_them_like_of_every_other(town: Town) -> None:
    case = WHOLE[0]
    body = {**json.loads((case / "request.json").read_bytes()), "model": name_of(case)}
    reply = town.ask("cohere_rerank", body)
    wanted = reply.headers["x-request-id"]
    row = json.loads(get(town, f"/api/v1/requests/{wanted}").body)
    assert (row["endpoint"], row["model"], row["status"]) == ("/v1/rerank", name_of(case), 200)
    assert Decimal(row["cost_usd"]) == SEARCH


def get(town: Town, path: str) -> Reply:
    """Read a page; a row is written a moment after its answer."""
    reply = Reply(0, {}, b"")
    for _ in range(50):
        connection = http.client.HTTPConnection("127.0.0.1", town.gateway.port, timeout=10)
        connection.request("GET", path, headers={"Authorization": f"Bearer {API_KEY}"})
        answer = connection.getresponse()
        reply = Reply(answer.status, dict(answer.headers), answer.read())
        connection.close()
        if reply.status == 200:
            break
        time.sleep(0.1)
    return reply
