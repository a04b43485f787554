"""Tenants whose one tight budget fits exactly ten calls, and the rush of 256 at once for them.

Each rush has a tenant of its own, so that any number of them share an installation.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from tests.harness.books import Books
from tests.harness.config import (
    API_KEY,
    Row,
    budget,
    configuration,
    key,
    model,
    nano_prices,
    tenant,
)
from tests.harness.dialects import ANTHROPIC, OPENAI
from tests.harness.gateway import GatewayProcess
from tests.harness.together import Ask, Heard, asking, until
from tests.upstream.client import Bill, Upstream
from tests.upstream.scripts import gated

ASKED, FITTING = 256, 10
PATIENCE = 5
OWNERS = ("tenant", "project", "key", "end_user", "tag", "model")
# An input that costs nothing and an answer as long as its limit: what is held is what it costs.
MODELS = [
    model("alpha", price=("0", "4.00")),
    model("claude", "anthropic", price=("0", "4.00")),
]
TOKENS = 8  # of an answer nobody scripted, and the limit that `Dialect.body` sends
COST_NANO = TOKENS * 4000
LIMIT_NANO = FITTING * COST_NANO
LIMIT = str(LIMIT_NANO / Decimal(10) ** 9)
TIGHT, WIDE = "tight", "wide"

# Same dialect and crossed, streamed and not.
WAYS = (
    (OPENAI, "alpha", False),
    (OPENAI, "claude", True),
    (ANTHROPIC, "claude", False),
    (ANTHROPIC, "alpha", True),
    (OPENAI, "alpha", True),
    (ANTHROPIC, "claude", True),
)
HELD = "held"  # the script and the gate of calls that stay open until the test says so

REFUSAL = re.compile(
    r"Budget (?P<name>\S+) \((?P<scope>\S+), year(, (?P<per>[^)]+))?\) is used up:"
    r" limit (?P<limit>\S+) USD, used (?P<used>\S+), held (?P<held>\S+),"
    r" renews at (?P<renews>\S+)\."
)


@dataclass(frozen=True, slots=True)
class Rush:
    """One tenant's turn: `owner` has the tight budget, all others have room; "" is nobody."""

    name: str
    owner: str

    @property
    def key(self) -> str:
        return f"{API_KEY}-{self.name}"

    def tenant(self, **fields: Any) -> Row:
        tight = budget(LIMIT, name=TIGHT, period="year", **_narrow(self.owner))
        wide = [budget("9", name=WIDE)]
        own = {"project": wide, "key": wide} | {self.owner: [tight]}
        shared = wide if self.owner in {"project", "key", ""} else [tight]
        return tenant(
            self.name,
            budgets=shared,
            projects=[{"name": "search", "budgets": own["project"]}],
            keys=[key("main", self.key, project="search", budgets=own["key"])],
            **fields,
        )

    def ask(self, n: int, **fields: Any) -> Ask:
        dialect, name, stream = WAYS[n % len(WAYS)]
        if self.owner == "model":
            name = "claude"
        if self.owner == "end_user":
            fields = {"end_user": "u-1", **fields}
        if self.owner == "tag":
            fields = {"headers": {"x-mobius-tags": "team=search"}, **fields}
        return Ask(dialect, name, stream=stream, key=self.key, **fields)

    def asks(self, count: int = ASKED, **fields: Any) -> list[Ask]:
        return [self.ask(n, **fields) for n in range(count)]


@dataclass(frozen=True, slots=True)
class Rushed:
    """What the callers of a rush heard, and what the provider bills for it."""

    heard: list[Heard]
    bill: Bill


def _narrow(owner: str) -> dict[str, str]:
    """Return what makes a tenant's budget bind less than the tenant."""
    return {
        "end_user": {"per": "end_user"},
        "tag": {"per": "tag.team"},
        "model": {"model": "claude"},
    }.get(owner, {})


def rushes(stem: str, owners: Iterable[str]) -> list[Rush]:
    return [Rush(f"{stem}-{n}-{owner}", owner) for n, owner in enumerate(owners)]


def apply(gateway: GatewayProcess, upstream: Upstream, tenants: list[Row]) -> None:
    upstream.prices(**nano_prices(MODELS))
    gateway.apply(configuration(upstream.base_url, models=MODELS, routes=[], tenants=tenants))


def prepared(upstream: Upstream) -> None:
    """Let the upstream forget the last rush."""
    upstream.reset()
    upstream.prices(**nano_prices(MODELS))
    upstream.script(HELD, gated(HELD))


def rush_in(
    gateway: GatewayProcess,
    upstream: Upstream,
    rush: Rush,
    *,
    held: bool = False,
    meanwhile: Callable[[], object] = lambda: None,
    patience: int = PATIENCE,
) -> Rushed:
    """Send all 256 at once; `held`: nobody is answered before all of them were admitted or not.

    `meanwhile` is done when the first are on their way. Who is told that the ledger is busy asks
    again as often as `patience` says.
    """
    prepared(upstream)
    asks = rush.asks(content=f"count, please [[script:{HELD}]]" if held else "count, please")
    with asking(gateway.url, asks) as told:
        upstream.wait_seen(1, 30)
        meanwhile()
        if held:
            until(lambda: sum(each.done() for each in told) + len(upstream.calls) >= ASKED, 30)
            upstream.open_gate(HELD)
        heard = [each.result() for each in told]
    heard = [told_in_the_end(gateway.url, each, patience) for each in heard]
    return Rushed(heard, upstream.bill())


def told_in_the_end(url: str, heard: Heard, patience: int = PATIENCE) -> Heard:
    """Ask again where a machine was too busy to write in time: nothing was spent then."""
    for _ in range(patience):
        if heard.told is None or heard.told.code != "ledger_unavailable":
            break
        heard = heard.ask.send(url)
    return heard


# --- what it has to come to


def overspent_nano(books: Books, rush: Rush) -> int:
    """Return by how much the tight budget is used or held above its limit."""
    budgets = {row["id"]: row for row in books.rows("ledger_budget") if row["name"] == TIGHT}
    mine = tenant_id(books, rush)
    return sum(
        max(0, row["used_nano"] + row["held_nano"] - LIMIT_NANO)
        for row in books.rows("ledger_bucket")
        if row["budget_id"] in budgets and row["tenant_id"] == mine
    )


def tenant_id(books: Books, rush: Rush) -> int:
    (found,) = [row["id"] for row in books.rows("tenants_tenant") if row["name"] == rush.name]
    return int(found)


def check_rush(books: Books, rush: Rush, rushed: Rushed) -> None:
    """Ten were served in full and paid exactly, 246 were refused by the budget that is tight."""
    assert overspent_nano(books, rush) == 0
    heard, bill = rushed.heard, rushed.bill
    assert Counter(each.status for each in heard) == {200: FITTING, 402: ASKED - FITTING}
    assert sum(each.complete for each in heard) == FITTING
    for each in heard:
        if each.status == 402:
            check_refusal(rush, each)
    assert (len(bill.rows), bill.total_nano_usd) == (FITTING, LIMIT_NANO)
    check_books(books, rush)


def check_refusal(rush: Rush, heard: Heard) -> None:
    """The body says which budget, whose, how much of it is gone and when it renews."""
    told = heard.told
    assert told is not None
    assert (told.code, told.headers["x-should-retry"]) == ("insufficient_quota", "false")
    error = heard.ask.dialect.error(told)
    said = REFUSAL.fullmatch(error["message"])
    assert said, error["message"]
    scope = {"project": "project", "key": "api_key"}.get(rush.owner, "tenant")
    per = {"end_user": "end_user u-1", "tag": "tag.team search"}.get(rush.owner)
    assert (said["name"], said["scope"], said["per"]) == (TIGHT, scope, per)
    assert Decimal(said["limit"]) == Decimal(LIMIT)
    assert Decimal(said["used"]) + Decimal(said["held"]) == Decimal(LIMIT)
    assert datetime.fromisoformat(said["renews"]) > datetime.now(UTC)


def check_books(books: Books, rush: Rush) -> None:
    mine = tenant_id(books, rush)
    entries = [entry for entry in books.terminal() if entry["tenant_id"] == mine]
    assert [entry["outcome"] for entry in entries] == ["settled"] * FITTING
    assert sum(entry["amount_nano"] for entry in entries) == LIMIT_NANO
    assert not [hold for hold in books.holds() if hold["tenant_id"] == mine]
    buckets = [row for row in books.rows("ledger_bucket") if row["tenant_id"] == mine]
    for bucket in buckets:
        assert (bucket["used_nano"], bucket["held_nano"]) == (LIMIT_NANO, 0), bucket
    # Of tenant, project and key one each; all other tight budgets are the tenant's.
    assert len(buckets) == 3
