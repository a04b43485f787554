"""Callers do not notice trouble with Redis: no error, little time, and a line of log a change.

With limits, circuits and answers given again all on one Redis, behind a proxy that can spoil it.
"""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.harness.config import API_KEY, SINCE, configuration, key, model, tenant
from tests.harness.crowd import Crowd, crowded
from tests.harness.database import SqliteDatabases
from tests.harness.dialects import OPENAI, Told
from tests.harness.faultproxy import FaultProxy, delay, passing
from tests.harness.gateway import GatewayProcess, installed
from tests.harness.redis_process import RedisProcess, own_redis
from tests.harness.together import in_time, until
from tests.legs import Figure
from tests.upstream.client import Upstream
from tests.upstream.scripts import delayed, words

pytestmark = pytest.mark.timed

RATE, SECONDS, ROUNDS = 200, 2.0, 4
ADDED_S, LINES = 0.06, 2
FLAP_S = 0.5
WHAT = ("limits", "circuits")
FREE = [{"from": SINCE, "input": "0", "output": "0"}]

_number = count()


@dataclass(frozen=True, slots=True)
class Trouble:
    """What happens to Redis, how it ends, and how often it comes and goes."""

    name: str
    strike: Callable[["Place"], object]
    mend: Callable[["Place"], object]
    times: int = 1


@dataclass(frozen=True, slots=True)
class Place:
    gateway: GatewayProcess
    redis: RedisProcess
    proxy: FaultProxy

    def lines(self) -> int:
        """Return how many lines tell of Redis, or of anything that went wrong."""
        told = self.gateway.log.splitlines()
        return sum("Redis" in line or '"level":"info"' not in line for line in told)

    def found_again(self) -> bool:
        log = self.gateway.log
        return all(
            log.count(f"{what}: Redis is away") == log.count(f"{what}: Redis is back")
            for what in WHAT
        )


@dataclass(frozen=True, slots=True)
class Heard:
    """What callers had in one round: the codes of errors, and all times in order."""

    bad: list[str | None]
    times: list[float]

    @property
    def p99_s(self) -> float:
        return self.times[int(0.99 * len(self.times))]


def _down(place: Place) -> None:
    place.proxy.refuse()
    place.proxy.drop()


TROUBLES = [
    Trouble("frozen", lambda place: place.redis.freeze(), lambda place: place.redis.thaw()),
    Trouble(
        "slow",
        lambda place: place.proxy.down(delay(70)),
        lambda place: place.proxy.down(passing()),
    ),
    Trouble("down", _down, lambda place: place.proxy.restore()),
    Trouble("flapping", _down, lambda place: place.proxy.restore(), times=2),
]


@contextmanager
def serving(
    databases: SqliteDatabases,
    upstream: Upstream,
    folders: tuple[Path, Path, Path],
    *mutants: str,
) -> Iterator[Place]:
    home, redis_folder, output = folders
    limits = {"requests_per_minute": 1_000_000, "concurrency": 10_000}
    acme = tenant(
        keys=[key(rate_limits=limits)], rate_limits=limits, cache={"enabled": True, "ttl": 60}
    )
    with own_redis(redis_folder) as server:
        address = urlsplit(server.url)
        with FaultProxy("127.0.0.1", address.port or 0) as proxy:
            url = f"redis://127.0.0.1:{proxy.port}/0"
            with installed(databases, home, output, url) as gateway:
                # Free, so that no commit stands between a caller and what is measured here.
                free = model("alpha", prices=FREE)
                gateway.apply(
                    configuration(upstream.base_url, models=[free], routes=[], tenants=[acme])
                )
                # What a busy machine makes the gate refuse is not Redis': here it is time instead.
                gateway.serve(mutant="+".join(("patient", *mutants)), MOBIUS_LOG_LEVEL="INFO")
                yield Place(gateway, server, proxy)


@pytest.fixture(scope="module")
def place(
    sqlite_databases: SqliteDatabases,
    upstream_process: Upstream,
    tmp_path_factory: pytest.TempPathFactory,
    output: Path,
) -> Iterator[Place]:
    folders = (tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("redis"), output)
    with serving(sqlite_databases, upstream_process, folders) as place:
        ask_steadily(place)  # once, so that nothing is done for the first time
        yield place


def ask_steadily(place: Place, meanwhile: Callable[[float], object] = lambda _s: None) -> Heard:
    """Ask so many times a second whatever the answers do; times count from when it was due."""
    total = int(RATE * SECONDS)

    async def one(crowd: Crowd, due: float) -> tuple[Told, float]:
        await asyncio.sleep(due - time.perf_counter())
        # Every other request is asked again: half are hits, half go to the provider.
        body = OPENAI.body("alpha", content=f"number {next(_number) // 2}")
        told = await crowd.send(
            OPENAI.path, json.dumps(body).encode(), {"Authorization": f"Bearer {API_KEY}"}
        )
        return told, time.perf_counter() - due

    async def play(crowd: Crowd) -> list[tuple[Told, float]]:
        began = time.perf_counter() + 0.1
        asked = [asyncio.create_task(one(crowd, began + n / RATE)) for n in range(total)]
        loop = asyncio.get_running_loop()
        watching = loop.run_in_executor(None, meanwhile, SECONDS)
        told = await asyncio.gather(*asked)
        await watching
        return told

    told = crowded(place.gateway.port, play)
    bad = [one.code for one, _ in told if one.status != 200]
    return Heard(bad, sorted(took for _, took in told))


def troubled(place: Place, trouble: Trouble) -> Heard:
    """Ask steadily while Redis is in trouble; it ends with Redis found again."""

    def meanwhile(seconds: float) -> None:
        for _ in range(trouble.times):
            time.sleep(seconds / trouble.times / 5)  # the course of the trouble, no wait
            trouble.strike(place)
            time.sleep(FLAP_S if trouble.times > 1 else seconds / 2)
            trouble.mend(place)

    heard = ask_steadily(place, meanwhile)
    until(place.found_again, 15)
    return heard


@pytest.mark.promise("F10")
@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda trouble: trouble.name)
def test_callers_do_not_notice(
    place: Place, upstream: Upstream, figure: Figure, trouble: Trouble
) -> None:
    upstream.script("alpha", delayed(5) + words(3))
    rounds = []
    for _ in range(ROUNDS):  # a machine that is late itself adds as much, and is late for Redis
        calm, before = ask_steadily(place), place.lines()
        heard = troubled(place, trouble)
        lines = (place.lines() - before) / (2 * trouble.times)
        rounds.append((calm.bad + heard.bad, heard.p99_s - calm.p99_s, lines))
        if rounds[-1][1] <= ADDED_S and lines <= LINES:
            break
    errors = sum(len(bad) for bad, _, _ in rounds)
    _, added_s, lines = rounds[-1]
    figure(f"errors, {trouble.name}", errors, "0")
    figure(f"p99 added, {trouble.name}, ms", round(added_s * 1000, 1), f"≤ {ADDED_S * 1000:.0f}")
    figure(f"log lines a change, {trouble.name}", lines, f"≤ {LINES}")
    assert [bad for bad, _, _ in rounds if bad] == []
    in_time(added_s, ADDED_S)
    assert lines <= LINES


@pytest.mark.promise("F10")
def test_it_goes_red_where_redis_is_waited_for(
    sqlite_databases: SqliteDatabases, upstream: Upstream, tmp_path: Path, output: Path
) -> None:
    upstream.script("alpha", delayed(5) + words(3))
    folders = (tmp_path, tmp_path / "redis", output)
    folders[1].mkdir()
    with serving(sqlite_databases, upstream, folders, "waiting") as place:
        calm = ask_steadily(place)
        heard = troubled(place, TROUBLES[1])
    assert heard.p99_s - calm.p99_s > ADDED_S
