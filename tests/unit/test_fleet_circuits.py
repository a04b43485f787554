"""Boards of several processes behave as one over Redis, and each as one without it."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from random import Random
from urllib.parse import urlsplit

import pytest
import redis

from llm_gateway.errors import GatewayError, ServerFaultError, ThrottledError
from llm_gateway.resilience.breaker import Order, Transition, Verdict
from llm_gateway.routing.health import Look
from llm_gateway.service.board import Board
from llm_gateway.service.fleet_circuits import FleetCircuits
from llm_gateway.snapshot import Snapshot, SnapshotHolder
from llm_gateway.types import (
    BreakerSettings,
    Configuration,
    Deployment,
    KeyConfig,
    ProviderConfig,
    Settings,
    Target,
)
from tenants.reader import Reader
from tests.harness.faultproxy import FaultProxy, Rule, delay, stall
from tests.harness.services import redis_server

BREAKER = BreakerSettings(recovery_timeout=0.3, max_recovery_timeout=0.3)
PROVIDER = ProviderConfig(
    id=1,
    name="p",
    kind="openai",
    base_url="http://upstream.test",
    adapters={"chat": "openai_chat"},
    keys=(KeyConfig(id=3, name="main"),),
    breaker=BREAKER,
)
DEPLOYMENT = Deployment(id=7, name="m", provider=PROVIDER, upstream_name="m")
TARGET = Target(deployment=DEPLOYMENT, key=PROVIDER.keys[0])
FAULT = ServerFaultError("down")
PATIENCE_S = 10.0

Join = Callable[[], Awaitable["Process"]]


@dataclass
class Process:
    """One process' board in its fleet, and what it was the first to tell."""

    board: Board
    fleet: FleetCircuits
    told: list[Transition] = field(default_factory=list)

    @property
    def state(self) -> str:
        return self.board.state(DEPLOYMENT).state

    @property
    def opened(self) -> bool:
        """Whether it has heard that the circuit is open, however long ago."""
        circuit = self.board.circuits.get(DEPLOYMENT.id)
        return circuit is not None and circuit.state == "open"

    async def call(self, error: GatewayError | None = None) -> Verdict:
        verdict = self.board.begin(TARGET)
        if verdict.probe:
            verdict = await self.board.claim(TARGET, verdict)
        if verdict.allowed:
            self.board.end(TARGET, verdict, error, first_token_s=None)
        return verdict

    async def open(self) -> None:
        for _ in range(BREAKER.failure_threshold):
            await self.call(FAULT)


def joining(url: str, holder: SnapshotHolder) -> Process:
    told: list[Transition] = []
    board = Board(time.monotonic, Random(1), lambda _deployment, change: told.append(change))
    fleet = FleetCircuits(
        url, "test", board, time.monotonic, holder, lambda _deployment, change: told.append(change)
    )
    board.fleet = fleet
    return Process(board, fleet, told)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with redis_server() as url:
        yield url


@pytest.fixture
def proxy(server: str) -> Iterator[FaultProxy]:
    with redis.Redis.from_url(server) as client:
        client.flushdb()
    place = urlsplit(server)
    assert place.hostname
    assert place.port
    with FaultProxy(place.hostname, place.port) as proxy:
        yield proxy


@pytest.fixture
async def join(proxy: FaultProxy, server: str) -> AsyncIterator[Join]:
    url = urlsplit(server)._replace(netloc=f"127.0.0.1:{proxy.port}").geturl()
    reader, fleets = Reader(), []
    holder = SnapshotHolder(reader)
    holder.current = Snapshot(
        version=1,
        configuration=Configuration(models={}, routes={}, settings=Settings()),
        deployments={DEPLOYMENT.id: DEPLOYMENT},
        orders={},
        providers={},
        sealed_keys={},
    )

    async def join() -> Process:
        process = joining(url, holder)
        await process.fleet.start()
        fleets.append(process.fleet)
        return process

    yield join
    for fleet in fleets:
        await fleet.close()
    reader.close()


async def until(condition: Callable[[], bool]) -> None:
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < PATIENCE_S
        await asyncio.sleep(0.005)


async def test_failures_of_all_open_the_circuit_of_all_and_one_tells(join: Join) -> None:
    fleet = [await join() for _ in range(3)]
    for process in (*fleet, *fleet[:2]):
        await process.call(FAULT)
    await until(lambda: all(process.opened for process in fleet))
    told = [change for process in fleet for change in process.told]
    assert [(change.before, change.after, change.error) for change in told] == [
        ("closed", "open", "server")
    ]
    until_ = {round(process.board.circuits[7].until, 1) for process in fleet}
    assert max(until_) - min(until_) <= 0.11


async def test_successes_of_another_process_end_a_row(join: Join) -> None:
    one, other = await join(), await join()
    for _ in range(3):
        await one.call(FAULT)
        await other.call()
        await asyncio.sleep(0.15)  # until both have reached Redis
    await other.call(FAULT)
    await asyncio.sleep(0.15)
    assert (one.state, other.state) == ("closed", "closed")


async def test_those_that_open_at_once_tell_it_once(join: Join) -> None:
    fleet = [await join() for _ in range(4)]
    await asyncio.gather(*(process.open() for process in fleet))
    await asyncio.sleep(0.3)
    assert sum(change.after == "open" for one in fleet for change in one.told) == 1


async def test_one_probe_runs_in_the_fleet_and_two_bring_it_back(join: Join) -> None:
    fleet = [await join() for _ in range(4)]
    await fleet[0].open()
    await until(lambda: all(process.opened for process in fleet))
    await until(lambda: {process.state for process in fleet} == {"half_open"})
    begun = [process.board.begin(TARGET) for process in fleet]
    assert all(verdict.probe for verdict in begun)
    claimed = await asyncio.gather(
        *(one.board.claim(TARGET, verdict) for one, verdict in zip(fleet, begun, strict=True))
    )
    assert sum(verdict.allowed for verdict in claimed) == 1
    winner = next(n for n, verdict in enumerate(claimed) if verdict.allowed)
    assert all(
        process.board.health[7].in_flight == (n == winner) for n, process in enumerate(fleet)
    )
    prober = fleet[winner]
    prober.board.end(TARGET, claimed[winner], None, first_token_s=None)
    verdict = Verdict(False, "")
    while not verdict.allowed:
        await asyncio.sleep(0.02)
        verdict = await prober.call()
    await until(lambda: {process.state for process in fleet} == {"ramp"})
    since = [process.board.circuits[7].since for process in fleet]
    assert max(since) - min(since) <= 0.1


async def test_one_process_looks_at_a_model_list_and_all_hear_what_it_saw(join: Join) -> None:
    fleet = [await join() for _ in range(3)]
    turns = await asyncio.gather(*(one.fleet.turn("list1", 30) for one in fleet))
    assert sorted(turns) == [False, False, True]
    fleet[0].board.looked(PROVIDER, None)  # one that was never there would say nothing
    fleet[0].board.looked(PROVIDER, FAULT)
    looks = [process.board.looks for process in fleet]
    await until(lambda: all(one.get(PROVIDER.id, Look(at=0)).error == "server" for one in looks))
    seen = [process.board.looks[1].at for process in fleet]
    assert max(seen) - min(seen) < 0.5
    assert all(process.board.list_tells(PROVIDER) for process in fleet)


async def test_a_look_that_is_a_probe_is_one_in_the_fleet_and_frees_the_callers_of_all(
    join: Join,
) -> None:
    fleet = [await join() for _ in range(2)]
    fleet[0].board.looked(PROVIDER, None)
    await fleet[0].open()
    await until(lambda: all(process.opened and process.board.looks for process in fleet))
    await until(lambda: all(process.state == "half_open" for process in fleet))
    assert [(await process.call()).allowed for process in fleet] == [False, False]
    looks = [await process.board.begin_look(DEPLOYMENT) for process in fleet]
    assert sorted(verdict.probe for verdict in looks) == [False, True]
    for process, verdict in zip(fleet, looks, strict=True):
        if verdict.probe:
            process.board.end_look(DEPLOYMENT, verdict, None)
    await until(lambda: all(one.board.circuits[7].successes == 1 for one in fleet))
    one = fleet[1]
    assert one.state == "half_open"
    called = await one.call()
    while not called.allowed:  # the slot is given back behind the look
        await asyncio.sleep(0.05)
        called = await one.call()
    await until(lambda: all(process.state in {"ramp", "closed"} for process in fleet))


async def test_a_probe_whose_caller_left_is_free_for_another_process(join: Join) -> None:
    one, other = await join(), await join()
    await one.open()
    await until(lambda: (one.state, other.state) == ("half_open", "half_open"))
    verdict = await one.board.claim(TARGET, one.board.begin(TARGET))
    one.board.end(TARGET, verdict, None, first_token_s=None, neutral=True)
    verdict = Verdict(False, "")
    async with asyncio.timeout(PATIENCE_S):
        while not verdict.allowed:
            await asyncio.sleep(0.02)
            verdict = await other.call()


async def test_what_a_provider_asked_one_process_all_leave_alone(join: Join) -> None:
    one, other = await join(), await join()
    await one.call(ThrottledError("later", retry_after_s=30))
    await until(lambda: bool(other.board.rests))
    assert other.board.rests.keys() == one.board.rests.keys()
    key = next(iter(one.board.rests))
    assert math.isclose(other.board.rests[key], one.board.rests[key], abs_tol=0.1)
    late = await join()
    assert late.board.rests.keys() == one.board.rests.keys()


@pytest.mark.parametrize("fault", [stall(), delay(70)], ids=["silent", "slow"])
async def test_a_probe_waits_no_longer_than_a_call_may_take(
    join: Join, proxy: FaultProxy, fault: Rule
) -> None:
    one = await join()
    await one.open()
    await until(lambda: one.state == "half_open")
    proxy.both(fault)
    started = time.monotonic()
    verdict = await one.call()
    assert verdict.allowed
    assert time.monotonic() - started <= 0.15  # 50 ms, on a busy machine


async def test_the_stricter_holds_after_a_loss_and_late_comers_hear_of_it(
    join: Join, server: str
) -> None:
    one, other = await join(), await join()
    with redis.Redis.from_url(server) as client:
        client.flushdb()
    order = Order(1, "force_open", "root", time.monotonic() + 60)
    one.board.obey({7: DEPLOYMENT}, {7: order})
    await until(lambda: other.state == "forced_open")
    with redis.Redis.from_url(server) as client:
        client.flushdb()
        await until(lambda: bool(client.exists("{brk:test}:circuits")))  # told again by those two
    late = await join()
    assert late.state == "forced_open"
    late.board.obey({7: DEPLOYMENT}, {7: order})  # as every process does when it starts
    # The order of a later number before the stricter state.
    late.board.obey({7: DEPLOYMENT}, {7: Order(2, "reset", "root")})
    await until(lambda: (one.state, other.state) == ("ramp", "ramp"))
    told = [change.after for process in (one, other, late) for change in process.told]
    assert told == ["forced_open", "ramp"]


async def test_a_process_leaves_though_something_was_just_told(join: Join) -> None:
    for _ in range(20):
        one = await join()
        await one.open()
        async with asyncio.timeout(PATIENCE_S):
            await one.fleet.close()


async def test_what_nobody_understands_in_redis_ends_nothing(join: Join, server: str) -> None:
    one = await join()
    with redis.Redis.from_url(server) as client:
        client.hset("{brk:test}:circuits", "7", "9 open {")
        await until(lambda: not one.fleet.joined)
        await one.open()
        assert one.state == "open"
        client.flushdb()
    await until(lambda: one.fleet.joined)
