"""Prices of tenants, corrections of the past and feeds, over a running gateway and its ledger."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from llm_gateway.insight.histogram import counts
from tests.harness.books import Books, Row
from tests.harness.config import (
    SINCE,
    budget,
    configuration,
    key,
    model,
    openai_provider,
    tenant,
)
from tests.harness.dialects import OPENAI
from tests.harness.gateway import GatewayProcess
from tests.upstream.client import Upstream
from tests.upstream.scripts import words


@pytest.fixture
def books(gateway: GatewayProcess) -> Books:
    return Books(gateway)


CALLS = 3


def listed(output: str) -> list[dict[str, Any]]:
    return [model("alpha", price=("0", output))]


def serve(gateway: GatewayProcess, upstream: Upstream, **terms: Any) -> None:
    owner = tenant(budgets=[budget("9")], keys=[key()], **terms)
    gateway.apply(
        configuration(upstream.base_url, models=listed("4.00"), routes=[], tenants=[owner])
    )
    gateway.serve()


def correct(gateway: GatewayProcess, upstream: Upstream, output: str, **terms: Any) -> None:
    """Give the model another price for all the time that it had the wrong one."""
    owner = tenant(budgets=[budget("9")], keys=[key()], **terms)
    gateway.apply(
        configuration(upstream.base_url, models=listed(output), routes=[], tenants=[owner])
    )


def asked(gateway: GatewayProcess, books: Books, times: int = CALLS) -> list[Row]:
    for _ in range(times):
        assert OPENAI.ask(gateway.url, "alpha").status == 200
    return books.until_settled(times, 10)


def lately() -> tuple[str, ...]:
    """Return the span of yesterday and today, of which midnight takes nothing away."""
    today = datetime.now(UTC).date()
    return ("--from", str(today - timedelta(days=1)), "--to", str(today))


def recomputed(gateway: GatewayProcess, *options: str) -> str:
    return gateway.managed("recompute", "--model", "alpha", *lately(), *options)


def check_books(books: Books) -> None:
    """Check that chain, buckets, log and roll-ups agree, and that lines sum to the cost."""
    audit = books.audit()
    assert (audit.code, audit.differences) == (0, [])
    entries = books.rows("ledger_entry")
    for row in entries:
        assert sum(line["amount_nano"] for line in plain(row["lines"])) == row["amount_nano"]
    log = books.rows("llm_gateway_requestlog")
    for row in log:
        assert sum(line["amount_nano"] for line in plain(row["lines"])) == row["cost_nano"]
    total = sum(row["amount_nano"] for row in entries)
    assert sum(row["cost_nano"] for row in log) == total
    hours = books.rows("llm_gateway_usagehour")
    assert sum(row["cost_nano"] for row in hours) == total
    assert sum(row["requests"] for row in hours) == len(log)
    assert sum(sum(counts(int(row["latency"]))) for row in hours) == len(log)


def plain(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


def test_a_corrected_price_corrects_the_past_once(
    gateway: GatewayProcess, upstream: Upstream, books: Books
) -> None:
    serve(gateway, upstream)
    charged = sum(row["amount_nano"] for row in asked(gateway, books))
    gateway.terminate()
    correct(gateway, upstream, "1.00")
    assert "3 of 3 attempts would be corrected" in recomputed(gateway, "--plan")
    assert len(books.entries()) == CALLS
    assert "3 of 3 attempts corrected: USD -" in recomputed(gateway)
    entries = books.entries()
    assert [row["kind"] for row in entries] == ["attempt"] * CALLS + ["correction"] * CALLS
    assert sum(row["amount_nano"] for row in entries) * 4 == charged
    check_books(books)
    assert "0 of 3 attempts corrected" in recomputed(gateway)
    assert len(books.entries()) == 2 * CALLS
    correct(gateway, upstream, "8.00")
    recomputed(gateway)
    assert sum(row["amount_nano"] for row in books.entries()) == charged * 2
    check_books(books)
    assert days(gateway) == [(charged * 2, charged * 2, 0)]
    events = [row for row in books.rows("tenants_auditevent") if row["action"] == "recomputed"]
    assert len(events) == 2


def test_what_a_provider_says_that_it_costs_may_be_what_is_charged(
    gateway: GatewayProcess, upstream: Upstream, books: Books
) -> None:
    tells = {"prompt_tokens": 10, "completion_tokens": 8, "total_tokens": 18}
    upstream.script("says", words(8).but(usage={**tells, "cost": 0.000123}))
    upstream.script("silent", words(8).but(usage=tells))
    gateway.apply(
        configuration(
            upstream.base_url,
            providers=[openai_provider(upstream.base_url, charge_by="provider")],
            models=listed("4.00"),
            routes=[],
            tenants=[tenant(budgets=[budget("9")], keys=[key()])],
        )
    )
    gateway.serve()
    for script in ("says", "silent"):
        for stream in (False, True):
            content = f"go [[script:{script}]]"
            assert OPENAI.ask(gateway.url, "alpha", stream=stream, content=content).status == 200
    charged = [row["amount_nano"] for row in books.until_settled(4, 10)]
    assert charged == [123_000, 123_000, 32_000, 32_000]
    assert [row["provider_cost_nano"] for row in books.terminal()] == [123_000] * 2 + [None] * 2
    gateway.terminate()
    check_books(books)
    # A price that is corrected is not what these two were charged by.
    correct(gateway, upstream, "1.00")
    assert "2 of 2 attempts corrected" in recomputed(gateway)
    check_books(books)


DAYS = """
import json
from llm_gateway.service.periodic import verify_ledger
print(json.dumps([[d.log_nano, d.settled_nano, d.later_nano] for d in verify_ledger().books]))
"""


def days(gateway: GatewayProcess) -> list[tuple[int, ...]]:
    """Return what both books say of each day: the log, the ledger, what the ledger heard later."""
    return [tuple(day) for day in json.loads(gateway.managed("shell", "-v", "0", "-c", DAYS))]


def test_an_operator_says_what_an_attempt_cost(
    gateway: GatewayProcess, upstream: Upstream, books: Books
) -> None:
    serve(gateway, upstream)
    (row,) = asked(gateway, books, 1)
    gateway.terminate()
    told = ("adjust", row["request_id"], "0.000010", "--reason", "invoice of May")
    cost = row["amount_nano"]
    assert f"USD -0.0000{(cost - 10_000) // 1000}" in gateway.managed(*told)
    assert "USD 0.000000000" in gateway.managed(*told)  # again changes nothing
    kinds = [(one["kind"], one["seq"], one["amount_nano"]) for one in books.entries()]
    assert kinds == [("attempt", 0, cost), ("adjustment", 1, 10_000 - cost)]
    assert books.rows("ledger_bucket")[0]["used_nano"] == 10_000
    assert books.audit().ok
    assert days(gateway) == [(cost, cost, 10_000 - cost)]
    (event,) = (one for one in books.rows("tenants_auditevent") if one["action"] == "adjusted")
    assert "invoice of May" in str(event["changes"])
    for wrong, says in (
        (("adjust", row["request_id"], "-1", "--reason", "r"), "is not an amount"),
        (("adjust", row["request_id"], "1", "--reason", "r", "--attempt", "2"), "no attempt 2"),
    ):
        run = gateway.manage(*wrong)
        assert run.code != 0
        assert says in run.stderr


def test_a_corrected_price_leaves_the_terms_of_a_tenant(
    gateway: GatewayProcess, upstream: Upstream, books: Books
) -> None:
    serve(gateway, upstream, margin="12.5")
    (row,) = asked(gateway, books, 1)
    assert [line["unit"] for line in plain(row["lines"])] == [
        "input_token",
        "output_token",
        "margin",
    ]
    check_books(books)
    gateway.terminate()
    correct(gateway, upstream, "8.00", margin="12.5")
    recomputed(gateway)
    assert sum(one["amount_nano"] for one in books.entries()) == 2 * row["amount_nano"]
    check_books(books)


def test_a_tenant_is_charged_its_own_price_and_the_hold_pins_it(
    gateway: GatewayProcess, upstream: Upstream, books: Books
) -> None:
    own = {"model": "alpha", "from": SINCE, "input": "0", "output": "1.00"}
    serve(gateway, upstream, prices=[own])
    (row,) = asked(gateway, books, 1)
    prices = {price["id"]: price for price in books.rows("llm_gateway_price")}
    pinned = prices[row["price_version_id"]]
    assert (pinned["model_name"], pinned["output"]) == ("alpha", 10**9)
    output = plain(row["usage"])["output"]
    assert row["amount_nano"] == output * 1000
    check_books(books)


@pytest.mark.parametrize("database_backend", ["sqlite"], indirect=True)
def test_recompute_beside_a_server_on_sqlite_is_refused_in_words(
    gateway: GatewayProcess, upstream: Upstream, books: Books
) -> None:
    serve(gateway, upstream)
    asked(gateway, books, 1)
    run = gateway.manage("recompute", "--model", "alpha", *lately())
    assert run.code != 0
    assert "takes one at a time" in run.stderr


def test_what_has_no_price_is_listed_until_it_has_one_and_the_past_is_corrected(
    gateway: GatewayProcess, upstream: Upstream, books: Books
) -> None:
    wanted = configuration(
        upstream.base_url,
        models=[model("alpha", price=None, prices=[])],
        routes=[],
        tenants=[tenant(keys=[key()])],
    )
    gateway.apply(wanted)
    gateway.serve()
    (row,) = asked(gateway, books, 1)
    assert (row["amount_nano"], bool(row["unpriced"])) == (0, True)
    listed = gateway.managed("prices", "--unpriced")
    assert "alpha at openai: has no price; 1 attempts without one" in listed
    gateway.terminate()
    feed = gateway.home / "feed.yaml"
    feed.write_text(
        'source: a list\nprices: [{model: alpha, from: 2020-01-01, input: "1.00", output: "4"}]\n'
    )
    plan = gateway.managed("prices", "--feed", str(feed), "--plan")
    assert "alpha at openai from 2020-01-01: input none -> 1.00 (a list)" in plan
    assert "1 prices differ; nothing was changed." in plan
    assert "1 prices added." in gateway.managed("prices", "--feed", str(feed), "--apply")
    assert "0 prices differ" in gateway.managed("prices", "--feed", str(feed))
    recomputed(gateway)
    assert sum(one["amount_nano"] for one in books.entries()) > 0
    check_books(books)
    assert "0 models have no price" in gateway.managed("prices", "--unpriced")
