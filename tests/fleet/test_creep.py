"""A process that has served for a while has no more than when it began to serve (F12).

Memory is held to what is promised under `make scorecard`, which watches for as long as that takes;
`make soak` watches for longer.

What a process has of the system follows the most that it ever used at a time: some thousand objects
in cycles that wait to be collected, and requests that piled up while the machine was busy. So it is
warmed up by more than is watched: otherwise each new height would look like a leak. What a leak of
some bytes a request can hide in what is free since then shows itself to who watches for longer.
"""

import asyncio
import os
import random
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psycopg
import pytest

from tests.harness.config import budget, configuration, model, tenant
from tests.harness.crowd import Crowd, statuses
from tests.harness.database import PostgresDatabases
from tests.harness.dialects import ANTHROPIC, OPENAI, Told, fetch
from tests.harness.gateway import GatewayProcess, installed
from tests.harness.processes import memory_bytes
from tests.harness.together import until
from tests.legs import Figure
from tests.upstream.client import Upstream
from tests.upstream.scripts import cut, failing, paced, words

STRICT = "MOBIUS_TEST_STRICT" in os.environ
WARM_S, WATCHED_S, SHARE = (20, 50, 0.8) if STRICT else (4, 8, 0.4)
WATCHED_S = int(os.environ.get("MOBIUS_TEST_SOAK_S", WATCHED_S))
MOST_MIB_A_MINUTE = 1 if STRICT else 30  # a few seconds say little
CALLERS, LOOKS_A_SECOND = 16, 2
STILL_S, STILL_EVERY_S = 0.5, 2.0
LEAVING, FAULTS = 0.10, 0.05
# A provider's pool and what was opened at its first use; what watches while there is something.
KEPT_OPEN, FEW_TASKS = 100 + 10, 10

pytestmark = [pytest.mark.promise("F12"), pytest.mark.timed]


@dataclass(frozen=True, slots=True)
class Look:
    """What a process has at one moment."""

    at: float
    memory: int
    descriptors: int
    connections: int  # to the database


@dataclass(frozen=True, slots=True)
class Watched:
    looks: list[Look]
    sound: list[Told]  # answers that nothing was done to
    faulty: list[Told]

    @property
    def mib_a_minute(self) -> float:
        """Return the slope of memory by least squares."""
        times = [look.at - self.looks[0].at for look in self.looks]
        sizes = [look.memory / 2**20 for look in self.looks]
        middle, mean = sum(times) / len(times), sum(sizes) / len(sizes)
        above = sum((t - middle) * (s - mean) for t, s in zip(times, sizes, strict=True))
        return 60 * above / sum((t - middle) ** 2 for t in times)


@pytest.fixture
def gateway(
    postgres_databases: PostgresDatabases,
    redis_url: str,
    upstream: Upstream,
    tmp_path: Path,
    output: Path,
) -> Iterator[GatewayProcess]:
    wanted = configuration(
        upstream.base_url,
        models=[model("sound"), model("faulty")],
        routes=[],
        tenants=[tenant(budgets=[budget("1000")])],
    )
    with installed(postgres_databases, tmp_path, output, redis_url) as gateway:
        gateway.apply(wanted)
        yield gateway


def look(gateway: GatewayProcess) -> Look:
    (pid,) = gateway.workers
    with psycopg.connect(gateway.environment["DATABASE_URL"], autocommit=True) as connection:
        found = connection.execute(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        ).fetchone()
    assert found is not None
    descriptors = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    return Look(time.monotonic(), memory_bytes(pid), descriptors, found[0])


def tasks(gateway: GatewayProcess) -> float:
    """Return how many tasks the event loop has, as of the last few seconds."""
    lines = fetch(gateway.url, "GET", "/metrics").text.splitlines()
    (line,) = [each for each in lines if each.startswith("mobius_loop_tasks ")]
    return float(line.split()[1])


class Load:
    """Callers that ask now and then, in either dialect, streamed or not; some of them leave."""

    def __init__(self, crowd: Crowd, seed: int) -> None:
        self._crowd, self._rng = crowd, random.Random(seed)
        self.sound, self.faulty = list[Told](), list[Told]()

    async def ask(self) -> None:
        rng, kept = self._rng, self.sound
        dialect, stream = rng.choice((OPENAI, ANTHROPIC)), rng.random() < 0.5
        asked, leaves = "sound", rng.random() < LEAVING
        if rng.random() < FAULTS:
            asked, kept = "faulty", self.faulty
        told = await self._crowd.ask(
            dialect, asked, stream=stream, leave_after_s=rng.uniform(0, 0.03) if leaves else None
        )
        if not leaves:
            kept.append(told)

    async def busy(self, seconds: float) -> float:
        """Ask as fast as `CALLERS` can; return how many a second were asked."""
        until_s, asked = time.monotonic() + seconds, 0

        async def caller() -> None:
            nonlocal asked
            while time.monotonic() < until_s:
                await self.ask()
                asked += 1

        await asyncio.gather(*(caller() for _ in range(CALLERS)))
        return asked / seconds

    async def steady(self, rate: float, seconds: float) -> None:
        """Ask at fixed times, whatever the answers do."""
        loop = asyncio.get_running_loop()
        started, running = loop.time(), set[asyncio.Task[None]]()
        for number in range(int(rate * seconds)):
            await asyncio.sleep(started + number / rate - loop.time())
            task = asyncio.create_task(self.ask())
            running.add(task)
            task.add_done_callback(running.discard)
        await asyncio.gather(*running)


async def warm_up(gateway: GatewayProcess, rate: float) -> None:
    """Make it use more than later: what piles up while it stands still now and then."""
    (pid,) = gateway.workers
    crowd = Crowd(gateway.port)
    asking = asyncio.create_task(Load(crowd, seed=11).steady(rate, WARM_S))
    while not asking.done():
        os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(STILL_S)
        os.kill(pid, signal.SIGCONT)
        await asyncio.sleep(STILL_EVERY_S)
    await asking
    crowd.close()


async def watch(gateway: GatewayProcess) -> Watched:
    crowd = Crowd(gateway.port)
    load, looks = Load(crowd, seed=12), list[Look]()
    rate = SHARE * await load.busy(2)
    await warm_up(gateway, rate)
    asking = asyncio.create_task(load.steady(rate, WATCHED_S))
    while not asking.done():
        looks.append(await asyncio.to_thread(look, gateway))
        await asyncio.sleep(1 / LOOKS_A_SECOND)
    await asking
    crowd.close()
    return Watched(looks, load.sound, load.faulty)


def most(looks: Sequence[Look], what: str) -> int:
    return max(int(getattr(look, what)) for look in looks)


def usually(looks: Sequence[Look], what: str) -> float:
    """Return what it is at half of the moments: the most says how long the machine once stood."""
    return median(int(getattr(look, what)) for look in looks)


def prepared(upstream: Upstream) -> None:
    upstream.script("sound", paced(1) + words(8))
    upstream.script("faulty", failing(500), cut(at_event=1), words(3), failing(400))


def test_what_a_process_has_stays_as_it_is(
    gateway: GatewayProcess, upstream: Upstream, figure: Figure
) -> None:
    prepared(upstream)
    gateway.serve()
    calm, calm_tasks = look(gateway), tasks(gateway)
    found = asyncio.run(watch(gateway))
    half = len(found.looks) // 2
    first, second = found.looks[:half], found.looks[half:]
    rise = usually(second, "descriptors") / usually(first, "descriptors")
    figure("memory, MiB a minute", found.mib_a_minute, "≤ 1")
    figure("descriptors, times those of the first half", rise, "≤ 1.1")
    figure("answers", len(found.sound), "≥ 1000")
    figure("errors", sum(told.status != 200 for told in found.sound), "0")
    assert statuses(found.sound).keys() == {200}, statuses(found.sound)
    assert all(told.clean for told in found.sound)
    assert found.faulty
    assert found.mib_a_minute <= MOST_MIB_A_MINUTE
    assert most(second, "connections") <= most(first, "connections")
    assert rise <= 1.1
    # Afterwards nothing is left of anybody but what is kept open on purpose.
    until(lambda: look(gateway).descriptors <= calm.descriptors + KEPT_OPEN, 30, every_s=0.5)
    until(lambda: tasks(gateway) <= calm_tasks + FEW_TASKS, 30, every_s=1)


def test_it_goes_red_where_something_of_each_request_is_kept(
    gateway: GatewayProcess, upstream: Upstream
) -> None:
    prepared(upstream)
    gateway.serve(mutant="hoarding")
    assert asyncio.run(watch(gateway)).mib_a_minute > MOST_MIB_A_MINUTE
