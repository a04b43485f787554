"""The ledger while its database is away, silent or cut off in the middle of a commit."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from typing_extensions import override

from tenants.money.ledger import Ledger
from tenants.money.postgres import PostgresStore
from tenants.money.store import LostError
from tenants.money.types import Hold, LedgerUnavailableError, Refusal
from tests.harness.faultproxy import FaultProxy, cut, passing, stall
from tests.harness.together import until
from tests.unit.money.ground import Ground, ground
from tests.unit.money.ground_values import request, settled

__all__ = ["ground"]

pytestmark = pytest.mark.parametrize("database_backend", ["postgres"], indirect=True)


@pytest.fixture
def proxy(ground: Ground) -> Iterator[FaultProxy]:
    server = urlsplit(ground.url)
    with FaultProxy(server.hostname or "127.0.0.1", server.port or 5432) as proxy:
        yield proxy


def through(proxy: FaultProxy, ground: Ground) -> dict[str, Any]:
    return conninfo_to_dict(ground.url) | {"host": "127.0.0.1", "port": proxy.port}


@pytest.fixture
async def ledger(ground: Ground, proxy: FaultProxy) -> AsyncIterator[Ledger]:
    ledger = ground.ledger(spool=True, store=PostgresStore(**through(proxy, ground)))
    yield ledger
    proxy.restore()
    await ledger.close()


async def back(ledger: Ledger) -> float:
    """Return after how many seconds a hard budget is served again."""
    start = time.monotonic()
    async with asyncio.timeout(10):
        while True:
            try:
                hold = await ledger.admit(request(0))
            except LedgerUnavailableError:
                await asyncio.sleep(0.01)
                continue
            assert isinstance(hold, Hold)
            if hold.bucket_ids is not None:
                await ledger.release(hold)
                return time.monotonic() - start


async def refused_for_s(ledger: Ledger, ground: Ground) -> float:
    rule = ground.budget(1000)
    start = time.monotonic()
    with pytest.raises(LedgerUnavailableError):
        await ledger.admit(request(1, rule))
    return time.monotonic() - start


@pytest.mark.promise("M13")
async def test_an_absent_database_is_said_within_a_second_and_loses_no_settle(
    ground: Ground, proxy: FaultProxy, ledger: Ledger
) -> None:
    rule = ground.budget(1000)
    hold = await ledger.admit(request(100, rule))
    assert isinstance(hold, Hold)
    proxy.refuse()
    assert await refused_for_s(ledger, ground) < 1
    done = await ledger.settle(hold, settled(30))
    assert done.spooled
    free = await ledger.admit(request(50))
    assert isinstance(free, Hold)
    assert (await ledger.settle(free, settled(5))).spooled
    soft = ground.budget(20, hard=False)
    counted = await ledger.admit(request(50, soft))
    assert isinstance(counted, Hold)
    await ledger.settle(counted, settled(50))
    proxy.restore()
    assert await back(ledger) < 3
    async with asyncio.timeout(10):
        while ground.count("ledger_entry") < 3:  # noqa: ASYNC110 - what is waited for is a row
            await asyncio.sleep(0.01)
    assert (ground.counters(rule), ground.counters(soft)) == ((30, 0), (50, 0))
    assert ground.verify().ok


@pytest.mark.promise("M13")
async def test_a_silent_database_is_said_within_a_second_and_found_again(
    ground: Ground, proxy: FaultProxy, ledger: Ledger
) -> None:
    rule = ground.budget(1000)
    hold = await ledger.admit(request(100, rule))
    assert isinstance(hold, Hold)
    proxy.both(stall())
    settling = asyncio.create_task(ledger.settle(hold, settled(30)))
    assert await refused_for_s(ledger, ground) < 1
    assert (await settling).spooled
    proxy.both(passing())
    proxy.drop()
    assert await back(ledger) < 3
    async with asyncio.timeout(10):
        while ground.counters(rule) != (30, 0):  # noqa: ASYNC110 - what is waited for is a row
            await asyncio.sleep(0.01)
    assert ground.entries() == [("settled", "attempt", 30)]
    assert ground.verify().ok


@pytest.mark.promise("M2")
async def test_a_commit_whose_answer_was_lost_is_not_done_twice(
    ground: Ground, proxy: FaultProxy, ledger: Ledger
) -> None:
    rule = ground.budget(1000)
    holds = [await ledger.admit(request(100, rule)) for _ in range(3)]
    proxy.down(cut(0))  # the database commits, nobody hears of it
    answers = await asyncio.gather(
        *(ledger.settle(hold, settled(30)) for hold in holds if isinstance(hold, Hold)),
        ledger.admit(request(100, rule)),
        return_exceptions=True,
    )
    assert isinstance(answers[-1], LedgerUnavailableError)
    proxy.down(passing())
    await back(ledger)
    async with asyncio.timeout(10):
        while ground.counters(rule) != (90, 0):  # noqa: ASYNC110 - what is waited for is a row
            await asyncio.sleep(0.01)
    assert ground.entries() == [("settled", "attempt", 30)] * 3
    assert ground.count("ledger_hold") == 0
    assert ground.verify().ok


class Unheard(PostgresStore):
    """From its first commit on, nothing that the database says arrives."""

    def __init__(self, proxy: FaultProxy, **parts: Any) -> None:
        super().__init__(**parts)
        self._proxy = proxy
        self.silenced = False

    @override
    def commit(self) -> None:
        if not self.silenced:
            self.silenced = True
            self._proxy.down(stall())
        super().commit()


@pytest.mark.promise("M13")
async def test_a_hold_whose_commit_was_never_heard_of_pins_nothing(
    ground: Ground, proxy: FaultProxy
) -> None:
    """Whoever asked had gone when the line was cut; the bucket is new, so nothing is supposed."""
    rule = ground.budget(1000)
    ledger = ground.ledger(store=Unheard(proxy, **through(proxy, ground)))
    with pytest.raises(LedgerUnavailableError):
        await ledger.admit(request(100, rule))
    assert ground.counters(rule) == (0, 100)
    proxy.drop()
    proxy.down(passing())
    await back(ledger)
    async with asyncio.timeout(5):
        while ground.counters(rule) != (0, 0):  # noqa: ASYNC110 - what is waited for is a row
            await asyncio.sleep(0.01)
    assert ground.count("ledger_hold") == 0
    await ledger.close()


@pytest.mark.promise("D4")
async def test_a_release_that_met_a_lock_is_done_when_the_lock_is_gone(
    ground: Ground, ledger: Ledger
) -> None:
    rule = ground.budget(100)
    hold = await ledger.admit(request(100, rule))
    assert isinstance(hold, Hold)
    with psycopg.connect(ground.url) as other:
        other.execute("SELECT 1 FROM ledger_bucket FOR UPDATE")
        with pytest.raises(LedgerUnavailableError):
            await ledger.release(hold)
        other.rollback()
    async with asyncio.timeout(10):
        while ground.counters(rule) != (0, 0):  # noqa: ASYNC110 - what is waited for is a row
            await asyncio.sleep(0.01)
    assert ground.count("ledger_hold") == 0


@pytest.mark.promise("D4")
def test_a_session_that_was_lost_has_ended_before_the_next_one_works(ground: Ground) -> None:
    """What it was still about to do would come after it was undone, and pin its money."""
    store = ground.store()
    assert isinstance(store, PostgresStore)
    store.open()
    (pid,) = store._one("SELECT pg_backend_pid()")

    def activity() -> list[tuple[Any, ...]]:
        return ground.run("SELECT wait_event FROM pg_stat_activity WHERE pid = ?", (pid,))

    with ThreadPoolExecutor(1) as thread:
        busy = thread.submit(store._run, "SELECT pg_sleep(1.5)")
        until(lambda: activity() == [("PgSleep",)], 5)
        store.cut()
        with pytest.raises(LostError):
            busy.result()
    assert activity() == [("PgSleep",)]
    store.open()
    assert activity() == []
    store.close()


async def test_a_full_budget_stays_full_over_an_outage(
    ground: Ground, proxy: FaultProxy, ledger: Ledger
) -> None:
    rule = ground.budget(100)
    assert isinstance(await ledger.admit(request(100, rule)), Hold)
    proxy.drop()
    await back(ledger)
    assert isinstance(await ledger.admit(request(1, rule)), Refusal)
