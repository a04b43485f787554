"""A hard budget that fits exactly ten calls, asked for 64 at once (`scorecard.md` M1)."""

import json
import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal
from threading import Barrier
from typing import Any

import pytest

from tests.harness.books import Books
from tests.harness.config import budget, configuration, key, model, nano_prices, tenant
from tests.harness.dialects import ANTHROPIC, OPENAI, Dialect, Told
from tests.harness.gateway import GatewayProcess
from tests.upstream.client import Upstream

ASKED, FITTING = 64, 10
NANO = Decimal(10) ** 9
# An input that costs nothing and an answer as long as its limit: what is held is what it costs.
MODELS = [
    model("alpha", price=("0", "4.00")),
    model("claude", "anthropic", price=("0", "4.00")),
]
TOKENS = 8  # of an answer nobody scripted, and the limit that `Dialect.body` sends
COST_NANO = TOKENS * 4000
LIMIT = str(FITTING * COST_NANO / NANO)

WAYS = (
    (OPENAI, "alpha", False),
    (OPENAI, "claude", True),
    (ANTHROPIC, "claude", False),
    (ANTHROPIC, "alpha", True),
)

REFUSAL = re.compile(
    r"Budget (?P<name>\S+) \((?P<scope>\S+), year\) is used up: limit (?P<limit>\S+) USD,"
    r" used (?P<used>\S+), held (?P<held>\S+), renews at (?P<renews>\S+)\."
)

pytestmark = pytest.mark.promise("M1")


def owned_by(owner: str) -> dict[str, Any]:
    """Return a tenant whose one tight budget is the owner's; the others have room."""
    tight = [budget(LIMIT, name="tight", period="year")]
    wide = [budget("9", name="wide")]
    held = {name: tight if name == owner else wide for name in ("tenant", "project", "key")}
    return tenant(
        budgets=held["tenant"],
        projects=[{"name": "search", "budgets": held["project"]}],
        keys=[key(project="search", budgets=held["key"])],
    )


def asked_at_once(url: str) -> list[tuple[Dialect, Told]]:
    """Send all requests together: each thread waits until every other stands ready too."""
    barrier = Barrier(ASKED)

    def ask(n: int) -> tuple[Dialect, Told]:
        dialect, name, stream = WAYS[n % len(WAYS)]
        barrier.wait(30)
        return dialect, dialect.ask(url, name, stream=stream)

    with ThreadPoolExecutor(ASKED) as threads:
        return list(threads.map(ask, range(ASKED)))


def serve(gateway: GatewayProcess, upstream: Upstream, owner: str) -> None:
    wanted = configuration(upstream.base_url, models=MODELS, routes=[], tenants=[owned_by(owner)])
    upstream.prices(**nano_prices(MODELS))
    gateway.apply(wanted)
    gateway.serve(workers=2 if gateway.environment["REDIS_URL"] else 1)


# Which guard holds this: `used + held + amount <= limit` in one step with the hold, in
# `tenants.money.decide` and again in the database (`ledger_apply`, the UPDATE of
# `SqliteStore.apply`). `test_money_ledger` takes each out in turn and sees the money overspent.
@pytest.mark.parametrize("owner", ["tenant", "project", "key"])
def test_ten_of_64_are_served_and_54_refused(
    gateway: GatewayProcess, upstream: Upstream, owner: str
) -> None:
    serve(gateway, upstream, owner)
    answers = asked_at_once(gateway.url)
    assert Counter(told.status for _, told in answers) == {200: FITTING, 402: ASKED - FITTING}
    for dialect, told in answers:
        if told.status == 200:
            assert told.clean
            assert not told.headers["content-type"].startswith("text/") or dialect.end in told.text
        else:
            check_refusal(dialect, told, owner)

    bill = upstream.bill()
    assert (len(bill.rows), bill.total_nano_usd) == (FITTING, FITTING * COST_NANO)
    check_books(Books(gateway), bill.total_nano_usd)


def check_refusal(dialect: Dialect, told: Told, owner: str) -> None:
    """The body says which budget, whose, how much of it is gone and when it renews."""
    assert (told.code, told.headers["x-should-retry"]) == ("insufficient_quota", "false")
    error = dialect.error(told)
    said = REFUSAL.fullmatch(error["message"])
    assert said, error["message"]
    assert (said["name"], said["scope"]) == ("tight", {"key": "api_key"}.get(owner, owner))
    assert Decimal(said["limit"]) == Decimal(LIMIT)
    assert Decimal(said["used"]) + Decimal(said["held"]) == Decimal(LIMIT)
    assert datetime.fromisoformat(said["renews"]) > datetime.now(UTC)


def check_books(books: Books, billed_nano: int) -> None:
    audit = books.audit()
    assert (audit.code, audit.ok, audit.differences) == (0, True, [])
    assert (audit.terminal_entries, audit.holds) == (FITTING, 0)
    entries = books.terminal()
    assert {entry["outcome"] for entry in entries} == {"settled"}
    assert sum(entry["amount_nano"] for entry in entries) == billed_nano
    for bucket in books.rows("ledger_bucket"):
        assert (bucket["used_nano"], bucket["held_nano"]) == (billed_nano, 0), json.dumps(
            bucket, default=str
        )
