"""Of several models asked at once the first good answer wins; the others are ended and settled."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
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
    nano_prices,
    route,
    tenant,
)
from tests.harness.dialects import ANTHROPIC, OPENAI
from tests.harness.gateway import GatewayProcess, installed
from tests.harness.together import until
from tests.upstream.client import Upstream
from tests.upstream.scripts import answer, cut, failing, gated, stream

pytestmark = pytest.mark.timed

CHEAP, DEAR = ("0", "4.00"), ("0", "400.00")
POOR_KEY = f"{API_KEY}-poor"
MODELS = [
    *(model(name, price=CHEAP) for name in ("hare", "tortoise", "snail", "fox", "owl", "reserve")),
    model("crane", "anthropic", price=CHEAP),
    model("dear", price=DEAR),
]
ENDED_WITHIN_S = 2.0


@pytest.fixture(scope="module")
def raced(
    sqlite_databases: Any,
    upstream_process: Upstream,
    tmp_path_factory: pytest.TempPathFactory,
    output: Path,
) -> Iterator[GatewayProcess]:
    # What 8 tokens of a cheap model cost fits, not what those of the dear one do.
    poor = tenant("poor", keys=[key("poor", POOR_KEY)], budgets=[budget("0.001")])
    wanted = configuration(
        upstream_process.base_url,
        settings={"fallback_routes": ["last"]},
        models=MODELS,
        routes=[
            route("race", "hare", "tortoise", "crane", strategy="race"),
            route("short", "fox", "owl", strategy="race"),
            route("last", "reserve"),
        ],
        tenants=[tenant(), poor],
    )
    with installed(sqlite_databases, tmp_path_factory.mktemp("home"), output, "") as gateway:
        gateway.apply(wanted)
        yield gateway.serve()


@pytest.fixture
def client(raced: GatewayProcess, upstream: Upstream) -> Iterator[httpx2.Client]:
    upstream.prices(**nano_prices(MODELS))
    headers = {"Authorization": f"Bearer {API_KEY}"}
    with httpx2.Client(base_url=raced.url, headers=headers, timeout=20) as client:
        yield client


def native(client: httpx2.Client, path: str, *names: str, **fields: Any) -> httpx2.Response:
    body = {"prompt": "count, please", "max_tokens": 8, "models": [*names], **fields}
    return client.post(f"/api/v1/llm/{path}", json=body)


def logged(client: httpx2.Client, request_id: str) -> Any:
    record: list[Any] = []

    def written() -> bool:
        response = client.get(f"/api/v1/requests/{request_id}")
        record[:] = [response.json()] if response.status_code == 200 else []
        return bool(record)

    until(written, 10)
    return record[0]


def hold_back(upstream: Upstream, *names: str) -> None:
    for name in names:
        upstream.script(name, gated("never"))


# --- who wins ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", [OPENAI, ANTHROPIC])
@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("winner", ["tortoise", "crane"])
def test_the_first_good_answer_wins_and_the_others_are_ended(
    raced: GatewayProcess,
    client: httpx2.Client,
    upstream: Upstream,
    dialect: Any,
    *,
    streamed: bool,
    winner: str,
) -> None:
    hold_back(upstream, *({"hare", "tortoise", "crane"} - {winner}))
    upstream.script(winner, gated("go") + stream("I", " won"))
    with ThreadPoolExecutor(1) as caller:
        asked = caller.submit(dialect.ask, raced.url, "race", stream=streamed)
        upstream.wait_seen(3)
        upstream.open_gate("go")
    heard = asked.result()
    assert (heard.status, heard.headers["x-mobius-model"]) == (200, winner)
    assert heard.clean
    upstream.wait_ended(3, ENDED_WITHIN_S)
    books = Books(raced)
    until(lambda: not books.holds(heard.request_id), ENDED_WITHIN_S)
    entries = books.terminal(heard.request_id)
    outcomes = {entry["model"]: entry["outcome"] for entry in entries}
    assert outcomes.pop(winner) == "settled"
    assert set(outcomes.values()) == {"cancelled"}
    assert books.audit().ok
    record = logged(client, heard.request_id)
    assert (record["model"], len(record["attempts"])) == (winner, 3)
    assert "a race of 3" in record["steps"]
    assert {entry["attempt_no"] for entry in entries} == {1, 2, 3}


def test_a_racer_that_fails_leaves_the_race_to_the_others(
    client: httpx2.Client, upstream: Upstream
) -> None:
    upstream.script("hare", failing(500))
    upstream.script("crane", cut("rst", at_byte=0))
    upstream.script("tortoise", gated("go") + answer("slowly"))
    upstream.open_gate("go")
    response = client.post(
        "/v1/chat/completions", json=OPENAI.body("race"), headers={"x-mobius-fallbacks": "off"}
    )
    assert response.status_code == 200, response.text
    assert response.headers["x-mobius-model"] == "tortoise"


def test_when_nobody_wins_the_plan_goes_on_beside_them(
    client: httpx2.Client, upstream: Upstream
) -> None:
    for name in ("fox", "owl"):
        upstream.script(name, failing(503))
    response = client.post("/v1/chat/completions", json=OPENAI.body("short"))
    assert response.status_code == 200, response.text
    assert response.headers["x-mobius-model"] == "reserve"
    assert response.headers["x-mobius-attempts"] == "3"


def test_two_that_may_be_billed_are_all_that_is_tried(
    client: httpx2.Client, upstream: Upstream
) -> None:
    for name in ("hare", "tortoise", "crane"):
        upstream.script(name, failing(500))
    response = client.post("/v1/chat/completions", json=OPENAI.body("race"))
    assert (response.status_code, response.headers["x-mobius-code"]) == (502, "upstream_error")
    assert sorted(upstream.order) == ["crane", "hare", "tortoise"]


# --- money ---------------------------------------------------------------------------------------


def test_who_does_not_fit_does_not_start(client: httpx2.Client, upstream: Upstream) -> None:
    client.headers["authorization"] = f"Bearer {POOR_KEY}"
    response = native(client, "race", "dear", "snail")
    assert response.status_code == 200, response.text
    assert response.json()["model"] == "snail"
    assert upstream.order == ["snail"]


def test_where_none_fits_the_budget_says_so(client: httpx2.Client, upstream: Upstream) -> None:
    client.headers["authorization"] = f"Bearer {POOR_KEY}"
    response = native(client, "race", "dear", "snail", max_tokens=100_000)
    assert (response.status_code, response.json()["code"]) == (402, "insufficient_quota")
    assert upstream.calls == []


def test_what_the_losers_cost_is_in_the_cost(client: httpx2.Client, upstream: Upstream) -> None:
    upstream.script("snail", gated("never", after_events=3) + stream("a", " b", " c", " d"))
    upstream.script("hare", gated("go") + answer("done"))
    upstream.open_gate("go")
    response = native(client, "race", "snail", "hare")
    told = response.json()
    record = logged(client, told["request_id"])
    costs = {one["model"]: Decimal(one["cost_usd"]) for one in record["attempts"]}
    assert sum(costs.values()) == Decimal(told["cost_usd"])


# --- the native doors ----------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["race", "parallel"])
@pytest.mark.parametrize(
    "names", [[], ["hare"], ["hare", "hare"], ["hare", "snail", "tortoise", "crane", "dear", "x"]]
)
def test_several_different_models_have_to_be_named(
    client: httpx2.Client, upstream: Upstream, path: str, names: list[str]
) -> None:
    response = native(client, path, *names)
    assert (response.status_code, response.json()["param"]) == (400, "models")
    assert upstream.calls == []


def test_every_answer_is_told_with_what_it_cost(client: httpx2.Client, upstream: Upstream) -> None:
    upstream.script("hare", answer("one two"))
    upstream.script("crane", answer("three"))
    upstream.script("tortoise", failing(400, "not like this"))
    response = native(client, "parallel", "hare", "tortoise", "crane")
    assert response.status_code == 200, response.text
    first, second, third = response.json()["answers"]
    assert (first["asked"], first["content"], first["attempts"]) == ("hare", "one two", 1)
    assert (third["asked"], third["content"]) == ("crane", "three")
    assert (second["asked"], second["problem"]["status"]) == ("tortoise", 400)
    billed = sum(Decimal(one["cost_usd"]) for one in (first, third))
    assert billed * 10**9 == upstream.bill().total_nano_usd
    assert len({one["request_id"] for one in (first, third)}) == 2
    for one in (first, third):
        assert logged(client, one["request_id"])["model"] == one["asked"]


def test_answers_side_by_side_do_not_wait_for_each_other(
    client: httpx2.Client, upstream: Upstream
) -> None:
    upstream.script("hare", gated("both"))
    upstream.script("snail", gated("both"))

    with ThreadPoolExecutor(1) as caller:
        told = caller.submit(native, client, "parallel", "hare", "snail")
        upstream.wait_seen(2)
        upstream.open_gate("both")
    assert told.result().status_code == 200, told.result().text
