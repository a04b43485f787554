"""Answers of a shape: asked for in each target's way, judged, asked for once more, and paid for."""

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.harness.books import Books
from tests.harness.config import (
    API_KEY,
    anthropic_provider,
    configuration,
    model,
    nano_prices,
    openai_provider,
    tenant,
)
from tests.harness.database import SqliteDatabases
from tests.harness.dialects import Told, fetch
from tests.harness.gateway import GatewayProcess, installed
from tests.upstream.client import Upstream
from tests.upstream.scripts import answer, calling, failing

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},
    "required": ["name", "age"],
}
GOOD, BAD = '{"name":"Ada","age":36}', '{"name":"Ada","age":-1}'
CHAT = ["chat", "stream"]
MODELS = [
    model("able"),
    model("tooled", capabilities=[*CHAT, "tools"]),
    model("plain", capabilities=CHAT),
    model("claude", "anthropic"),
    model("claude-plain", "anthropic", capabilities=CHAT),
]


@pytest.fixture(scope="module")
def gateway(
    sqlite_databases: SqliteDatabases,
    upstream_process: Upstream,
    tmp_path_factory: pytest.TempPathFactory,
    output: Path,
) -> Iterator[GatewayProcess]:
    url = upstream_process.base_url
    providers = [openai_provider(url), anthropic_provider(url)]
    wanted = configuration(url, providers=providers, models=MODELS, routes=[], tenants=[tenant()])
    with installed(sqlite_databases, tmp_path_factory.mktemp("home"), output) as gateway:
        gateway.apply(wanted)
        yield gateway.serve()


@pytest.fixture
def scripted(upstream: Upstream) -> Upstream:
    upstream.prices(**nano_prices(MODELS))
    return upstream


def ask(gateway: GatewayProcess, path: str = "complete", **body: Any) -> Told:
    asked = {"prompt": "Who?", "response_schema": PERSON, **body}
    headers = {"Authorization": f"Bearer {API_KEY}"}
    return fetch(gateway.url, "POST", f"/api/v1/llm/{path}", json.dumps(asked).encode(), headers)


def test_a_target_that_knows_schemas_is_asked_natively(
    gateway: GatewayProcess, scripted: Upstream
) -> None:
    scripted.script("able", answer(GOOD))
    told = ask(gateway, model="able")
    assert told.status == 200, told.text
    assert told.json["object"] == {"name": "Ada", "age": 36}
    assert told.json["content"] == GOOD
    (call,) = scripted.calls
    assert call.body["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": PERSON},
    }


def test_a_schema_that_leaves_nothing_open_is_sent_as_strict(
    gateway: GatewayProcess, scripted: Upstream
) -> None:
    fields = {"name": {"type": "string"}}
    strict = {"type": "object", "properties": fields, "required": ["name"]}
    scripted.script("able", answer('{"name":"Ada"}'))
    told = ask(gateway, model="able", response_schema={**strict, "additionalProperties": False})
    assert told.json["object"] == {"name": "Ada"}
    assert scripted.calls[0].body["response_format"]["json_schema"]["strict"] is True


def test_a_server_that_takes_closed_objects_alone_gets_one(
    gateway: GatewayProcess, scripted: Upstream
) -> None:
    scripted.script("claude", answer(GOOD))
    told = ask(gateway, model="claude")
    assert told.json["object"] == {"name": "Ada", "age": 36}
    sent = scripted.calls[0].body["output_config"]["format"]["schema"]
    assert sent["additionalProperties"] is False
    assert "minimum" not in sent["properties"]["age"]


@pytest.mark.parametrize("name", ["tooled", "claude-plain"])
def test_a_target_without_schemas_is_asked_by_a_tool_or_in_words(
    gateway: GatewayProcess, scripted: Upstream, name: str
) -> None:
    by_tool = name == "tooled"
    scripted.script(name, calling(("answer", GOOD), text=2) if by_tool else answer(GOOD))
    told = ask(gateway, model=name)
    assert told.status == 200, told.text
    assert (told.json["object"]["age"], told.json["finish_reason"]) == (36, "stop")
    (call,) = scripted.calls
    if by_tool:
        assert call.body["tool_choice"]["function"]["name"] == "answer"
        assert call.body["tools"][0]["function"]["parameters"] == PERSON
    else:
        assert "JSON Schema" in json.dumps(call.body["system"])
        assert "tools" not in call.body


def test_a_wrong_answer_is_mended_once_by_an_attempt_of_its_own(
    gateway: GatewayProcess, scripted: Upstream
) -> None:
    scripted.script("plain", answer(f"Here it is: {BAD}"), answer(f"```json\n{GOOD}\n```"))
    told = ask(gateway, model="plain")
    assert told.status == 200, told.text
    assert told.json["object"] == {"name": "Ada", "age": 36}
    assert told.json["attempts"] == 2
    assert Decimal(told.json["cost_usd"]) * 10**9 == scripted.bill().total_nano_usd
    entries = Books(gateway).terminal(told.request_id)
    assert [(row["attempt_no"], row["outcome"]) for row in entries] == [
        (1, "settled"),
        (2, "settled"),
    ]
    assert sum(row["amount_nano"] for row in entries) == scripted.bill().total_nano_usd
    second = scripted.calls[1].body["messages"]
    assert second[-2] == {"role": "assistant", "content": f"Here it is: {BAD}"}
    assert "minimum" in second[-1]["content"]
    assert json.loads(gateway.managed("verify_ledger", "--json"))["ok"]


def test_two_wrong_answers_are_a_422_that_says_what_was_said_and_cost(
    gateway: GatewayProcess, scripted: Upstream
) -> None:
    scripted.script("able", answer("no idea"), answer(BAD))
    told = ask(gateway, model="able")
    assert (told.status, told.code) == (422, "schema_mismatch")
    assert told.json["content"] == BAD
    assert [one["status"] for one in told.json["attempts"]] == [200, 200]
    booked = Books(gateway).terminal(told.request_id)
    assert sum(row["amount_nano"] for row in booked) == scripted.bill().total_nano_usd
    assert Books(gateway).holds(told.request_id) == []


def test_a_failed_second_call_is_that_failure(gateway: GatewayProcess, scripted: Upstream) -> None:
    scripted.script("able", answer(BAD), failing(400, "Not now."))
    told = ask(gateway, model="able")
    assert (told.status, told.code) == (400, "invalid_request_error")
    assert len(Books(gateway).terminal(told.request_id)) == 2


def test_a_stream_is_judged_at_its_end(gateway: GatewayProcess, scripted: Upstream) -> None:
    scripted.script("able", answer(GOOD), answer(BAD))
    good, bad = ask(gateway, "stream", model="able"), ask(gateway, "stream", model="able")
    pieces = [event["content"] for event in good.events[:-1]]
    assert ("".join(pieces), good.events[-1]) == (GOOD, "[DONE]")
    assert bad.events[-1]["error"]["code"] == "schema_mismatch"
    assert "[DONE]" not in bad.text


@pytest.mark.parametrize(
    "schema",
    [
        "text",
        {"type": "nothing"},
        {"$ref": "http://127.0.0.1:9/schema.json"},
        {"pattern": "(?=a)"},
        {"$ref": "#/$defs/missing"},
    ],
)
def test_a_schema_that_is_none_is_refused_by_name(
    gateway: GatewayProcess, scripted: Upstream, schema: Any
) -> None:
    told = ask(gateway, model="able", response_schema=schema)
    assert (told.status, told.json["param"]) == (400, "response_schema")
    assert scripted.calls == []
