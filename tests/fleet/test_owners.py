"""Whoever owns the tight budget binds, from the first request on, and nobody deadlocks (M6)."""

import random
import time
from collections.abc import Sequence
from typing import Any

import pytest

from tests.fleet.fleet import Fleet
from tests.fleet.hierarchies import Hierarchy, Request, served_of
from tests.fleet.town import CHAIN, CHAIN_FITS, HIERARCHIES, OWNED_COST_NANO, secret
from tests.harness.crowd import Crowd, crowded, each, statuses
from tests.harness.dialects import ANTHROPIC, OPENAI, Told

AT_ONCE = 8
PATIENCE = 20  # with a machine that is too busy to write in time: nothing was spent then
LOCK_TIMEOUT_MS = 500  # of the writers
EACH = 48  # requests of a tenant: its four chains

pytestmark = pytest.mark.promise("M6")

Served = Sequence[tuple[Request, bool]]
Kept = dict[tuple[str, str], tuple[int, int]]


async def ask(crowd: Crowd, key: str, number: int, names: dict[str, str]) -> Told:
    """Ask in either dialect, streamed or not, naming whom the request is for."""
    dialect = OPENAI if number % 2 else ANTHROPIC
    fields: dict[str, Any] = {}
    if user := names.get("end_user"):
        fields = {"user": user} if dialect is OPENAI else {"metadata": {"user_id": user}}
    headers = {"x-mobius-tags": f"team={names['tag.team']}"} if names.get("tag.team") else {}
    headers |= {"x-mobius-run": names["run"]} if names.get("run") else {}
    sent = {"key": secret(key), "stream": number % 4 > 1, "headers": headers, **fields}
    told = await crowd.ask(dialect, "owned", **sent)
    for _ in range(PATIENCE):
        if told.code != "ledger_unavailable":
            break
        told = await crowd.ask(dialect, "owned", **sent)
    return told


# --- first use


@pytest.mark.parametrize("per", ["end_user", "tag.team", "run"])
def test_eight_first_requests_of_somebody_unknown_are_bound_at_once(fleet: Fleet, per: str) -> None:
    async def rush(crowd: Crowd) -> list[list[Told]]:
        strangers = [f"stranger-{n}" for n in range(15)]
        return [
            await each(
                range(AT_ONCE),
                lambda n, who=who: ask(crowd, f"first-{per}", n, {per: who}),  # type: ignore[misc] # bound now
                at_once=AT_ONCE,
            )
            for who in strangers
        ]

    for told in fleet.crowded(rush, lines=AT_ONCE // 4):
        assert statuses(told) == {200: CHAIN_FITS, 402: AT_ONCE - CHAIN_FITS}
    assert fleet.upstream.bill().total_nano_usd == 15 * CHAIN_FITS * OWNED_COST_NANO
    assert overspent(fleet) == []


# --- one chain, each level tight in turn


async def chained(crowd: Crowd, tight: str) -> list[Told]:
    names = {"end_user": "ada", "tag.team": "red", "run": "run-1"}
    return await each(
        range(3 * AT_ONCE), lambda n: ask(crowd, f"chain-{tight}", n, names), at_once=3 * AT_ONCE
    )


def check_chain(told: Sequence[Told], tight: str) -> None:
    assert statuses(told) == {200: CHAIN_FITS, 402: 3 * AT_ONCE - CHAIN_FITS}
    assert all(f"Budget tight-{tight} " in one.text for one in told if one.status == 402)


@pytest.mark.parametrize("tight", CHAIN)
def test_the_tight_level_of_a_chain_binds_all_of_it(fleet: Fleet, tight: str) -> None:
    check_chain(fleet.crowded(lambda crowd: chained(crowd, tight)), tight)
    assert fleet.upstream.bill().total_nano_usd == CHAIN_FITS * OWNED_COST_NANO
    assert overspent(fleet) == []


def test_without_the_guard_the_chain_is_overspent(fleet: Fleet) -> None:
    """Control: one process whose decision and whose database look away."""
    with fleet.mutant("unguarded") as port:
        told = crowded(port, lambda crowd: chained(crowd, "control"))
    with pytest.raises(AssertionError):
        check_chain(told, "control")
    assert overspent(fleet) == ["tight-tenant"]
    fleet.sql(
        "UPDATE ledger_budget SET limit_nano = 10^9 WHERE name = 'tight-tenant'"
        " AND tenant_id IN (SELECT id FROM tenants_tenant WHERE name = 'chain-control')"
    )


def overspent(fleet: Fleet) -> list[str]:
    """Return the budgets with more used or held in a bucket than they allow."""
    query = (
        "SELECT g.name FROM ledger_bucket b JOIN ledger_budget g ON g.id = b.budget_id"
        " WHERE b.used_nano + b.held_nano > g.limit_nano"
    )
    return [name for (name,) in fleet.sql(query)]


# --- a hundred hierarchies at once


def asked_of_all(fleet: Fleet, seed: int) -> Served:
    rng = random.Random(seed)
    requests = [one for hierarchy in HIERARCHIES for one in hierarchy.requests(rng, EACH)]
    rng.shuffle(requests)

    async def rush(crowd: Crowd) -> list[Told]:
        return await each(
            enumerate(requests),
            lambda item: ask(crowd, item[1].key, item[0], item[1].names),
            at_once=32,
        )

    told = fleet.crowded(rush)
    assert statuses(told).keys() == {200, 402}, statuses(told)
    return [(request, one.status == 200) for request, one in zip(requests, told, strict=True)]


def kept_by_tenant(fleet: Fleet) -> dict[str, Kept]:
    """Return used and held of each bucket, by tenant, then by budget and subject."""
    query = (
        "SELECT t.name, g.name, b.subject, b.used_nano, b.held_nano FROM ledger_bucket b"
        " JOIN ledger_budget g ON g.id = b.budget_id JOIN tenants_tenant t ON t.id = b.tenant_id"
    )
    kept: dict[str, Kept] = {}
    for tenant, name, subject, used, held in fleet.sql(query):
        kept.setdefault(tenant, {})[name, subject] = (used, held)
    return kept


def check_hierarchy(kept: Kept, hierarchy: Hierarchy, asked: Served) -> None:
    """Every bucket has paid for what bound it, and who was refused would not have fitted."""
    paid = served_of(hierarchy, asked)
    for place, (used, held) in kept.items():
        assert (used, held) == (paid[place] * OWNED_COST_NANO, 0), place
    assert paid.keys() <= kept.keys()
    for request, served in asked:
        full = [
            paid[rule.name, subject] >= rule.fits for rule, subject in hierarchy.binding(request)
        ]
        assert served or any(full), request


def lock_trouble(fleet: Fleet) -> int:
    """Return how often a process was told of a deadlock, or waited for a lock in vain.

    The latter counts where we may not make PostgreSQL look for deadlocks before the writers'
    patience ends. Its own statistics come up to a second late: too late for whoever looks next.
    """
    ((looks_after_ms,),) = fleet.sql(
        "SELECT setting::int FROM pg_settings WHERE name = 'deadlock_timeout'"
    )
    told = (
        ["deadlock detected"]
        if looks_after_ms < LOCK_TIMEOUT_MS
        else ["deadlock detected", "lock timeout"]
    )
    return sum(map(fleet.gateway.log.count, told))


@pytest.mark.timed  # a process that stands still for a second says 503
def test_a_hundred_hierarchies_are_kept_and_nobody_deadlocks(fleet: Fleet) -> None:
    before = lock_trouble(fleet)
    asked = asked_of_all(fleet, random.SystemRandom().randrange(2**32))
    assert lock_trouble(fleet) == before
    kept = kept_by_tenant(fleet)
    for hierarchy in HIERARCHIES:
        mine = [row for row in asked if row[0].hierarchy == hierarchy.name]
        check_hierarchy(kept.get(hierarchy.name, {}), hierarchy, mine)
    assert overspent(fleet) == []


def test_locks_out_of_order_would_be_seen(fleet: Fleet) -> None:
    """Control: the database locks the buckets of a group in any order, and the watch tells."""
    ((whole,),) = fleet.sql("SELECT pg_get_functiondef('ledger_apply'::regproc)")
    in_order = "ORDER BY id FOR UPDATE"
    assert in_order in whole
    before = lock_trouble(fleet)
    fleet.sql(whole.replace(in_order, "ORDER BY random() FOR UPDATE"))
    try:
        until = time.monotonic() + 30
        while lock_trouble(fleet) == before:
            assert time.monotonic() < until
            fleet.crowded(lambda crowd: chained(crowd, "wide"))
    finally:
        fleet.sql(whole)
