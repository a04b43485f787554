"""Four times what a provider takes: as much is served as ever, in time, and the rest is told so.

Times are held to what is promised under `make scorecard`, and to less on a machine that is busy.
"""

import asyncio
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.harness.config import API_KEY, configuration, key, model, openai_provider, tenant
from tests.harness.crowd import Crowd, crowded
from tests.harness.database import PostgresDatabases
from tests.harness.dialects import OPENAI, Told
from tests.harness.gateway import GatewayProcess, installed
from tests.harness.processes import memory_bytes, peak_bytes
from tests.legs import Figure
from tests.upstream.client import Upstream
from tests.upstream.scripts import answer, delayed

SLOTS, SERVICE_S = 10, 0.1
OVER, QUIET_RATE = 4, 10
STRICT = "MOBIUS_TEST_STRICT" in os.environ
LASTS_S = 30 if STRICT else 4
QUIET_KEY = f"{API_KEY}-quiet"
MOST_MIB = 300
# A machine that does something else meanwhile is asked again.
TRIES = 2
# Whether at least or at most, and how much: as promised, and what no busy machine excuses.
PROMISED = {
    "goodput of peak": (True, 0.9),
    "p99 of the served, times unloaded": (False, 2),
    "p99 of a refusal, s": (False, 0.05),
    "quiet tenant served": (True, 0.99),
    "p99 afterwards, times before": (False, 1.5),
}
EXCUSED = dict(
    zip(PROMISED, [(True, 0.7), (False, 10), (False, 1), (True, 0.9), (False, 5)], strict=True)
)
BARS = PROMISED if STRICT else EXCUSED

pytestmark = [pytest.mark.promise("F6"), pytest.mark.timed]


@dataclass(frozen=True, slots=True)
class Timed:
    """One answer, and how long after it was due it came."""

    told: Told
    seconds: float


@dataclass(frozen=True, slots=True)
class Storm:
    """What was measured before, during and after an overload."""

    calm: list[Timed]
    peak: float  # answers a second
    loud: list[Timed]
    quiet: list[Timed]
    after: list[Timed]

    @property
    def served(self) -> list[Timed]:
        return [each for each in self.loud + self.quiet if each.told.status == 200]

    @property
    def refused(self) -> list[Timed]:
        return [each for each in self.loud if each.told.status != 200]

    @property
    def goodput(self) -> float:
        return len(self.served) / LASTS_S / self.peak

    @property
    def slower(self) -> float:
        return p99(self.served) / p99(self.calm)

    @property
    def quiet_share(self) -> float:
        return sum(each.told.status == 200 for each in self.quiet) / len(self.quiet)

    @property
    def figures(self) -> dict[str, float]:
        return {
            "goodput of peak": self.goodput,
            "p99 of the served, times unloaded": self.slower,
            "p99 of a refusal, s": p99(self.refused),
            "quiet tenant served": self.quiet_share,
            "p99 afterwards, times before": p99(self.after) / p99(self.calm),
        }

    @property
    def holds(self) -> bool:
        return all(
            value >= bar if at_least else value <= bar
            for value, (at_least, bar) in zip(self.figures.values(), BARS.values(), strict=True)
        )


def p99(timed: Sequence[Timed]) -> float:
    """Return what 99 of 100 are within; of none, never."""
    if not timed:
        return math.inf
    seconds = sorted(each.seconds for each in timed)
    return seconds[min(len(seconds) - 1, int(0.99 * len(seconds)))]


@contextmanager
def serving(
    databases: PostgresDatabases,
    home: Path,
    output: Path,
    upstream: Upstream,
    redis_url: str,
    *,
    mutant: str = "",
) -> Iterator[GatewayProcess]:
    with installed(databases, home, output, redis_url) as gateway:
        provider = openai_provider(upstream.base_url, max_concurrent_requests=SLOTS)
        quiet = tenant("quiet", keys=[key("quiet", QUIET_KEY)])
        gateway.apply(
            configuration(
                upstream.base_url,
                providers=[provider],
                models=[model("alpha")],
                routes=[],
                tenants=[tenant("loud"), quiet],
            )
        )
        yield gateway.serve(mutant=mutant)


async def asked(crowd: Crowd, rate: float, seconds: float, value: str = API_KEY) -> list[Timed]:
    """Ask at fixed times, whatever the answers do."""
    loop = asyncio.get_running_loop()
    started = loop.time()

    async def one(due: float) -> Timed:
        told = await crowd.ask(OPENAI, "alpha", key=value)
        return Timed(told, loop.time() - due)

    tasks = []
    for number in range(int(rate * seconds)):
        due = started + number / rate
        await asyncio.sleep(due - loop.time())
        tasks.append(asyncio.create_task(one(due)))
    return list(await asyncio.gather(*tasks))


async def peak(crowd: Crowd, seconds: float) -> float:
    """Return how many answers a second as many callers get as may be served at once."""
    loop = asyncio.get_running_loop()
    until, answers = loop.time() + seconds, 0

    async def caller() -> None:
        nonlocal answers
        while loop.time() < until:
            assert (await crowd.ask(OPENAI, "alpha")).status == 200
            answers += 1

    await asyncio.gather(*(caller() for _ in range(SLOTS)))
    return answers / seconds


async def storm(crowd: Crowd) -> Storm:
    calm = await asked(crowd, 20, 2)
    most = await peak(crowd, 2)
    loud, quiet = await asyncio.gather(
        asked(crowd, OVER * most, LASTS_S), asked(crowd, QUIET_RATE, LASTS_S, QUIET_KEY)
    )
    return Storm(calm, most, loud, quiet, await asked(crowd, 20, 2))


def test_overload_is_refused_at_once_and_costs_those_who_are_served_nothing(
    postgres_databases: PostgresDatabases,
    redis_url: str,
    upstream: Upstream,
    tmp_path: Path,
    output: Path,
    figure: Figure,
) -> None:
    upstream.script("alpha", delayed(SERVICE_S * 1000) + answer("one two"))
    with serving(postgres_databases, tmp_path, output, upstream, redis_url) as gateway:
        memory_bytes(gateway.workers[0])
        found = crowded(gateway.port, storm)
        for _ in range(TRIES - 1):
            if not found.holds:
                found = crowded(gateway.port, storm)
        memory = peak_bytes(gateway.workers[0]) / 2**20
    for name, value in found.figures.items():
        at_least, bar = PROMISED[name]
        figure(name, value, f"{'≥' if at_least else '≤'} {bar}")
    figure("memory, MiB", memory, f"≤ {MOST_MIB}")
    assert {each.told.status for each in found.refused} == {503}
    assert {each.told.code for each in found.refused} == {"overloaded"}
    assert all(1 <= int(each.told.headers["retry-after"]) <= 5 for each in found.refused)
    assert len(found.refused) > len(found.loud) / 2
    assert memory <= MOST_MIB
    assert found.holds, found.figures


def test_it_goes_red_where_whoever_comes_may_wait(
    postgres_databases: PostgresDatabases,
    redis_url: str,
    upstream: Upstream,
    tmp_path: Path,
    output: Path,
) -> None:
    upstream.script("alpha", delayed(SERVICE_S * 1000) + answer("one two"))
    with serving(
        postgres_databases, tmp_path, output, upstream, redis_url, mutant="patient"
    ) as gateway:
        assert not crowded(gateway.port, storm).holds
