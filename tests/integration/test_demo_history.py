"""`manage.py demo`: weeks of traffic by the ledger's own code, and nothing left of the trick."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.harness.books import Books
from tests.harness.config import configuration
from tests.harness.dialects import OPENAI, fetch
from tests.harness.gateway import GatewayProcess, installed
from tests.upstream.client import Upstream

DAYS = 20


@pytest.fixture(params=["sqlite", "postgres"])
def gateway(
    request: pytest.FixtureRequest, tmp_path: Path, output: Path
) -> Iterator[GatewayProcess]:
    databases = request.getfixturevalue(f"{request.param}_databases")
    with installed(databases, tmp_path, output) as gateway:
        yield gateway


def demo(gateway: GatewayProcess, *options: str) -> str:
    return gateway.managed("demo", "--history", str(DAYS), "--per-day", "60", *options)


def since(row: dict[str, Any]) -> datetime:
    at = row["created_at"]
    return (datetime.fromisoformat(at) if isinstance(at, str) else at).replace(tzinfo=UTC)


def test_weeks_of_traffic_are_written_by_the_ledgers_own_code(
    gateway: GatewayProcess, upstream: Upstream
) -> None:
    printed = demo(gateway)
    written = int(printed.split()[0])
    books = Books(gateway)
    entries, logged = books.entries(), books.rows("llm_gateway_requestlog")
    assert len(logged) == written > 400
    audit = books.audit()
    assert (audit.code, audit.ok, audit.differences, audit.holds) == (0, True, [], 0)
    # As it is said of each: when, by whom, and what it cost.
    costs = {row["request_id"]: row["amount_nano"] for row in entries}
    served = [row for row in logged if row["status"] != 402]
    assert all(costs[str(books_id(row["id"]))] == row["cost_nano"] for row in served)
    days = {since(row).date() for row in logged}
    # Every day between the first and the last; a first evening may be a quiet one.
    assert len(days) == (max(days) - min(days)).days + 1 in {DAYS, DAYS + 1}
    assert max(map(since, entries)) <= datetime.now(UTC)
    assert {402, 503, 499} & {row["status"] for row in logged}
    periods = {row["period_key"] for row in books.rows("ledger_bucket")}
    assert len(periods) > DAYS
    # The sums say the same as the rows.
    assert sum(row["requests"] for row in books.rows("llm_gateway_usagehour")) == written
    # Its keys work, at the time that it really is.
    value = re.search(r"^Key globex/lab (\S+)$", printed, re.MULTILINE)
    assert value is not None
    gateway.serve()
    told = OPENAI.ask(gateway.url, "gemini-2.5-flash", key=value[1])
    assert told.status in {200, 402}
    usage = fetch(
        gateway.url, "GET", "/api/v1/usage?group_by=day", None, {"x-api-key": value[1]}
    ).json
    assert len(usage["rows"]) > 10
    assert upstream.calls == []
    gateway.terminate()
    latest = max(books.entries(), key=lambda row: row["id"])
    assert datetime.now(UTC) - since(latest) < timedelta(days=1)
    again = gateway.manage("demo")
    assert (again.code, "There is a tenant 'acme' already" in again.stderr) == (1, True)


def books_id(value: object) -> str:
    return str(UUID(str(value)))


def test_it_stays_away_from_real_entries(gateway: GatewayProcess, upstream: Upstream) -> None:
    wanted = configuration(upstream.base_url)
    wanted["tenants"][0]["name"] = "initech"
    gateway.apply(wanted)
    gateway.serve()
    assert OPENAI.ask(gateway.url, "alpha").status == 200
    running = gateway.manage("demo")
    assert running.code == 1
    gateway.terminate()
    refused = gateway.manage("demo")
    assert (refused.code, "real entries" in refused.stderr) == (1, True)
