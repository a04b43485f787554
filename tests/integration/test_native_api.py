"""The native API over a real server: the same path, asked in the gateway's own words."""

import http.client
import json
import re
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from llm_gateway.access import AUTHZ_MATRIX, Key
from tests.harness.canary import canary
from tests.harness.config import (
    API_KEY,
    budget,
    configuration,
    key,
    model,
    models,
    nano_prices,
    route,
    tenant,
)
from tests.harness.gateway import GatewayProcess, installed
from tests.upstream.client import Upstream
from tests.upstream.scripts import answer, cut, failing, gated, stream

OTHER_KEY, USAGE_KEY = canary("api-key-of-globex"), canary("api-key-usage-only")
PROBLEM = "application/problem+json"
# A model of its own for each test that fails it: what a gateway learns of it stays.
USED_UP = ("tired", "weary", "broken", "torn")
ANSWER = {
    "content",
    "object",
    "model",
    "provider",
    "usage",
    "cost_usd",
    "response_time_ms",
    "finish_reason",
    "cache",
    "attempts",
    "request_id",
}


def judged() -> list[dict[str, Any]]:
    """Return the usual models, two of them with a quality."""
    quality = {"alpha": 79, "claude": 80}
    return [
        {**row, "quality": quality[row["name"]]} if row["name"] in quality else row
        for row in models()
    ]


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def native_gateway(
    request: pytest.FixtureRequest,
    upstream_process: Upstream,
    tmp_path_factory: pytest.TempPathFactory,
    output: Path,
) -> Iterator[GatewayProcess]:
    """Serve two tenants: acme with a budget of its own zone, globex with none."""
    databases = request.getfixturevalue(f"{request.param}_databases")
    redis_url = request.getfixturevalue("redis_url") if request.param == "postgres" else ""
    acme = tenant(
        time_zone="Asia/Kathmandu",
        budgets=[budget("1.00", name="daily", period="day")],
        rate_limits={"requests_per_minute": 6000},
        keys=[key(), key("usage", USAGE_KEY, scopes=["usage"])],
    )
    globex = tenant("globex", keys=[key("main", OTHER_KEY)], models=["beta"])
    wanted = configuration(
        upstream_process.base_url,
        tenants=[acme, globex],
        models=[*judged(), *map(model, USED_UP)],
        routes=[
            route("alpha-then-beta", "alpha", "beta"),
            route("tired-then-beta", "tired", "beta"),
        ],
    )
    with installed(databases, tmp_path_factory.mktemp("home"), output, redis_url) as gateway:
        gateway.apply(wanted)
        yield gateway.serve()


@pytest.fixture
def client(native_gateway: GatewayProcess, upstream: Upstream) -> Iterator[httpx2.Client]:
    upstream.prices(**nano_prices(models()))
    headers = {"Authorization": f"Bearer {API_KEY}"}
    with httpx2.Client(base_url=native_gateway.url, headers=headers, timeout=20) as client:
        yield client


def ask(client: httpx2.Client, path: str = "complete", **body: Any) -> httpx2.Response:
    return client.post(f"/api/v1/llm/{path}", json={"prompt": "count, please", **body})


def problem(response: httpx2.Response, status: int, code: str) -> Any:
    assert (response.status_code, response.headers["content-type"]) == (status, PROBLEM)
    told = response.json()
    assert {"type", "title", "status", "detail", "code", "request_id"} <= told.keys()
    assert (told["status"], told["code"]) == (status, code)
    assert response.headers["x-mobius-code"] == code
    assert response.headers["x-request-id"] == told["request_id"]
    return told


def logged(client: httpx2.Client, request_id: str) -> Any:
    """Return a request's record; it is written behind the answer."""
    for _ in range(500):
        response = client.get(f"/api/v1/requests/{request_id}")
        if response.status_code == 200:
            return response.json()
    raise AssertionError(f"{request_id} was not logged")


# --- complete, stream, embed ---------------------------------------------------------------------


def test_a_prompt_is_answered_with_what_it_used_and_cost(
    client: httpx2.Client, upstream: Upstream
) -> None:
    upstream.script("alpha", answer("one two three"))
    response = ask(client, model="alpha")
    assert response.status_code == 200, response.text
    told = response.json()
    assert told.keys() == ANSWER
    assert (told["content"], told["object"]) == ("one two three", None)
    assert (told["model"], told["provider"], told["attempts"]) == ("alpha", "openai", 1)
    assert (told["finish_reason"], told["cache"]) == ("stop", "off")
    assert told["usage"]["completion_tokens"] == 3
    assert told["usage"]["total_tokens"] == told["usage"]["prompt_tokens"] + 3
    assert Decimal(told["cost_usd"]) * 10**9 == upstream.bill().total_nano_usd
    assert told["cost_usd"] == response.headers["x-mobius-cost-usd"]
    assert told["request_id"] == response.headers["x-request-id"]
    assert upstream.calls[0].body["messages"] == [{"role": "user", "content": "count, please"}]


def test_messages_and_bounds_cross_to_a_provider_of_another_dialect(
    client: httpx2.Client, upstream: Upstream
) -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}]
    body = {"messages": messages, "model": "claude", "max_tokens": 4, "temperature": 0.5}
    response = client.post("/api/v1/llm/complete", json={**body, "top_p": 0.9, "stop": ["END"]})
    assert response.status_code == 200, response.text
    assert response.json()["finish_reason"] == "length"
    (call,) = upstream.calls
    assert call.dialect == "anthropic.messages"
    assert (call.body["max_tokens"], call.body["stop_sequences"]) == (4, ["END"])


def test_without_a_model_the_first_route_is_asked(
    client: httpx2.Client, upstream: Upstream
) -> None:
    response = ask(client)
    assert response.status_code == 200, response.text
    assert (response.json()["model"], upstream.order) == ("alpha", ["alpha"])
    record = logged(client, response.json()["request_id"])
    assert record["requested_model"] == "alpha-then-beta"


def test_models_are_tried_in_the_order_of_the_list(
    client: httpx2.Client, upstream: Upstream
) -> None:
    upstream.script("weary", failing(429))
    response = ask(client, models=["weary", "alpha"])
    assert (response.json()["model"], upstream.order) == ("alpha", ["weary", "alpha"])
    for wrong in ([], ["alpha", "alpha-then-beta"], ["alpha", 1], "alpha"):
        assert ask(client, models=wrong).status_code in {400, 404}
    told = problem(ask(client, models=["alpha"], model="beta"), 400, "invalid_request_error")
    assert told["param"] == "models"
    client.headers["authorization"] = f"Bearer {OTHER_KEY}"
    problem(ask(client, models=["beta", "alpha"]), 404, "model_not_found")


def test_a_provider_and_a_strategy_may_be_said_in_the_body(
    client: httpx2.Client, upstream: Upstream
) -> None:
    response = ask(client, model="alpha-then-beta", strategy="best_quality", provider="openai")
    assert response.status_code == 200, response.text
    for wrong in ({"strategy": 7}, {"strategy": "best"}, {"provider": 7}):
        body = {"prompt": "hi", **wrong}
        told = problem(client.post("/api/v1/llm/complete", json=body), 400, "invalid_request_error")
        assert told["param"] in wrong
    assert len(upstream.calls) == 1


def test_a_stream_that_breaks_says_so_and_is_not_done(
    client: httpx2.Client, upstream: Upstream
) -> None:
    upstream.script("torn", cut(at_event=3))
    response = ask(client, "stream", model="torn")
    events = [event for event in response.text.split("\n\n") if event]
    told = json.loads(events[-1].removeprefix("data: "))["error"]
    assert (told["status"], told["code"]) == (502, "upstream_error")
    assert told["request_id"] == response.headers["x-request-id"]
    assert "[DONE]" not in response.text


def test_a_stream_that_is_left_is_read_on_and_settled(
    client: httpx2.Client, upstream: Upstream
) -> None:
    upstream.script("alpha", gated("go", after_events=2) + stream("one", "two", "three"))
    body = {"prompt": "hi", "model": "alpha"}
    with client.stream("POST", "/api/v1/llm/stream", json=body) as response:
        assert response.status_code == 200
        request_id = response.headers["x-request-id"]
        next(response.iter_raw())
    upstream.open_gate("go")
    upstream.wait_ended(1)
    record = logged(client, request_id)
    assert (record["outcome"], record["estimated"]) == ("cancelled", False)
    assert Decimal(record["cost_usd"]) * 10**9 == upstream.bill().total_nano_usd


def test_a_stream_is_pieces_with_the_cost_at_the_end(
    client: httpx2.Client, upstream: Upstream
) -> None:
    upstream.script("alpha", stream("Hel", "lo"))
    headers = {"accept": "text/event-stream"}
    response = client.post(
        "/api/v1/llm/stream", json={"prompt": "hi", "model": "alpha"}, headers=headers
    )
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    events = [event.removeprefix("data: ") for event in response.text.split("\n\n") if event]
    assert events.pop() == "[DONE]"
    *pieces, last = (json.loads(event) for event in events)
    shape = {"provider": "openai", "model": "alpha", "finish_reason": None}
    assert pieces == [{"content": "Hel", **shape}, {"content": "lo", **shape}]
    assert (last["content"], last["finish_reason"]) == ("", "stop")
    assert Decimal(last["cost_usd"]) * 10**9 == upstream.bill().total_nano_usd
    record = logged(client, response.headers["x-request-id"])
    assert (record["outcome"], record["stream"], record["dialect"]) == ("ok", True, "native")


def test_texts_become_vectors_in_their_order(client: httpx2.Client) -> None:
    response = client.post(
        "/api/v1/llm/embed", json={"texts": ["one", "two", "three"], "model": "embed"}
    )
    assert response.status_code == 200, response.text
    told = response.json()
    assert len(told["embeddings"]) == 3
    assert all(isinstance(number, float) for number in told["embeddings"][0])
    assert (told["model"], told["usage"]["prompt_tokens"] > 0) == ("embed", True)
    default = client.post("/api/v1/llm/embed", json={"texts": ["one"]})
    assert default.json()["model"] == "embed"


# --- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "field", ["response_schema", "prompt_template", "cache", "tools", "base_url"]
)
def test_a_field_that_is_not_known_or_makes_no_sense_is_refused_by_name(
    client: httpx2.Client, upstream: Upstream, field: str
) -> None:
    asked: dict[str, Any] = {field: ["x"]}
    told = problem(ask(client, **asked), 400, "invalid_request_error")
    assert told["param"] == field
    assert upstream.calls == []


def test_a_body_that_is_no_json_or_says_a_thing_twice_is_refused(client: httpx2.Client) -> None:
    for body in ("{", '{"prompt": "a", "prompt": "b"}', "[]", ""):
        response = client.post("/api/v1/llm/complete", content=body)
        problem(response, 400, "invalid_request_error")


def test_an_unknown_model_and_one_that_is_not_allowed_are_told_alike(
    client: httpx2.Client,
) -> None:
    problem(ask(client, model="none"), 404, "model_not_found")
    other = {"Authorization": f"Bearer {OTHER_KEY}"}
    response = client.post(
        "/api/v1/llm/complete", json={"prompt": "x", "model": "alpha"}, headers=other
    )
    problem(response, 404, "model_not_found")


def test_every_upstream_failing_is_told_with_the_attempts(
    client: httpx2.Client, upstream: Upstream
) -> None:
    upstream.script("broken", failing(500))
    told = problem(ask(client, model="broken"), 502, "upstream_error")
    assert told["attempts"][0] | {"provider": "openai", "status": 500} == told["attempts"][0]


def test_a_body_over_the_limit_is_refused_by_its_head(native_gateway: GatewayProcess) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", native_gateway.port, timeout=10)
    connection.putrequest("POST", "/api/v1/llm/complete")
    connection.putheader("authorization", f"Bearer {API_KEY}")
    connection.putheader("content-length", str(32 * 1024 * 1024 + 1))
    connection.endheaders()
    response = connection.getresponse()
    assert (response.status, response.headers["content-type"]) == (413, PROBLEM)
    assert json.loads(response.read())["code"] == "request_too_large"
    connection.close()


@pytest.mark.parametrize(
    "headers",
    [{}, {"x-api-key": "mob_wrong-key-of-nobody"}, {"authorization": "Basic eDp5"}],
    ids=["none", "wrong", "another scheme"],
)
def test_without_a_good_key_nothing_is_told(
    native_gateway: GatewayProcess, headers: dict[str, str]
) -> None:
    with httpx2.Client(base_url=native_gateway.url, headers=headers) as anonymous:
        problem(ask(anonymous), 401, "invalid_api_key")
        for path in ("me", "requests", f"requests/{uuid4()}", "llm/models", "llm/metrics"):
            problem(anonymous.get(f"/api/v1/{path}"), 401, "invalid_api_key")


def test_a_key_in_the_url_is_never_accepted(native_gateway: GatewayProcess) -> None:
    with httpx2.Client(base_url=native_gateway.url) as anonymous:
        problem(anonymous.get("/api/v1/me", params={"key": API_KEY}), 401, "invalid_api_key")


def test_a_key_without_the_scope_is_refused(client: httpx2.Client, upstream: Upstream) -> None:
    client.headers["authorization"] = f"Bearer {USAGE_KEY}"
    problem(ask(client), 403, "permission_denied")
    assert client.get("/api/v1/me").status_code == 200
    assert upstream.calls == []


def test_wrong_methods_and_paths_are_problems_too(client: httpx2.Client) -> None:
    problem(client.get("/api/v1/llm/complete"), 405, "method_not_allowed")
    problem(client.get("/api/v1/nothing/here"), 404, "not_found")


# --- what a key may see --------------------------------------------------------------------------


def test_a_key_learns_who_it_is_and_what_is_left(client: httpx2.Client) -> None:
    cost = Decimal(ask(client, model="alpha").json()["cost_usd"])
    told = client.get("/api/v1/me").json()
    assert (told["tenant"], told["project"], told["key"]["name"]) == ("acme", None, "dev")
    assert {"alpha", "alpha-then-beta", "beta", "claude", "embed"} <= set(told["models"])
    assert told["rate_limits"][0]["requests_per_minute"] == 6000
    (state,) = told["budgets"]
    assert (state["name"], state["scope"], state["period"]) == ("daily", "tenant", "day")
    assert Decimal(state["used"]) >= cost > 0
    assert Decimal(state["remaining"]) == 1 - Decimal(state["used"]) - Decimal(state["held"])
    renews = datetime.fromisoformat(state["renews_at"])
    assert state["renews_at"].endswith("T00:00:00+05:45")
    assert 0 < (renews - datetime.now(renews.tzinfo)).total_seconds() <= 86_400


def test_a_request_can_be_read_back_with_its_decisions(
    client: httpx2.Client, upstream: Upstream
) -> None:
    upstream.script("tired", failing(429))
    answered = ask(client, model="tired-then-beta").json()
    record = logged(client, answered["request_id"])
    assert (record["requested_model"], record["model"]) == ("tired-then-beta", "beta")
    attempts = [(one["model"], one["category"]) for one in record["attempts"]]
    assert attempts == [("tired", "rate_limit"), ("beta", "")]
    assert record["cost_usd"] == answered["cost_usd"]
    assert sum(Decimal(line["amount_usd"]) for line in record["lines"]) == Decimal(
        record["cost_usd"]
    )
    assert record["candidates"] == ["openai/tired", "openai/beta"]


def test_the_log_is_paged_newest_first_and_filtered(client: httpx2.Client) -> None:
    ids = [ask(client, model="alpha").json()["request_id"] for _ in range(3)]
    logged(client, ids[-1])
    first = client.get("/api/v1/requests", params={"limit": 2}).json()
    assert [row["id"] for row in first["data"]] == ids[:0:-1]
    then = client.get("/api/v1/requests", params={"limit": 2, "cursor": first["next"]}).json()
    assert then["data"][0]["id"] == ids[0]
    since = first["data"][-1]["created_at"]
    newest = client.get("/api/v1/requests", params={"from": since, "model": "alpha"}).json()
    assert [row["id"] for row in newest["data"]] == ids[:0:-1]
    assert client.get("/api/v1/requests", params={"status": 418}).json()["data"] == []
    for name, value in (("from", "yesterday"), ("cursor", "x"), ("colour", "red")):
        wrong = client.get("/api/v1/requests", params={name: value})
        assert problem(wrong, 400, "invalid_request_error")["param"] == name


def test_another_tenants_request_is_as_unknown_as_none(client: httpx2.Client) -> None:
    mine = ask(client, model="beta").json()["request_id"]
    logged(client, mine)
    client.headers["authorization"] = f"Bearer {OTHER_KEY}"
    theirs = problem(client.get(f"/api/v1/requests/{mine}"), 404, "not_found")
    nobodys = problem(client.get(f"/api/v1/requests/{uuid4()}"), 404, "not_found")
    assert theirs | {"request_id": ""} == nobodys | {"request_id": ""}
    rows = client.get("/api/v1/requests", params={"cursor": mine}).json()["data"]
    assert {row["key"] for row in rows} <= {"main"}
    assert client.get("/api/v1/llm/metrics").json()["data"] == []


def test_models_are_listed_with_what_they_can_and_cost(client: httpx2.Client) -> None:
    told = client.get("/api/v1/llm/models").json()
    alpha = next(row for row in told["data"] if row["model"] == "alpha")
    assert (alpha["provider"], alpha["context_window"], alpha["max_output_tokens"]) == (
        "openai",
        128_000,
        4096,
    )
    assert alpha["prices"] == {"input": "1.00", "output": "4.00"}
    assert "tools" in alpha["capabilities"]
    assert alpha["health"]["state"] == "closed"
    assert told["routes"][0] == {
        "route": "alpha-then-beta",
        "strategy": "fallback",
        "models": ["alpha", "beta"],
    }
    names = {
        field: [
            row["model"] for row in client.get("/api/v1/llm/models", params=query).json()["data"]
        ]
        for field, query in {
            "capability": {"capability": "embeddings"},
            "provider": {"provider": "anthropic"},
            "context": {"min_context": "128001"},
            "quality": {"min_quality": "80", "capability": "chat"},
        }.items()
    }
    assert names == {
        "capability": ["embed"],
        "provider": ["claude"],
        "context": [],
        "quality": ["claude"],
    }


def test_metrics_sum_up_the_tenants_own_attempts(client: httpx2.Client, upstream: Upstream) -> None:
    before = metrics_of(client, "anthropic")
    upstream.script("claude", answer("yes"))
    logged(client, ask(client, model="claude").json()["request_id"])
    after = metrics_of(client, "anthropic")
    assert after["requests"] == before.get("requests", 0) + 1
    assert after["circuits"] == {"claude": "closed"}
    assert after["p95_ms"] > 0


def metrics_of(client: httpx2.Client, provider: str) -> dict[str, Any]:
    rows = client.get("/api/v1/llm/metrics", params={"provider": provider}).json()["data"]
    return rows[0] if rows else {}


# --- the documents -------------------------------------------------------------------------------


def test_the_schema_and_its_page_are_public_and_need_no_other_host(
    native_gateway: GatewayProcess,
) -> None:
    with httpx2.Client(base_url=native_gateway.url) as anonymous:
        schema = anonymous.get("/api/v1/schema", params={"format": "json"}).json()
        page = anonymous.get("/api/v1/docs")
        script = anonymous.get("/api/v1/docs", params={"script": ""})
        files = [anonymous.get(source) for source in sources_of(page.text)]
    assert "/api/v1/llm/complete" in schema["paths"]
    assert (page.status_code, script.status_code) == (200, 200)
    assert len(files) >= 4
    assert {(file.status_code, file.url.host) for file in files} == {(200, "127.0.0.1")}
    assert "unsafe-inline" not in page.headers["content-security-policy"].partition("style-src")[0]


def sources_of(page: str) -> list[str]:
    return re.findall(r'(?:src|href)="([^"]+)"', page)


def test_every_route_of_the_schema_is_in_the_matrix(native_gateway: GatewayProcess) -> None:
    with httpx2.Client(base_url=native_gateway.url) as anonymous:
        paths = anonymous.get("/api/v1/schema", params={"format": "json"}).json()["paths"]
    described = {
        ("http", method.upper(), path) for path, methods in paths.items() for method in methods
    }
    keyed = {
        row
        for row, who in AUTHZ_MATRIX.items()
        if row[2].startswith("/api/v1/") and isinstance(who, Key)
    }
    assert described == keyed
