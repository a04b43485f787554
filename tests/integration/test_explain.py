"""What would be done with a request is told as it would be done; nothing is sent or booked."""

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.harness.books import Books
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
from tests.harness.dialects import OPENAI
from tests.harness.gateway import GatewayProcess, installed
from tests.harness.together import until
from tests.upstream.client import Upstream
from tests.upstream.scripts import words

PRICE = ("0", "4.00")
TOKENS = 8
COST = TOKENS * Decimal("4.00") / 10**6
MODELS = [
    *models(),
    model("plenty", price=PRICE),
    model("spare", price=PRICE),
    model("small", price=PRICE, context_window=5000),
]
SPENT_BY_HALF = f"{API_KEY}-half"


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def explained(
    request: pytest.FixtureRequest,
    upstream_process: Upstream,
    tmp_path_factory: pytest.TempPathFactory,
    output: Path,
) -> Iterator[GatewayProcess]:
    databases = request.getfixturevalue(f"{request.param}_databases")
    redis_url = request.getfixturevalue("redis_url") if request.param == "postgres" else ""
    half = {"model": "plenty", "when": {"budget_used_below": 0.5}}
    ten_calls = budget(str(10 * COST), name="ten", period="year")
    wanted = configuration(
        upstream_process.base_url,
        models=MODELS,
        routes=[
            route("smart", "small", "alpha", "beta"),
            {"name": "thrifty", "strategy": "fallback", "targets": [half, {"model": "spare"}]},
        ],
        tenants=[
            tenant(
                rate_limits={"requests_per_minute": 600},
                budgets=[budget("1.00", name="daily", period="day")],
            ),
            tenant("half", keys=[key("half", SPENT_BY_HALF)], budgets=[ten_calls]),
        ],
    )
    with installed(databases, tmp_path_factory.mktemp("home"), output, redis_url) as gateway:
        gateway.apply(wanted)
        yield gateway.serve()


@pytest.fixture
def client(explained: GatewayProcess, upstream: Upstream) -> Iterator[httpx2.Client]:
    upstream.prices(**nano_prices(MODELS))
    headers = {"Authorization": f"Bearer {API_KEY}"}
    with httpx2.Client(base_url=explained.url, headers=headers, timeout=20) as client:
        yield client


def explain(client: httpx2.Client, **body: Any) -> Any:
    response = client.post("/api/v1/llm/explain", json=OPENAI.body(**body))
    assert response.status_code == 200, response.text
    return response.json()


def test_candidates_come_in_order_with_what_they_cost_and_why_others_do_not(
    explained: GatewayProcess, client: httpx2.Client, upstream: Upstream
) -> None:
    before = Books(explained).entries()
    told = explain(client, model="smart", content="word " * 9000)
    assert told["route"] == {"name": "smart", "strategy": "fallback"}
    assert [one["model"] for one in told["candidates"]] == ["alpha", "beta"]
    first = told["candidates"][0]
    assert (first["fits"], first["circuit"]["state"], first["rests_s"]) == (True, "closed", 0)
    assert Decimal(first["most_cost_usd"]) > 0
    (budgeted,) = first["budgets"]
    assert (budgeted["name"], Decimal(budgeted["limit"])) == ("daily", Decimal("1.00"))
    (dropped,) = told["dropped"]
    assert (dropped["name"], dropped["cause"]) == ("openai/small", "context")
    assert {one["limit"]: one["value"] for one in told["limits"]} == {"requests": 600}
    assert told["refused"] is None
    assert upstream.calls == []
    assert Books(explained).entries() == before
    assert explain(client, model="smart")["limits"] == told["limits"]


def test_what_no_budget_has_room_for_is_said(client: httpx2.Client, upstream: Upstream) -> None:
    told = explain(client, model="alpha", max_tokens=1_000_000)
    assert not told["candidates"][0]["fits"]
    assert "daily" in told["refused"]["reason"]
    assert upstream.calls == []


def test_a_request_that_nothing_can_take_is_told_with_the_reasons(client: httpx2.Client) -> None:
    told = explain(client, model="small", content="word " * 9000)
    assert told["candidates"] == []
    assert told["refused"]["code"] == "context_length_exceeded"
    response = client.post("/api/v1/llm/explain", json=OPENAI.body("nobody"))
    assert (response.status_code, response.json()["code"]) == (404, "model_not_found")


def test_the_command_says_the_same(
    explained: GatewayProcess, client: httpx2.Client, tmp_path: Path
) -> None:
    file = tmp_path / "request.json"
    file.write_text(json.dumps(OPENAI.body("smart")))
    by_http = explain(client, model="smart")
    for named in ("acme/dev", API_KEY):
        told = json.loads(explained.managed("explain", "--key", named, str(file)))
        assert [one["name"] for one in told["candidates"]] == [
            one["name"] for one in by_http["candidates"]
        ]
        assert told["candidates"][0]["most_cost_usd"] == by_http["candidates"][0]["most_cost_usd"]
    wrong = explained.manage("explain", "--key", "acme/nobody", str(file))
    assert wrong.code != 0
    assert "acme/nobody" in wrong.stderr


def test_a_target_is_left_once_half_of_the_budget_is_used(
    client: httpx2.Client, upstream: Upstream
) -> None:
    client.headers["authorization"] = f"Bearer {SPENT_BY_HALF}"
    upstream.script("plenty", words(TOKENS))
    upstream.script("spare", words(TOKENS))
    served = []
    for _ in range(8):
        response = client.post("/v1/chat/completions", json=OPENAI.body("thrifty"))
        assert response.status_code == 200, response.text
        served.append(response.headers["x-mobius-model"])
    assert served == ["plenty"] * 5 + ["spare"] * 3
    told = explain(client, model="thrifty")
    assert [one["model"] for one in told["candidates"]] == ["spare"]
    assert "50%" in told["dropped"][0]["reason"]
    until(lambda: upstream.bill().total_nano_usd == 8 * int(COST * 10**9), 5)
