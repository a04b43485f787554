"""A process that was silent for longer than its lease: others swept its holds while it ran on."""

import asyncio
from collections.abc import Collection
from datetime import UTC, datetime
from uuid import UUID

import pytest
from typing_extensions import override

from tenants.ids import new_id
from tenants.money.ops import Admit, Expire, HoldAgain, Release, Settle
from tenants.money.postgres import PostgresStore
from tenants.money.rows import HoldRow
from tenants.money.session import Session
from tenants.money.sqlite import SqliteStore
from tenants.money.types import Charges, Hold, Refusal, Settled
from tenants.types import BudgetRule
from tests.unit.money.ground import Clock, Ground, ground
from tests.unit.money.ground_values import KEY, request, settled

__all__ = ["ground"]

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
WHOLE, INPUT = Charges(), Charges(orphan="input")

pytestmark = pytest.mark.promise("M2")


class Frozen:
    """`owner` holds 100 for an attempt that runs, and is silent until `other` has swept it."""

    def __init__(self, ground: Ground, charges: Charges, limit: int = 100) -> None:
        self.ground = ground
        self.rule = ground.budget(limit)
        self.clock = Clock(ground, START)
        self.owner, self.other = ground.session(self.clock), ground.session(self.clock)
        self.hold = held(self.owner, 100, self.rule)
        forty_seconds(self.clock, self.other)
        assert self.other.sweep(charges) == 1

    @property
    def counters(self) -> tuple[int, int]:
        return self.ground.counters(self.rule)

    def wake(self) -> object:
        """Find the lease run out, and hold again."""
        before = self.owner.lapsed
        self.owner.beat()
        assert (before, self.owner.lapsed) == (False, True)
        return self.owner.commit([HoldAgain(self.hold)])[0]


def held(session: Session, amount: int, rule: BudgetRule) -> Hold:
    prices = {"input_nano": 20, "output_nano_per_million": 1_000_000}
    (answer,) = session.commit([Admit(new_id(), request(amount, rule, **prices))])
    assert isinstance(answer, Hold)
    return answer


def refused(session: Session, amount: int, rule: BudgetRule) -> bool:
    return isinstance(session.commit([Admit(new_id(), request(amount, rule))])[0], Refusal)


def forty_seconds(clock: Clock, *sessions: Session) -> None:
    for _ in range(8):
        clock.forward(5)
        for session in sessions:
            session.beat()


# --- what is held again


def test_what_was_charged_when_it_was_swept_is_as_good_as_held(ground: Ground) -> None:
    frozen = Frozen(ground, WHOLE)
    assert frozen.counters == (100, 0)
    assert frozen.wake() == frozen.hold
    assert frozen.counters == (100, 0)
    frozen.owner.commit([Settle(frozen.hold, settled(45))])
    assert frozen.counters == (45, 0)
    assert ground.entries() == [("orphan", "attempt", 100), ("settled", "correction", -55)]
    assert ground.verify().ok


def test_what_was_not_charged_is_held_again(ground: Ground) -> None:
    frozen = Frozen(ground, INPUT)
    assert frozen.counters == (20, 0)
    assert frozen.wake() == frozen.hold
    frozen.owner.commit([HoldAgain(frozen.hold)])  # again changes nothing
    assert frozen.counters == (20, 80)
    assert refused(frozen.other, 1, frozen.rule)
    frozen.owner.commit([Settle(frozen.hold, settled(45))])
    assert frozen.counters == (45, 0)
    assert ground.verify().ok


def test_what_others_took_meanwhile_refuses_it(ground: Ground) -> None:
    frozen = Frozen(ground, INPUT)
    held(frozen.other, 1, frozen.rule)
    refusal = frozen.wake()
    assert isinstance(refusal, Refusal)
    assert (refusal.used_nano, refusal.held_nano) == (20, 1)
    assert frozen.counters == (20, 1)
    frozen.owner.commit([Settle(frozen.hold, settled(45))])  # what it had spent until then
    assert frozen.counters == (45, 1)
    assert ground.verify().ok


def test_it_goes_back_to_the_bucket_it_was_in(ground: Ground) -> None:
    rule = ground.budget(100, period="day")
    clock = Clock(ground, datetime(2026, 3, 1, 23, 59, 50, tzinfo=UTC))
    owner, other = ground.session(clock), ground.session(clock)
    hold = held(owner, 100, rule)
    forty_seconds(clock, other)
    assert other.sweep(INPUT) == 1
    held(other, 90, rule)  # of the new day
    owner.beat()
    assert owner.commit([HoldAgain(hold)]) == [hold]
    rows = ground.run("SELECT used_nano, held_nano FROM ledger_bucket ORDER BY starts_at")
    assert [tuple(map(int, row)) for row in rows] == [(20, 80), (0, 90)]
    assert ground.verify().ok


def test_what_ends_in_the_same_group_is_not_held(ground: Ground) -> None:
    frozen = Frozen(ground, INPUT)
    frozen.owner.beat()
    again, end = HoldAgain(frozen.hold), Settle(frozen.hold, settled(45))
    assert isinstance(frozen.owner.commit([again, end])[1], Settled)
    assert (frozen.counters, ground.count("ledger_hold")) == ((45, 0), 0)
    frozen.owner.commit([again])  # it has ended: nothing is held for it any more
    assert (frozen.counters, ground.count("ledger_hold")) == ((45, 0), 0)
    assert ground.verify().ok


def test_what_was_not_swept_stays_as_it_is(ground: Ground) -> None:
    rule = ground.budget(100)
    clock = Clock(ground, START)
    owner = ground.session(clock)
    hold = held(owner, 100, rule)
    clock.forward(40)
    owner.beat()
    assert owner.lapsed
    assert owner.commit([HoldAgain(hold)]) == [hold]
    assert (ground.counters(rule), ground.count("ledger_hold")) == ((0, 100), 1)
    owner.commit([Release(hold.id)])
    assert ground.counters(rule) == (0, 0)


# --- when


def test_a_lease_that_is_renewed_in_time_never_lapses(ground: Ground) -> None:
    clock = Clock(ground, START)
    session = ground.session(clock)
    rule = ground.budget(1000)
    for _ in range(3):
        clock.forward(29)
        session.beat()
        clock.forward(29)
        held(session, 1, rule)
    assert not session.lapsed
    clock.forward(31)
    held(session, 1, rule)  # this renews it; that it had run out is noticed all the same
    assert session.lapsed


def test_a_new_connection_after_a_long_outage_finds_it_lapsed(ground: Ground) -> None:
    clock = Clock(ground, START)
    session = ground.session(clock)
    clock.forward(10)
    session.connect()
    assert not session.lapsed
    clock.forward(31)
    session.connect()
    assert session.lapsed


async def test_who_asked_is_told_once_of_a_lapse(ground: Ground) -> None:
    ledger = ground.ledger(store=ground.store(lease_s=0.6))
    loop, told = asyncio.get_running_loop(), asyncio.Event()
    calls = []

    def tell() -> None:
        calls.append(1)
        loop.call_soon_threadsafe(told.set)

    ledger.on_lapse(tell)
    hold = await ledger.admit(request(100, ground.budget(100)))
    assert isinstance(hold, Hold)
    ground.run("BEGIN" if ground.backend == "postgres" else "BEGIN IMMEDIATE")
    ground.run("UPDATE ledger_writer SET host = host")  # nobody can stamp
    await asyncio.sleep(1)
    assert not calls
    ground.run("COMMIT")
    async with asyncio.timeout(10):
        await told.wait()
    assert await ledger.hold_again(hold) == hold
    await asyncio.sleep(0.3)
    await ledger.settle(hold, settled(3))
    await ledger.close()
    assert len(calls) == 1
    assert ground.verify().ok


# --- a sweeper that looked before its owner came back


class HastySqlite(SqliteStore):
    """Mutation: whether a hold is still expired is not asked again under the lock."""

    @override
    def lock_expired(self, ids: Collection[UUID]) -> dict[UUID, HoldRow]:
        return self.lock_holds(ids)


class HastyPostgres(PostgresStore):
    @override
    def lock_expired(self, ids: Collection[UUID]) -> dict[UUID, HoldRow]:
        return self.lock_holds(ids)


@pytest.mark.parametrize("hasty", [False, True])
def test_an_owner_that_came_back_in_between_is_not_swept(ground: Ground, hasty: bool) -> None:
    rule = ground.budget(100)
    clock = Clock(ground, START)
    owner = ground.session(clock)
    hold = held(owner, 100, rule)
    store = ground.store(sqlite=HastySqlite, postgres=HastyPostgres) if hasty else ground.store()
    other = Session(store, lambda: KEY, clock)
    other.connect()
    forty_seconds(clock, other)
    (expired,) = store.expired(64)
    owner.beat()
    assert owner.commit([HoldAgain(hold)]) == [hold]
    other.carefully([Expire(expired, WHOLE)])
    store.close()
    assert ground.counters(rule) == ((100, 0) if hasty else (0, 100))
