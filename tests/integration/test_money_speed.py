"""What holding money costs: figures are printed, and held to the bar where MOBIUS_MEASURE is set.

Times mean something only with nothing else running, so the bar is not part of every run.
"""

import asyncio
import os
import random
import time
from collections.abc import Awaitable, Callable

import pytest
from msgspec import Struct, field

from tenants.money.ledger import Ledger
from tenants.money.types import Hold
from tenants.types import BudgetRule
from tests.unit.money.crew import together
from tests.unit.money.ground import Ground, ground
from tests.unit.money.ground_values import request, settled
from tests.unit.money.worker import CALLERS as CALLERS_OF_EACH

__all__ = ["ground"]

MEASURED = "MOBIUS_MEASURE" in os.environ
ALONE_P50_MS, CROWD_P99_MS = 1.0, 10.0
PAIRS_PER_S, PAIRS_PER_S_OF_ALL = 1500, 2000
ONE_BY_ONE, CALLERS, SECONDS = 300, 64, 1.5
PER_S, PROCESSES = 300, 4
ANSWER_S = 0.02  # between a hold and its end

pytestmark = [pytest.mark.promise("D2"), pytest.mark.timed]


class Figures(Struct):
    admit_ms: list[float] = field(default_factory=list)
    settle_ms: list[float] = field(default_factory=list)

    def percentiles(self, share: float) -> tuple[float, float]:
        """Return it of admissions and of settles."""
        admits, settles = sorted(self.admit_ms), sorted(self.settle_ms)
        return admits[int(len(admits) * share)], settles[int(len(settles) * share)]

    @property
    def text(self) -> str:
        (admit, settle), (slow_admit, slow_settle) = map(self.percentiles, (0.5, 0.99))
        return f"admit {admit:.2f}/{slow_admit:.2f}, settle {settle:.2f}/{slow_settle:.2f}"


async def timed(into: list[float], work: Callable[[], Awaitable[object]]) -> object:
    start = time.perf_counter()
    result = await work()
    into.append((time.perf_counter() - start) * 1000)
    return result


async def pair(
    ledger: Ledger, figures: Figures, *rules: BudgetRule, answer_s: float | None = None
) -> None:
    wanted = request(100, *rules)
    hold = await timed(figures.admit_ms, lambda: ledger.admit(wanted))
    assert isinstance(hold, Hold)
    if answer_s is not None:
        await asyncio.sleep(answer_s)
    await timed(figures.settle_ms, lambda: ledger.settle(hold, settled(7)))


def say(capsys: pytest.CaptureFixture[str], ground: Ground, text: str) -> None:
    with capsys.disabled():
        print(f"\nD2 {ground.backend}: {text}, load {os.getloadavg()[0]:.1f}")  # noqa: T201 - figures are what this is for


async def test_durable_holds_are_cheap(ground: Ground, capsys: pytest.CaptureFixture[str]) -> None:
    rule = ground.budget(10**15)
    ledger = ground.ledger()
    await pair(ledger, Figures(), rule)  # makes the bucket
    alone = Figures()
    for _ in range(ONE_BY_ONE):
        await pair(ledger, alone, rule)
    crowd = Figures()
    end = time.perf_counter() + SECONDS

    async def caller() -> None:
        while time.perf_counter() < end:
            await pair(ledger, crowd, rule)

    cpu = time.process_time()
    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    cpu_us = (time.process_time() - cpu) / len(crowd.admit_ms) * 1e6
    await ledger.close()
    assert ground.counters(rule)[1] == 0
    pairs_per_s = len(crowd.settle_ms) / SECONDS
    say(
        capsys,
        ground,
        f"1 caller p50/p99 ms {alone.text}; {CALLERS} callers on one hot budget"
        f" {pairs_per_s:,.0f} pairs/s, {cpu_us:.0f} us CPU a pair",
    )
    if MEASURED:
        assert pairs_per_s >= PAIRS_PER_S
        assert max(alone.percentiles(0.5)) <= ALONE_P50_MS


async def test_three_hundred_requests_a_second_wait_little(
    ground: Ground, capsys: pytest.CaptureFixture[str]
) -> None:
    """They come when they come, whether the ones before were answered or not."""
    rng = random.Random(1)
    rules = [ground.budget(10**15) for _ in range(3)]
    ledger = ground.ledger()
    await pair(ledger, Figures(), *rules)
    figures, coming = Figures(), []
    start, at = time.perf_counter(), 0.0
    for _ in range(round(PER_S * SECONDS)):
        at += rng.expovariate(PER_S)
        await asyncio.sleep(max(0.0, start + at - time.perf_counter()))
        bound = rng.sample(rules, rng.randint(1, len(rules)))
        coming.append(asyncio.create_task(pair(ledger, figures, *bound, answer_s=ANSWER_S)))
    took = time.perf_counter() - start
    await asyncio.gather(*coming)
    await ledger.close()
    assert [ground.counters(rule)[1] for rule in rules] == [0, 0, 0]
    per_s = len(coming) / took
    say(capsys, ground, f"{per_s:.0f} requests/s, 1 to 3 budgets, p50/p99 ms {figures.text}")
    if MEASURED:
        assert max(figures.percentiles(0.99)) <= CROWD_P99_MS


@pytest.mark.parametrize("database_backend", ["postgres"], indirect=True)
def test_processes_share_one_hot_budget(ground: Ground, capsys: pytest.CaptureFixture[str]) -> None:
    rule = ground.budget(10**15)
    done = sum(together(PROCESSES, "pairs", ground.url, str(rule.id), str(SECONDS)))
    assert ground.counters(rule) == (7 * done, 0)
    per_s = done / SECONDS
    say(
        capsys,
        ground,
        f"{PROCESSES} processes of {CALLERS_OF_EACH} callers on one hot budget"
        f" {per_s:,.0f} pairs/s in sum",
    )
    if MEASURED:
        assert per_s >= PAIRS_PER_S_OF_ALL
