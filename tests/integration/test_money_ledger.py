"""The ledger on real databases: what is promised, and what breaks when the guards are taken out."""

import asyncio
import time
from collections.abc import Collection
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from typing_extensions import override

from tenants.ids import new_id
from tenants.money.decide import Attempt
from tenants.money.ledger import Ledger
from tenants.money.lock import ProcessLock
from tenants.money.ops import Admit, Mark, Past, Settle
from tenants.money.postgres import PostgresStore
from tenants.money.sqlite import SqliteStore
from tenants.money.types import (
    Charges,
    Hold,
    LedgerInUseError,
    LedgerUnavailableError,
    Refusal,
)
from tenants.money.writer import Delivery
from tests.harness.mutants import (
    UncheckedPostgres,
    UncheckedSqlite,
    UnguardedPostgres,
    UnguardedSqlite,
)
from tests.unit.money.crew import together, worker
from tests.unit.money.ground import Clock, Ground, ground
from tests.unit.money.ground_values import KEY, request, settled
from tests.unit.money.history import entry

__all__ = ["ground"]

START = datetime(2026, 5, 5, 12, tzinfo=UTC)


async def admitted(ledger: Ledger, *args: Any, **values: Any) -> Hold:
    hold = await ledger.admit(request(*args, **values))
    assert isinstance(hold, Hold), hold
    return hold


# --- M1


@pytest.mark.promise("M1")
async def test_a_budget_that_fits_ten_admits_ten_of_256(ground: Ground) -> None:
    rules = [ground.budget(10**9), ground.budget(1000), ground.budget(None)]
    ledger = ground.ledger()
    answers = await asyncio.gather(*(ledger.admit(request(100, *rules)) for _ in range(256)))
    holds = [each for each in answers if isinstance(each, Hold)]
    refusals = [each for each in answers if isinstance(each, Refusal)]
    assert (len(holds), len(refusals)) == (10, 246)
    assert {each.budget for each in refusals} == {rules[1].name}
    assert (refusals[-1].limit_nano, refusals[-1].used_nano, refusals[-1].held_nano) == (
        1000,
        0,
        1000,
    )
    done = await asyncio.gather(*(ledger.settle(each, settled(60)) for each in holds))
    assert done[-1].remaining_nano is not None
    await ledger.close()
    assert ground.counters(rules[1]) == (600, 0)
    report = ground.verify()
    assert (report.ok, report.terminal_entries, report.holds) == (True, 10, 0)


@pytest.mark.promise("M1")
@pytest.mark.parametrize("database_backend", ["postgres"], indirect=True)
def test_four_processes_together_admit_ten(ground: Ground) -> None:
    rule = ground.budget(1000)
    assert sum(together(4, "race", ground.url, str(rule.id), "64")) == 10
    assert ground.counters(rule) == (0, 1000)


def mutated(ground: Ground, sqlite: type[SqliteStore], postgres: type[PostgresStore]) -> Ledger:
    return ground.ledger(store=ground.store(sqlite=sqlite, postgres=postgres))


@pytest.mark.promise("M1")
async def test_the_database_refuses_what_decide_overlooks(ground: Ground) -> None:
    rule = ground.budget(1000)
    ledger = mutated(ground, UncheckedSqlite, UncheckedPostgres)
    answers = await asyncio.gather(
        *(ledger.admit(request(100, rule)) for _ in range(20)), return_exceptions=True
    )
    await ledger.close()
    assert sum(isinstance(each, Hold) for each in answers) == 10
    assert sum(isinstance(each, LedgerUnavailableError) for each in answers) == 10
    assert ground.counters(rule) == (0, 1000)


@pytest.mark.promise("M1")
async def test_without_either_guard_the_budget_is_overspent(ground: Ground) -> None:
    rule = ground.budget(1000)
    ledger = mutated(ground, UnguardedSqlite, UnguardedPostgres)
    await asyncio.gather(*(ledger.admit(request(100, rule)) for _ in range(20)))
    await ledger.close()
    assert ground.counters(rule) == (0, 2000)


# --- settles


@pytest.mark.promise("M2")
async def test_settling_twice_changes_nothing(ground: Ground) -> None:
    rule = ground.budget(1000)
    ledger = ground.ledger()
    hold = await admitted(ledger, 100, rule)
    first = await ledger.settle(hold, settled(40))
    assert (first.used_nano, first.held_nano, first.remaining_nano) == (40, 0, 960)
    again = await asyncio.gather(*(ledger.settle(hold, settled(40)) for _ in range(5)))
    assert {each.used_nano for each in again} == {40}
    await ledger.close()
    assert ground.counters(rule) == (40, 0)
    assert ground.entries() == [("settled", "attempt", 40)]


class NoPastSqlite(SqliteStore):
    """Mutation: decide does not see that the attempt has ended."""

    @override
    def past(self, attempts: Collection[Attempt]) -> dict[Attempt, tuple[Past, ...]]:
        return {}


class NoPastPostgres(PostgresStore):
    fast = False

    @override
    def past(self, attempts: Collection[Attempt]) -> dict[Attempt, tuple[Past, ...]]:
        return {}


@pytest.mark.promise("M2")
async def test_the_unique_key_refuses_a_second_end_that_decide_overlooks(ground: Ground) -> None:
    rule = ground.budget(1000)
    ledger = mutated(ground, NoPastSqlite, NoPastPostgres)
    hold = await admitted(ledger, 100, rule)
    await ledger.settle(hold, settled(40))
    with pytest.raises(LedgerUnavailableError):
        await ledger.settle(hold, settled(40))
    await ledger.close()
    assert ground.counters(rule) == (40, 0)
    assert ground.count("ledger_entry") == 1


async def test_a_call_without_budgets_still_holds_and_settles(ground: Ground) -> None:
    ledger = ground.ledger()
    hold = await admitted(ledger, 100)
    assert ground.count("ledger_hold") == 1
    await ledger.settle(hold, settled(3, lines=[{"unit": "input_token", "units": 1}]))
    await ledger.close()
    assert (ground.count("ledger_hold"), ground.entries()) == (0, [("settled", "attempt", 3)])
    assert ground.verify().ok


async def test_what_is_free_binds_no_budget(ground: Ground) -> None:
    rule = ground.budget(0)
    ledger = ground.ledger()
    await admitted(ledger, 0, rule, zero_price=True)
    assert isinstance(await ledger.admit(request(1, rule)), Refusal)
    await ledger.close()


async def test_a_release_leaves_no_entry(ground: Ground) -> None:
    rule = ground.budget(100)
    ledger = ground.ledger()
    await ledger.release(await admitted(ledger, 100, rule))
    await ledger.release(await admitted(ledger, 100, rule))
    await ledger.close()
    assert (ground.counters(rule), ground.entries()) == ((0, 0), [])


async def test_more_than_was_held_is_recorded_in_full_and_blocks(ground: Ground) -> None:
    rule = ground.budget(100)
    ledger = ground.ledger()
    done = await ledger.settle(await admitted(ledger, 50, rule), settled(130))
    assert done.remaining_nano == -30
    assert isinstance(await ledger.admit(request(1, rule)), Refusal)
    await ledger.close()


async def test_an_admission_nobody_waits_for_is_given_back(ground: Ground) -> None:
    rule = ground.budget(100)
    ledger = ground.ledger()
    task = asyncio.create_task(ledger.admit(request(100, rule)))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    async with asyncio.timeout(5):
        while isinstance(hold := await ledger.admit(request(100, rule)), Refusal):
            pass
    await ledger.settle(hold, settled(1))
    await ledger.close()
    assert ground.counters(rule) == (1, 0)


async def test_what_is_noted_twice_is_there_once_beside_what_is_settled(ground: Ground) -> None:
    rule = ground.budget(100)
    ledger = ground.ledger()
    hold = await admitted(ledger, 10, rule)
    noted = [entry(new_id(), "cache_hit", "settled", 0, None, ()) for _ in range(3)]
    await asyncio.gather(ledger.settle(hold, settled(7)), *map(ledger.note, noted[:2]))
    await asyncio.gather(*map(ledger.note, noted))
    hits = [("settled", "cache_hit", 0)] * 3
    assert sorted(ground.entries()) == [("settled", "attempt", 7), *hits]
    assert ground.counters(rule) == (7, 0)
    await ledger.close()
    assert ground.verify().ok


class Leaving(Ledger):
    """Its caller leaves in the moment between the answer and hearing it."""

    leaving: "asyncio.Task[object] | None" = None

    @override
    def _deliver(self, deliveries: list[Delivery]) -> None:
        super()._deliver(deliveries)
        if self.leaving is not None:
            self.leaving.cancel()


async def test_an_admission_answered_as_its_caller_leaves_is_given_back(ground: Ground) -> None:
    rule = ground.budget(100)
    ledger = Leaving(ground.store(), lambda: KEY)
    task = ledger.leaving = asyncio.create_task(ledger.admit(request(100, rule)))
    await asyncio.wait([task])
    assert task.cancelled()
    ledger.leaving = None
    await ledger.close()
    assert (ground.counters(rule), ground.count("ledger_hold")) == ((0, 0), 0)


# --- limits that change


async def test_a_lowered_limit_binds_the_next_admission(ground: Ground) -> None:
    rule = ground.budget(1000)
    ledger = ground.ledger()
    hold = await admitted(ledger, 500, rule)
    ground.set_limit(rule, 100)
    assert isinstance(await ledger.admit(request(1, rule)), Refusal)
    done = await ledger.settle(hold, settled(400))
    assert done.remaining_nano == -300
    ground.set_limit(rule, 401)
    await admitted(ledger, 1, rule)
    await ledger.close()


async def test_a_raise_counts_until_it_ends(ground: Ground) -> None:
    clock = Clock(ground, START)
    rule = ground.budget(100)
    session = ground.session(clock)
    ground.run(
        "UPDATE ledger_budget SET raise_nano = 50, raise_until = ? WHERE id = ?",
        (f"{START + timedelta(hours=1):%Y-%m-%d %H:%M:%S}", rule.id),
    )
    (hold,) = session.commit([Admit(new_id(), request(150, rule))])
    assert isinstance(hold, Hold)
    clock.forward(3601)
    (refusal,) = session.commit([Admit(new_id(), request(0, rule))])
    assert isinstance(refusal, Refusal)
    assert refusal.limit_nano == 100


@pytest.mark.promise("M8")
async def test_a_new_period_is_a_new_bucket_and_holds_settle_into_theirs(ground: Ground) -> None:
    rule = ground.budget(100, period="day")
    clock = Clock(ground, datetime(2026, 5, 5, 23, 59, 59, 999_000, tzinfo=UTC))
    session = ground.session(clock)
    (old,) = session.commit([Admit(new_id(), request(100, rule))])
    assert isinstance(old, Hold)
    assert isinstance(session.commit([Admit(new_id(), request(1, rule))])[0], Refusal)
    clock.forward(0.002)
    (new,) = session.commit([Admit(new_id(), request(100, rule))])
    assert isinstance(new, Hold)
    assert new.bucket_ids != old.bucket_ids
    session.commit([Settle(old, settled(70))])
    rows = ground.run("SELECT used_nano, held_nano FROM ledger_bucket ORDER BY starts_at")
    assert [tuple(map(int, row)) for row in rows] == [(70, 0), (0, 100)]


async def test_each_threshold_is_announced_once(ground: Ground) -> None:
    rule = ground.budget(100, thresholds="[0.5, 0.8, 0.95]")
    ledger = ground.ledger()
    for amount in (49, 1, 5, 30, 1):
        await ledger.settle(await admitted(ledger, amount, rule), settled(amount))
    rows = ground.run("SELECT threshold_ppm FROM ledger_alert ORDER BY 1")
    assert [ppm for (ppm,) in rows] == [500_000, 800_000]
    ground.set_limit(rule, 90)
    await ledger.settle(await admitted(ledger, 1, rule), settled(1))
    await ledger.close()
    assert ground.count("ledger_alert") == 3


# --- crashes


def swept(ground: Ground, clock: Clock, charges: Charges = Charges()) -> int:  # noqa: B008 - a value
    """Let another process beat for its 30 seconds, and sweep."""
    session = ground.session(clock)
    for _ in range(8):
        clock.forward(5)
        session.beat()
    swept = session.sweep(charges)
    session.store.close()
    return swept


def until_nothing_runs(ground: Ground) -> None:
    """Wait for what PostgreSQL still does for a client that was killed."""
    if ground.backend == "sqlite":
        return
    query = (
        "SELECT 1 FROM pg_stat_activity WHERE datname = current_database()"
        " AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
    )
    until = time.monotonic() + 10
    while list(ground.run(query)):
        assert time.monotonic() < until


@pytest.mark.promise("M2")
def test_what_was_acknowledged_before_kill_9_is_there_and_the_rest_is_swept(ground: Ground) -> None:
    rule = ground.budget(10**12)
    with worker("spend", ground.url, str(rule.id)) as process:
        assert process.stdout
        acknowledged = [process.stdout.readline().strip() for _ in range(60)]
        process.kill()
        acknowledged += [line.strip() for line in process.stdout if len(line) == 33]
    until_nothing_runs(ground)
    written = {
        str(row[0]).replace("-", "") for row in ground.run("SELECT request_id FROM ledger_entry")
    }
    assert set(acknowledged) <= written
    left = ground.count("ledger_hold")
    assert ground.counters(rule)[1] == 100 * left
    clock = Clock(ground, datetime.now(UTC))
    assert swept(ground, clock) == left
    report = ground.verify()
    assert (report.ok, report.holds) == (True, 0)
    assert ground.counters(rule)[1] == 0


@pytest.mark.promise("M2")
@pytest.mark.parametrize(
    ("marked", "charges", "expected"),
    [
        (False, Charges(), ("orphan", 100)),
        (False, Charges(orphan="input"), ("orphan", 20)),
        (True, Charges(), ("uncertain", 26)),
        (True, Charges(uncertain="hold"), ("uncertain", 100)),
    ],
)
def test_an_expired_hold_is_charged_as_configured(
    ground: Ground, marked: bool, charges: Charges, expected: tuple[str, int]
) -> None:
    rule = ground.budget(1000)
    clock = Clock(ground, START)
    session = ground.session(clock)
    prices = {"input_nano": 20, "output_nano_per_million": 2_000_000}
    (hold,) = session.commit([Admit(new_id(), request(100, rule, **prices))])
    assert isinstance(hold, Hold)
    if marked:
        session.commit([Mark(hold.id, 3)])
    # The grace of a marked hold is a minute, the lease of its process half of that.
    assert swept(ground, clock, charges) == 1
    assert ground.entries() == [(expected[0], "attempt", expected[1])]
    session.commit([Settle(hold, settled(45))])
    session.commit([Settle(hold, settled(45))])
    assert ground.counters(rule) == (45, 0)
    assert ground.entries()[1:] == [("settled", "correction", 45 - expected[1])]
    assert ground.verify().ok


def test_holds_of_a_living_process_are_left_alone(ground: Ground) -> None:
    rule = ground.budget(1000)
    clock = Clock(ground, START)
    owner, other = ground.session(clock), ground.session(clock)
    owner.commit([Admit(new_id(), request(100, rule))])
    for _ in range(10):
        clock.forward(5)
        owner.beat()
        other.beat()
    assert other.sweep(Charges()) == 0


def test_nothing_is_swept_in_the_wake_of_an_outage(ground: Ground) -> None:
    rule = ground.budget(1000)
    clock = Clock(ground, START)
    owner, other = ground.session(clock), ground.session(clock)
    owner.commit([Admit(new_id(), request(100, rule))])
    clock.forward(120)  # neither could beat
    other.beat()
    assert other.sweep(Charges()) == 0
    owner.beat()
    clock.forward(20)
    other.beat()
    assert other.sweep(Charges()) == 0


# --- append-only, tamper-evident


@pytest.mark.promise("D3")
async def test_entries_cannot_be_rewritten(ground: Ground) -> None:
    ledger = ground.ledger()
    await ledger.settle(await admitted(ledger, 100), settled(3))
    await ledger.close()
    statements = ["UPDATE ledger_entry SET amount_nano = 0", "DELETE FROM ledger_entry"]
    if ground.backend == "postgres":
        statements.append("TRUNCATE ledger_entry")
    for statement in statements:
        with pytest.raises(Exception, match="append-only"):
            ground.run(statement)


def without_triggers(ground: Ground, statement: str) -> None:
    """Do what only the owner of the tables can."""
    if ground.backend == "postgres":
        ground.run("ALTER TABLE ledger_entry DISABLE TRIGGER USER")
    else:
        ground.run("DROP TRIGGER mobius_ledger_entry_no_update")
        ground.run("DROP TRIGGER mobius_ledger_entry_no_delete")
    ground.run(statement)


@pytest.mark.promise("D3")
@pytest.mark.parametrize(
    ("statement", "number", "says"),
    [
        ("UPDATE ledger_entry SET amount_nano = 1 WHERE writer_seq = 2", 2, "was changed"),
        ("DELETE FROM ledger_entry WHERE writer_seq = 2", 3, "missing"),
        ("DELETE FROM ledger_entry WHERE writer_seq = 3", None, "chain ends at 2"),
    ],
)
async def test_a_row_that_was_tampered_with_is_named(
    ground: Ground, statement: str, number: int | None, says: str
) -> None:
    rule = ground.budget(1000)
    ledger = ground.ledger()
    holds = [await admitted(ledger, 100, rule, end_user="ada", tags={"t": "1"}) for _ in range(3)]
    for hold in holds:
        await ledger.settle(hold, settled(5))
    await ledger.close()
    assert ground.verify().ok
    without_triggers(ground, statement)
    report = ground.verify()
    named = [each.row for each in report.differences if says in each.what]
    assert not report.ok
    assert any(each.budget == rule.name for each in report.differences)
    if number is not None:
        assert named == [f"entry {holds[number - 1].request.request_id}/1 attempt 0"]
    assert named


async def test_rebuild_restores_counters_from_rows(ground: Ground) -> None:
    rule = ground.budget(1000)
    ledger = ground.ledger()
    await ledger.settle(await admitted(ledger, 100, rule), settled(5))
    await admitted(ledger, 70, rule)
    await ledger.close()
    ground.run("UPDATE ledger_bucket SET used_nano = 999, held_nano = 1")
    (difference,) = ground.verify().differences
    assert "used is 0.000000999, its entries sum up to 0.000000005" in difference.line
    ground.rebuild()
    assert ground.verify().ok
    assert ground.counters(rule) == (5, 70)


# --- configuration


def test_configuration_counts_its_changes_and_nothing_else_does(ground: Ground) -> None:
    def version() -> int:
        ((version,),) = ground.run("SELECT version FROM tenants_configversion")
        return int(version)

    before = version()
    rule = ground.budget(1000)
    assert (after := version()) > before
    session = ground.session(time.monotonic)
    session.commit([Admit(new_id(), request(100, rule))])
    session.store.close()
    ground.run("UPDATE tenants_apikey SET last_used_at = created_at")
    assert version() == after
    ground.set_limit(rule, 5)
    ground.run("DELETE FROM ledger_budget")
    assert version() > after + 1


def test_a_second_embedded_server_is_refused(ground: Ground) -> None:
    with ExitStack() as stack:
        first, second = (ProcessLock(ground.home / "ledger.lock") for _ in range(2))
        first.acquire()
        stack.callback(first.release)
        with pytest.raises(LedgerInUseError, match="Another Mobius process"):
            second.acquire()
    second.acquire()
    second.release()
