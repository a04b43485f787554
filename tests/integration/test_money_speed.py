"""What holding money costs: figures are printed, and held to the bar where MOBIUS_MEASURE is set.

Times mean something only with nothing else running, so the bar is not part of every run.
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable

import pytest
from msgspec import Struct

from tenants.money.ledger import Ledger
from tenants.money.types import Hold
from tenants.types import BudgetRule
from tests.unit.money.ground import Ground, ground
from tests.unit.money.ground_values import request, settled

__all__ = ["ground"]

PAIRS_PER_S, P50_MS = 1500, 1.0
ONE_BY_ONE, CALLERS, SECONDS = 300, 64, 1.5


class Figures(Struct):
    admit_ms: list[float]
    settle_ms: list[float]


async def timed(into: list[float], work: Callable[[], Awaitable[object]]) -> object:
    start = time.perf_counter()
    result = await work()
    into.append((time.perf_counter() - start) * 1000)
    return result


async def pair(ledger: Ledger, rule: BudgetRule, figures: Figures) -> None:
    wanted = request(100, rule)
    hold = await timed(figures.admit_ms, lambda: ledger.admit(wanted))
    assert isinstance(hold, Hold)
    await timed(figures.settle_ms, lambda: ledger.settle(hold, settled(7)))


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[int(len(values) * share)]


@pytest.mark.promise("D2")
async def test_durable_holds_are_cheap(ground: Ground, capsys: pytest.CaptureFixture[str]) -> None:
    rule = ground.budget(10**15)
    ledger = ground.ledger()
    await pair(ledger, rule, Figures([], []))  # makes the bucket
    alone = Figures([], [])
    for _ in range(ONE_BY_ONE):
        await pair(ledger, rule, alone)
    crowd = Figures([], [])
    end = time.perf_counter() + SECONDS

    async def caller() -> None:
        while time.perf_counter() < end:
            await pair(ledger, rule, crowd)

    cpu = time.process_time()
    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    cpu_us = (time.process_time() - cpu) / len(crowd.admit_ms) * 1e6
    await ledger.close()
    assert ground.counters(rule)[1] == 0
    pairs_per_s = len(crowd.settle_ms) / SECONDS
    admit_ms, settle_ms = percentile(alone.admit_ms, 0.5), percentile(alone.settle_ms, 0.5)
    with capsys.disabled():
        print(  # noqa: T201 - figures are what this is for
            f"\nD2 {ground.backend}: 1 caller p50/p99 ms admit {admit_ms:.2f}/"
            f"{percentile(alone.admit_ms, 0.99):.2f}, settle {settle_ms:.2f}/"
            f"{percentile(alone.settle_ms, 0.99):.2f}; {CALLERS} callers on one hot budget"
            f" {pairs_per_s:,.0f} pairs/s, {cpu_us:.0f} us CPU a pair,"
            f" load {os.getloadavg()[0]:.1f}"
        )
    if "MOBIUS_MEASURE" in os.environ:
        assert pairs_per_s >= PAIRS_PER_S
        assert max(admit_ms, settle_ms) <= P50_MS
