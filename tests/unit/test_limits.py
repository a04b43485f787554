"""Both back ends keep one contract: never over a limit, nothing for refusals, no slot lost."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenants.limits import Decision, Limits, Ticket, make_limits
from tenants.limits.local import LocalBook
from tenants.limits.shared import SharedBook
from tenants.types import RateRule
from tests.harness.services import redis_server

START_MS = 1_800_000_000_250


class Clock:
    """Milliseconds that move only when told."""

    def __init__(self) -> None:
        self.ms = START_MS

    def __call__(self) -> int:
        return self.ms

    def seconds(self) -> float:
        return self.ms / 1000

    def forward(self, seconds: float) -> None:
        self.ms += round(seconds * 1000)


def local(clock: Clock, processes: int = 1) -> Limits:
    return Limits("test", LocalBook(clock.seconds, lambda: processes))


def shared(clock: Clock, url: str, installation: str = "test") -> Limits:
    book = SharedBook(url, LocalBook(clock.seconds, lambda: 1), clock=clock)
    return Limits(installation, book)


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    with redis_server() as url:
        yield url


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["process", "redis"])
async def limits(request: pytest.FixtureRequest, clock: Clock) -> AsyncIterator[Limits]:
    if request.param == "process":
        limits = local(clock)
        yield limits
    else:
        limits = shared(clock, request.getfixturevalue("redis_url"))
        await limits.status(1, per_tenant(1, concurrency=1))
        yield limits
        assert (limits.book.state, limits.book.lost) == ("redis", 0)
    await limits.close()


@pytest.fixture
def tenant() -> int:
    """Return an id that no other test uses: its keys are its own."""
    return secrets.randbits(60)


def per_tenant(tenant: int, **limits: int) -> tuple[RateRule, ...]:
    return (RateRule(scope="tenant", owner_id=tenant, **limits),)


async def admit(
    limits: Limits, rules: tuple[RateRule, ...], tokens: int = 0, request_id: str = ""
) -> Decision:
    tenant = rules[0].owner_id
    return await limits.admit(tenant, request_id or secrets.token_hex(8), rules, tokens)


async def test_without_rules_everything_is_admitted_without_a_ticket(limits: Limits) -> None:
    decision = await limits.admit(1, "r", (), 10**9)
    assert decision.allowed
    assert decision.ticket is None
    await limits.settle(decision.ticket, 5)


async def test_a_refusal_names_the_limit_and_when_it_fits(
    limits: Limits, clock: Clock, tenant: int
) -> None:
    rules = per_tenant(tenant, requests_per_minute=2)
    assert (await admit(limits, rules)).allowed
    clock.forward(10)
    assert (await admit(limits, rules)).allowed
    refused = await admit(limits, rules)
    assert not refused.allowed
    assert refused.ticket is None
    assert refused.refused is not None
    assert (refused.refused.kind, refused.refused.scope, refused.refused.limit) == (
        "requests",
        "tenant",
        2,
    )
    # booked at x.250 s: its second leaves the window when the 61st after it begins
    assert refused.retry_after_s == pytest.approx(61 - 0.25 - 10)


async def test_waiting_as_long_as_told_is_just_enough(
    limits: Limits, clock: Clock, tenant: int
) -> None:
    rules = per_tenant(tenant, requests_per_minute=1, tokens_per_minute=100)
    assert (await admit(limits, rules, 60)).allowed
    refused = await admit(limits, rules, 60)
    assert refused.retry_after_s is not None
    clock.forward(refused.retry_after_s - 0.001)
    assert not (await admit(limits, rules, 60)).allowed
    clock.forward(0.001)
    assert (await admit(limits, rules, 60)).allowed


async def test_a_refused_request_consumes_nothing(limits: Limits, tenant: int) -> None:
    rules = (
        RateRule(scope="tenant", owner_id=tenant, requests_per_minute=10, concurrency=10),
        RateRule(scope="api_key", owner_id=tenant, tokens_per_minute=100),
    )
    for _ in range(20):
        assert not (await admit(limits, rules, 101)).allowed
    assert [meter.used for meter in await limits.status(tenant, rules)] == [0, 0, 0]
    assert (await admit(limits, rules, 100)).allowed


async def test_what_is_larger_than_the_limit_never_fits(limits: Limits, tenant: int) -> None:
    refused = await admit(limits, per_tenant(tenant, tokens_per_minute=100), 101)
    assert not refused.allowed
    assert refused.never_fits
    assert refused.retry_after_s == 60


async def test_a_limit_of_nothing_refuses_everything(limits: Limits, tenant: int) -> None:
    for kind in ("requests_per_minute", "concurrency"):
        refused = await admit(limits, per_tenant(tenant, **{kind: 0}))
        assert refused.never_fits


async def test_the_tightest_rule_of_each_kind_is_reported(limits: Limits, tenant: int) -> None:
    rules = (
        RateRule(scope="tenant", owner_id=tenant, requests_per_minute=100, tokens_per_minute=50),
        RateRule(scope="project", owner_id=tenant, requests_per_minute=5, concurrency=2),
    )
    decision = await admit(limits, rules, 20)
    assert decision.requests is not None
    assert decision.tokens is not None
    assert decision.concurrency is not None
    assert (decision.requests.scope, decision.requests.limit, decision.requests.remaining) == (
        "project",
        5,
        4,
    )
    assert (decision.tokens.limit, decision.tokens.remaining) == (50, 30)
    assert (decision.concurrency.limit, decision.concurrency.remaining) == (2, 1)
    assert decision.requests.reset_s == pytest.approx(61 - 0.25)


async def test_surplus_goes_back_to_the_second_it_was_booked_in(
    limits: Limits, clock: Clock, tenant: int
) -> None:
    rules = per_tenant(tenant, tokens_per_minute=100)
    first = await admit(limits, rules, 80)
    clock.forward(30)
    await limits.settle(first.ticket, 10)
    assert (await admit(limits, rules, 90)).allowed
    clock.forward(31)
    # the ten of the first second are gone, the ninety of the thirtieth are not
    assert (await admit(limits, rules, 10)).allowed
    assert not (await admit(limits, rules, 1)).allowed


async def test_a_shortfall_counts_from_now(limits: Limits, clock: Clock, tenant: int) -> None:
    rules = per_tenant(tenant, tokens_per_minute=100)
    first = await admit(limits, rules, 10)
    clock.forward(30)
    await limits.settle(first.ticket, 110)
    assert (await limits.status(tenant, rules))[0].used == 110
    clock.forward(31)
    assert (await limits.status(tenant, rules))[0].used == 100
    assert not (await admit(limits, rules, 1)).allowed


async def test_a_refund_gives_everything_back(limits: Limits, tenant: int) -> None:
    rules = per_tenant(tenant, requests_per_minute=1, tokens_per_minute=100, concurrency=1)
    first = await admit(limits, rules, 100)
    assert not (await admit(limits, rules, 1)).allowed
    await limits.refund(first.ticket)
    assert [meter.used for meter in await limits.status(tenant, rules)] == [0, 0, 0]
    assert (await admit(limits, rules, 100)).allowed


async def test_settling_twice_gives_back_once(limits: Limits, tenant: int) -> None:
    rules = per_tenant(tenant, requests_per_minute=5, tokens_per_minute=100)
    first = await admit(limits, rules, 50)
    await admit(limits, rules, 50)
    for _ in range(3):
        await limits.settle(first.ticket, 10)
        await limits.refund(first.ticket)
    assert [meter.used for meter in await limits.status(tenant, rules)] == [2, 60]


async def test_units_come_back_after_the_window_is_over(
    limits: Limits, clock: Clock, tenant: int
) -> None:
    rules = per_tenant(tenant, tokens_per_minute=100)
    first = await admit(limits, rules, 100)
    clock.forward(61)
    assert (await admit(limits, rules, 100)).allowed
    await limits.settle(first.ticket, 0)  # its second is long gone: nothing to give back
    assert (await limits.status(tenant, rules))[0].used == 100


async def test_a_slot_is_free_when_its_request_ends(limits: Limits, tenant: int) -> None:
    rules = per_tenant(tenant, concurrency=4)
    for _ in range(50):
        running = [await admit(limits, rules) for _ in range(4)]
        full = await admit(limits, rules)
        assert (full.allowed, full.retry_after_s) == (False, 1.0)
        for place, decision in enumerate(running):
            end = limits.refund if place % 2 else None
            await (end(decision.ticket) if end else limits.settle(decision.ticket, 0))
    assert (await limits.status(tenant, rules))[0].used == 0


async def test_a_slot_ends_with_its_lease_unless_it_is_renewed(
    limits: Limits, clock: Clock, tenant: int
) -> None:
    rules = per_tenant(tenant, concurrency=1)
    running = await admit(limits, rules)
    for _ in range(12):
        clock.forward(10)
        limits.renew()
        assert not (await admit(limits, rules)).allowed
    del running  # whoever ran it died without a word
    for _ in range(3):
        clock.forward(10)
        limits.renew()
    assert (await admit(limits, rules)).allowed


async def test_a_model_is_limited_over_all_tenants(limits: Limits, tenant: int) -> None:
    rules = (RateRule(scope="model", owner_id=tenant, requests_per_minute=1),)
    assert (await limits.admit(1, "a", rules, 0)).allowed
    assert not (await limits.admit(2, "b", rules, 0)).allowed


async def test_a_burst_is_admitted_exactly_up_to_the_limit(limits: Limits, tenant: int) -> None:
    rules = per_tenant(tenant, requests_per_minute=100, tokens_per_minute=730, concurrency=90)
    decisions = await asyncio.gather(*(admit(limits, rules, 10) for _ in range(1000)))
    assert sum(decision.allowed for decision in decisions) == 73


async def test_a_caller_who_leaves_while_admitted_leaves_nothing_behind(
    limits: Limits, tenant: int
) -> None:
    rules = per_tenant(tenant, requests_per_minute=1000, tokens_per_minute=10**6, concurrency=500)
    await admit(limits, rules)
    leaving = [asyncio.ensure_future(admit(limits, rules, 7)) for _ in range(200)]
    await asyncio.sleep(0)
    for place, task in enumerate(leaving):
        if place % 3 == 0:
            await asyncio.sleep(0)
        task.cancel()
    ended = await asyncio.gather(*leaving, return_exceptions=True)
    for decision in ended:
        if isinstance(decision, Decision):
            await limits.refund(decision.ticket)
    await limits.status(tenant, rules)  # answered after the last of them was undone
    assert [meter.used for meter in await limits.status(tenant, rules)] == [1, 0, 1]


# --- no span of 60 s exceeds a limit, and both back ends say the same --------------------------

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["take", "take", "take", "settle", "refund", "renew"]),
        st.integers(0, 12_000),  # ms that pass before
        st.integers(0, 60),  # tokens booked, or used in the end
    ),
    max_size=40,
)


class Pair:
    """Both back ends under one clock, and what was booked when: the judge of any 60 s span."""

    def __init__(self, redis_url: str) -> None:
        self.clock, self.tenant = Clock(), secrets.randbits(60)
        self.both = [local(self.clock), shared(self.clock, redis_url)]
        self.rules = per_tenant(
            self.tenant, requests_per_minute=6, tokens_per_minute=100, concurrency=3
        )
        self.running: list[list[Ticket]] = []
        self.requests: dict[str, int] = {}  # when
        self.tokens: list[tuple[int, str, int]] = []  # when, by whom, how many

    async def play(self, steps: list[tuple[str, int, int]]) -> None:
        for name, passed, tokens in steps:
            self.clock.ms += passed
            await getattr(self, name)(tokens)
            seen = [await limits.status(self.tenant, self.rules) for limits in self.both]
            assert seen[0] == seen[1]
        for limits in self.both:
            await limits.close()

    async def take(self, tokens: int) -> None:
        name = secrets.token_hex(8)
        decisions = [await admit(limits, self.rules, tokens, name) for limits in self.both]
        assert said(decisions[0]) == said(decisions[1])
        if tickets := [decision.ticket for decision in decisions if decision.ticket is not None]:
            self.running.append(tickets)
            self.requests[name] = self.clock.ms
            self.tokens.append((self.clock.ms, name, tokens))
            self.check_last_minute()

    async def settle(self, tokens: int) -> None:
        for limits, ticket in zip(self.both, self.one_of_the_running(tokens), strict=False):
            await limits.settle(ticket, tokens)
            self.tokens = [
                (at, name, min(booked, tokens) if name == ticket.request_id else booked)
                for at, name, booked in self.tokens
            ]
            if limits is self.both[0]:
                self.tokens.append((self.clock.ms, "late", max(0, tokens - ticket.tokens)))

    async def refund(self, tokens: int) -> None:
        for limits, ticket in zip(self.both, self.one_of_the_running(tokens), strict=False):
            await limits.refund(ticket)
            self.requests.pop(ticket.request_id, None)
            self.tokens = [line for line in self.tokens if line[1] != ticket.request_id]

    async def renew(self, _: int) -> None:
        for limits in self.both:
            limits.renew()

    def one_of_the_running(self, number: int) -> list[Ticket]:
        return self.running.pop(number % len(self.running)) if self.running else []

    def check_last_minute(self) -> None:
        start = self.clock.ms - 60_000
        assert sum(at > start for at in self.requests.values()) <= 6
        assert sum(tokens for at, _, tokens in self.tokens if at > start) <= 100


def said(decision: Decision) -> dict[str, Any]:
    return {
        name: getattr(decision, name) for name in decision.__struct_fields__ if name != "ticket"
    }


@settings(max_examples=60, deadline=None)
@given(steps=STEPS)
def test_no_span_of_a_minute_exceeds_a_limit_and_both_back_ends_agree(
    redis_url: str, steps: list[tuple[str, int, int]]
) -> None:
    asyncio.run(Pair(redis_url).play(steps))


# --- over several processes, and with Redis away -----------------------------------------------


async def test_two_thousand_requests_over_four_connections_stay_within_the_limit(
    redis_url: str, tenant: int
) -> None:
    processes = [make_limits(redis_url, "test", lambda: 4) for _ in range(4)]
    rules = per_tenant(tenant, requests_per_minute=100, tokens_per_minute=5000, concurrency=4)
    running = most = 0

    async def request(limits: Limits) -> bool:
        nonlocal running, most
        decision = await admit(limits, rules, 50)
        if not decision.allowed:
            return False
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        await limits.settle(decision.ticket, 50)
        return True

    async def worker(limits: Limits) -> int:
        return sum([await request(limits) for _ in range(100)])

    admitted = await asyncio.gather(*(worker(limits) for limits in processes for _ in range(5)))
    assert sum(admitted) == 100
    assert most <= 4
    meters = await processes[0].status(tenant, rules)
    assert [meter.used for meter in meters] == [100, 5000, 0]
    for limits in processes:
        await limits.close()


async def test_two_installations_on_one_redis_do_not_count_each_others_requests(
    redis_url: str, clock: Clock, tenant: int
) -> None:
    ours, theirs = shared(clock, redis_url), shared(clock, redis_url, "other")
    rules = (
        *per_tenant(tenant, requests_per_minute=2, tokens_per_minute=20, concurrency=2),
        RateRule(scope="model", owner_id=tenant, requests_per_minute=2),
    )
    told = [(await admit(limits, rules, 10)).allowed for limits in [ours] * 3 + [theirs] * 3]
    assert told == [True, True, False] * 2
    assert [meter.used for meter in await ours.status(tenant, rules)] == [2, 20, 2, 2]
    for limits in (ours, theirs):
        assert (limits.book.state, limits.book.lost) == ("redis", 0)
        await limits.close()


async def test_a_process_alone_keeps_its_share(clock: Clock, tenant: int) -> None:
    limits = local(clock, processes=4)
    rules = per_tenant(tenant, requests_per_minute=10, concurrency=2)
    decisions = [await admit(limits, rules) for _ in range(3)]
    assert [decision.allowed for decision in decisions] == [True, False, False]  # 2 ÷ 4, at least 1
    await limits.close()
