"""Usage, forecasts and recommendations over a real server that answered real requests."""

import csv
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import StringIO
from typing import Any

import httpx2
import pytest

from tests.harness.canary import canary
from tests.harness.config import (
    API_KEY,
    budget,
    configuration,
    key,
    model,
    models,
    nano_prices,
    tenant,
)
from tests.harness.gateway import GatewayProcess, installed
from tests.upstream.client import Upstream

OTHER_KEY = canary("api-key-of-globex")
ASKED = 12
LONG = "Be brief. " * 400  # instructions that a provider would cache


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def insight_gateway(
    request: pytest.FixtureRequest,
    upstream_process: Upstream,
    tmp_path_factory: pytest.TempPathFactory,
    output: Any,
) -> Iterator[GatewayProcess]:
    """Serve acme, which has asked a few things, and globex, which has asked nothing."""
    databases = request.getfixturevalue(f"{request.param}_databases")
    acme = tenant(
        time_zone="Europe/Berlin",
        budgets=[
            budget("5.00", name="small", period="month"),
            budget("9000000.00", name="large", period="year"),
        ],
    )
    globex = tenant("globex", keys=[key("main", OTHER_KEY)])
    rows = [
        *models()[1:],
        model("alpha", quality=80),
        model("tiny", price=("0.10", "0.40"), quality=79),
    ]
    wanted = configuration(upstream_process.base_url, models=rows, tenants=[acme, globex])
    with installed(databases, tmp_path_factory.mktemp("home"), output) as gateway:
        gateway.apply(wanted)
        gateway.serve()
        upstream_process.reset()
        upstream_process.prices(**nano_prices(models()))
        with ask(gateway, API_KEY) as client:
            for number in range(ASKED):
                chat(client, number)
            wait_for(client, ASKED)
        yield gateway


def ask(gateway: GatewayProcess, value: str) -> httpx2.Client:
    headers = {"Authorization": f"Bearer {value}"}
    return httpx2.Client(base_url=gateway.url, headers=headers, timeout=20)


def chat(client: httpx2.Client, number: int) -> None:
    messages = [
        {"role": "system", "content": LONG},
        {"role": "user", "content": f"question {number // 2}"},  # each is asked twice
    ]
    response = client.post(
        "/v1/chat/completions",
        json={"model": "alpha", "messages": messages, "max_tokens": 64},
        headers={"x-mobius-tags": f"team={'=a' if number % 3 else 'b'}"},
    )
    assert response.status_code == 200, response.text


def wait_for(client: httpx2.Client, count: int) -> None:
    """Return when all are in the log; they are written behind the answer."""
    for _ in range(500):
        rows = client.get("/api/v1/usage").json()["rows"]
        if sum(row["requests"] for row in rows) == count:
            return
    raise AssertionError("not all requests reached the roll-ups")


@pytest.fixture
def client(insight_gateway: GatewayProcess) -> Iterator[httpx2.Client]:
    with ask(insight_gateway, API_KEY) as client:
        yield client


def logged(client: httpx2.Client) -> Any:
    return client.get("/api/v1/requests").json()["data"]


def test_usage_is_the_sum_of_the_request_log(client: httpx2.Client) -> None:
    log = logged(client)
    answer = client.get("/api/v1/usage?group_by=model,key,provider").json()
    (row,) = answer["rows"]
    assert (row["model"], row["key"], row["provider"]) == ("alpha", "dev", "openai")
    assert (row["requests"], row["errors"]) == (ASKED, 0)
    assert Decimal(row["cost_usd"]) == sum(Decimal(one["cost_usd"]) for one in log)
    for name in ("prompt_tokens", "completion_tokens", "cached_tokens"):
        assert row[name] == sum(one["usage"][name] for one in log)
    assert answer["next"] is None
    assert (datetime.fromisoformat(answer["to"])).utcoffset() in {
        timedelta(hours=1),
        timedelta(hours=2),
    }


def test_tags_page_by_page(client: httpx2.Client) -> None:
    first = client.get("/api/v1/usage?group_by=tag.team&limit=1").json()
    query = {"group_by": "tag.team", "limit": 1, "cursor": first["next"]}
    second = client.get("/api/v1/usage", params=query).json()
    found = {row["tag.team"]: row["requests"] for row in first["rows"] + second["rows"]}
    assert found == {"=a": 8, "b": 4}
    assert second["next"] is None


def test_files_are_csv_without_formulas(client: httpx2.Client) -> None:
    response = client.get("/api/v1/usage.csv?group_by=day,tag.team")
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    assert 'filename="usage.csv"' in response.headers["content-disposition"]
    teams = {line["tag.team"]: line["requests"] for line in csv.DictReader(StringIO(response.text))}
    assert teams == {"'=a": "8", "b": "4"}
    focus = list(csv.DictReader(StringIO(client.get("/api/v1/usage.focus.csv").text)))
    billed = sum(Decimal(line["BilledCost"]) for line in focus)
    assert billed == sum(Decimal(one["cost_usd"]) for one in logged(client))
    assert {line["BillingAccountName"] for line in focus} == {"acme"}


def test_another_tenant_sees_nothing_of_it(insight_gateway: GatewayProcess) -> None:
    with ask(insight_gateway, OTHER_KEY) as other:
        assert other.get("/api/v1/usage?group_by=model").json()["rows"] == []
        assert len(other.get("/api/v1/usage.csv").text.splitlines()) == 1
        assert len(other.get("/api/v1/usage.focus.csv").text.splitlines()) == 1
        assert other.get("/api/v1/forecast").json()["data"] == []
        assert other.get("/api/v1/recommendations").json()["data"] == []


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("group_by=cost_nano", "group_by"),
        ("group_by=day,day", "group_by"),
        ("group_by=a,b,c,d,e,f,g", "group_by"),
        ("from=yesterday", "from"),
        ("from=2026-01-31T00:30:00Z", "from"),
        ("from=2026-01-31T00:00:00", "from"),
        ("from=2026-02-01&to=2026-02-01", "from"),
        ("cursor=x", "cursor"),
        ("cursor=WzFd", "cursor"),
        ("cursor=WyIxIiwgIjIiXQ==", "cursor"),
        ("limit=-1", "limit"),
        ("tenant=2", "tenant"),
    ],
)
def test_what_is_asked_wrongly_is_named(client: httpx2.Client, query: str, param: str) -> None:
    response = client.get(f"/api/v1/usage?{query}")
    assert (response.status_code, response.json().get("param")) == (400, param), response.text


def test_days_of_the_tenants_zone_can_be_asked_for(client: httpx2.Client) -> None:
    answer = client.get("/api/v1/usage?from=2026-07-01&to=2026-07-02T00:00:00Z").json()
    assert (answer["from"], answer["to"]) == (
        "2026-07-01T00:00:00+02:00",
        "2026-07-02T02:00:00+02:00",
    )


def test_each_budget_has_its_forecast(client: httpx2.Client) -> None:
    answer = client.get("/api/v1/forecast").json()
    assert "m·t" in answer["method"]
    small, large = sorted(answer["data"], key=lambda one: Decimal(one["limit"]))
    assert (small["name"], small["period"], large["name"]) == ("small", "month", "large")
    assert Decimal(small["used"]) > 0
    assert large["at"] is None
    told = {one["name"]: one for one in client.get("/api/v1/me").json()["budgets"]}
    for one in (small, large):
        mine = told[one["name"]]
        assert (mine["forecast_at"] is None, mine["used"]) == (one["at"] is None, one["used"])
        percent = 100 * Decimal(one["used"]) / Decimal(one["limit"])
        assert mine["used_percent"] == pytest.approx(float(percent), abs=0.005)
    assert datetime.fromisoformat(small["renews_at"]) > datetime.now(UTC)


def test_recommendations_say_what_they_save_and_how(client: httpx2.Client) -> None:
    answer = client.get("/api/v1/recommendations").json()
    found = {one["kind"]: one for one in answer["data"]}
    assert {"cheaper_model", "cache_answers"} <= found.keys()
    cheaper = found["cheaper_model"]
    assert cheaper["figures"] == {"requests": ASKED, "model": "tiny", "provider": "openai"}
    spent = sum(Decimal(one["cost_usd"]) for one in logged(client))
    # Each price of tiny is a tenth of alpha's; cached tokens count in full, so this is a bound.
    assert 0 < Decimal(cheaper["saving_usd"]) <= spent * Decimal("0.9")
    assert Decimal(found["cache_answers"]["saving_usd"]) > 0
    assert f"{ASKED // 2} requests" in found["cache_answers"]["computed"]


def test_the_openapi_document_tells_of_them(client: httpx2.Client) -> None:
    document = client.get("/api/v1/schema?format=json").json()
    for path in ("usage", "usage.csv", "usage.focus.csv", "forecast", "recommendations"):
        assert f"/api/v1/{path}" in document["paths"]
    assert {"from", "to", "rows", "next"} <= document["components"]["schemas"]["UsagePage"][
        "properties"
    ].keys()


def test_a_rebuild_while_serving_changes_nothing(
    client: httpx2.Client, insight_gateway: GatewayProcess
) -> None:
    before = client.get("/api/v1/usage?group_by=day,model,tag").json()
    assert "hourly rows" in insight_gateway.managed("rebuild_rollups")
    assert client.get("/api/v1/usage?group_by=day,model,tag").json() == before
    assert "0 rows deleted" in insight_gateway.managed("retention")
    assert client.get("/api/v1/usage?group_by=day,model,tag").json() == before
