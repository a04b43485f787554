"""With Redis slow, silent or gone, limits go on in each process, at once, and come back alone."""

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis

from tenants.limits import Decision, Limits, make_limits
from tenants.types import RateRule
from tests.harness.faultproxy import FaultProxy, delay, stall
from tests.harness.redis_process import own_redis
from tests.harness.services import redis_server

PATIENCE_S = 5.0


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    with redis_server() as url:
        yield url


@pytest.fixture
def proxy(redis_url: str) -> Iterator[FaultProxy]:
    place = urlsplit(redis_url)
    assert place.hostname
    assert place.port
    with FaultProxy(place.hostname, place.port) as proxy:
        yield proxy


@pytest.fixture
def url(proxy: FaultProxy, redis_url: str) -> str:
    return urlsplit(redis_url)._replace(netloc=f"127.0.0.1:{proxy.port}").geturl()


@pytest.fixture
def rules() -> tuple[RateRule, ...]:
    return (RateRule(scope="tenant", owner_id=secrets.randbits(60), requests_per_minute=8),)


async def admit(limits: Limits, rules: tuple[RateRule, ...]) -> Decision:
    return await limits.admit(rules[0].owner_id, secrets.token_hex(8), rules, 0)


async def until(condition: Callable[[], bool]) -> float:
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < PATIENCE_S
        await asyncio.sleep(0.01)
    return time.monotonic() - started


def where(limits: Limits) -> str:
    return limits.book.state


def changes(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.levelname for record in caplog.records if "limits: Redis" in str(record.msg)]


@pytest.mark.parametrize(
    "trouble",
    [
        pytest.param(lambda proxy: proxy.both(stall()), id="silent"),
        pytest.param(lambda proxy: proxy.down(delay(70)), id="slow"),
        pytest.param(lambda proxy: proxy.refuse(), id="refused"),
        pytest.param(lambda proxy: proxy.blackhole(), id="blackhole"),
    ],
)
async def test_a_process_keeps_its_share_until_redis_is_back(
    trouble: Callable[[FaultProxy], None],
    proxy: FaultProxy,
    url: str,
    rules: tuple[RateRule, ...],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    limits = make_limits(url, "test", lambda: 4)
    assert (await admit(limits, rules)).allowed
    assert where(limits) == "redis"

    trouble(proxy)
    started = time.monotonic()
    decisions = [await admit(limits, rules) for _ in range(20)]
    assert time.monotonic() - started < 0.5  # one of them waited, the others did not
    assert sum(decision.allowed for decision in decisions) == 2  # 8 ÷ 4
    assert where(limits) == "away"
    await asyncio.sleep(0.3)  # long enough for some attempts to come back
    assert where(limits) == "away"

    proxy.restore()
    assert await until(lambda: limits.book.state == "redis") < 2
    decisions = [await admit(limits, rules) for _ in range(20)]
    assert 6 <= sum(decision.allowed for decision in decisions) <= 7  # one may have got through
    assert changes(caplog) == ["WARNING", "INFO"]
    await limits.close()


async def test_a_fleet_started_without_redis_finds_it_later(
    proxy: FaultProxy, url: str, rules: tuple[RateRule, ...]
) -> None:
    proxy.refuse()
    limits = make_limits(url, "test", lambda: 8)
    assert [(await admit(limits, rules)).allowed for _ in range(3)] == [True, False, False]
    proxy.restore()
    await until(lambda: limits.book.state == "redis")
    assert (await admit(limits, rules)).allowed
    await limits.close()


async def test_everybody_waiting_is_answered_when_redis_falls_silent(
    proxy: FaultProxy, url: str, rules: tuple[RateRule, ...]
) -> None:
    limits = make_limits(url, "test", lambda: 1)
    await limits.start()
    proxy.both(stall())
    started = time.monotonic()
    decisions = await asyncio.gather(*(admit(limits, rules) for _ in range(300)))
    assert time.monotonic() - started < 0.5
    assert sum(decision.allowed for decision in decisions) == 8
    await limits.close()


async def test_a_settle_that_may_be_lost_is_counted(
    proxy: FaultProxy, url: str, rules: tuple[RateRule, ...]
) -> None:
    limits = make_limits(url, "test", lambda: 1)
    first, second = await admit(limits, rules), await admit(limits, rules)
    proxy.both(stall())
    await limits.settle(first.ticket, 0)
    await until(lambda: limits.book.state == "away")
    await limits.settle(second.ticket, 0)
    assert limits.book.lost == 2
    await limits.close()


async def test_a_busy_loop_is_not_taken_for_a_slow_redis(
    url: str, rules: tuple[RateRule, ...], caplog: pytest.LogCaptureFixture
) -> None:
    limits = make_limits(url, "test", lambda: 1)
    await limits.start()
    for _ in range(5):
        waiting = asyncio.ensure_future(admit(limits, rules))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        time.sleep(0.08)  # noqa: ASYNC251 - the loop is blocked, which is the point
        await waiting
    assert limits.book.state == "redis"
    assert changes(caplog) == []
    await limits.close()


async def test_redis_restarted_without_its_scripts_is_told_again(
    redis_url: str, rules: tuple[RateRule, ...]
) -> None:
    limits = make_limits(redis_url, "test", lambda: 1)
    await limits.start()
    with redis.Redis.from_url(redis_url) as client:
        client.script_flush()
    await admit(limits, rules)
    await until(lambda: limits.book.state == "redis")
    assert (await admit(limits, rules)).allowed
    assert limits.book.state == "redis"
    await limits.close()


async def test_a_redis_that_lost_its_memory_admits_no_third_time(
    tmp_path: Path, rules: tuple[RateRule, ...]
) -> None:
    with own_redis(tmp_path) as server:
        limits = make_limits(server.url, "test", lambda: 4)
        assert sum([(await admit(limits, rules)).allowed for _ in range(20)]) == 8
        server.kill9()
        await until(lambda: limits.book.state == "away")
        assert (await admit(limits, rules)).allowed
        server.start()
        await until(lambda: limits.book.state == "redis")
        # Its share of 8 ÷ 4 counts for one more window: one of two was taken while Redis was away.
        assert sum([(await admit(limits, rules)).allowed for _ in range(20)]) == 1
        other = (RateRule(scope="tenant", owner_id=secrets.randbits(60), concurrency=4),)
        first = await admit(limits, other)
        assert not (await admit(limits, other)).allowed
        await limits.settle(first.ticket, 0)
        assert (await admit(limits, other)).allowed
        await limits.close()


async def test_slots_of_running_requests_outlive_what_redis_forgot(
    redis_url: str,
) -> None:
    owner = secrets.randbits(60)
    slots = (RateRule(scope="tenant", owner_id=owner, concurrency=1),)
    limits = make_limits(redis_url, "test", lambda: 1)
    running = await admit(limits, slots)
    with redis.Redis.from_url(redis_url) as client:
        client.flushdb()
    limits.renew()
    assert not (await admit(limits, slots)).allowed
    await limits.settle(running.ticket, 0)
    assert (await admit(limits, slots)).allowed
    await limits.close()


async def test_a_closed_process_hangs_nobody(redis_url: str, rules: tuple[RateRule, ...]) -> None:
    limits = make_limits(redis_url, "test", lambda: 1)
    last = await admit(limits, rules)
    await limits.settle(last.ticket, 0)
    await limits.close()
    assert (await admit(limits, rules)).allowed
    assert limits.book.lost == 0
    await limits.close()
