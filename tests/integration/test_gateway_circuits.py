"""Four processes have one circuit for a deployment: it opens, probes and comes back as one.

`scorecard.md` F4: by themselves, with Redis stopped, frozen and emptied, and by hand.
"""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from itertools import pairwise
from pathlib import Path

import httpx2
import pytest

from tests.harness.config import Row
from tests.harness.database import PostgresDatabases
from tests.harness.redis_process import RedisProcess, own_redis
from tests.harness.together import until
from tests.integration.circuits import (
    PROCESSES,
    Change,
    Circuits,
    Operator,
    circuits,
    in_force,
    reset_upstream,
)
from tests.legs import Figure
from tests.upstream.client import SeenCall, Upstream
from tests.upstream.scripts import answer, delayed, failing

MOST_FAILURES = 10
RECOVERY_S = 1.0
JITTER = 0.2
RATE = 60.0  # requests a second over all processes
FAILING_S = 4.0
QUICK = {"recovery_timeout": RECOVERY_S, "max_recovery_timeout": RECOVERY_S}
LASTING = {"recovery_timeout": 60, "max_recovery_timeout": 60}
BREAKERS: dict[str, Row] = {
    "story": QUICK,
    "lost": LASTING,
    "alone": LASTING,
    "calm": {},
    "decided": LASTING,
}
# Slow enough that every process has a request meanwhile that would probe as well.
FAILS = delayed(150) + failing(500)

pytestmark = [pytest.mark.promise("F4"), pytest.mark.timed]


@pytest.fixture(scope="module")
def fleet(
    postgres_databases: PostgresDatabases,
    upstream_process: Upstream,
    tmp_path_factory: pytest.TempPathFactory,
    output: Path,
) -> Iterator[Circuits]:
    home = tmp_path_factory.mktemp("home")
    with (
        own_redis(tmp_path_factory.mktemp("redis")) as redis,
        circuits(postgres_databases, home, output, upstream_process, redis, BREAKERS) as fleet,
    ):
        fleet.serve()
        yield fleet


@pytest.fixture(scope="module")
def operator(fleet: Circuits) -> Iterator[Operator]:
    operator = Operator(fleet.gateway)
    yield operator
    operator.client.close()


def probes(fleet: Circuits, name: str, since: float) -> list[SeenCall]:
    return [call for call in fleet.calls(name) if call.received_at > since]


def most_per_interval(calls: list[SeenCall]) -> int:
    """Return how many calls came at most within the least time that a circuit stays open."""
    times = [call.received_at for call in calls]
    span = RECOVERY_S * (1 - JITTER)
    return max((sum(at <= other < at + span for other in times) for at in times), default=0)


def steps(changes: list[Change]) -> list[str]:
    return [changes[0].before, *(change.after for change in changes)] if changes else []


def fail(fleet: Circuits, name: str) -> int:
    """Let a model fail until its circuit is open; return how many calls that took."""
    fleet.upstream.script(name, failing(500))
    told = fleet.rush(f"{name}-or-steady", 60)
    assert {one.status for one in told} <= {200, 502}
    return len(fleet.calls(name))


# --- by themselves


def test_a_circuit_opens_probes_and_comes_back_as_one(
    fleet: Circuits, operator: Operator, figure: Figure
) -> None:
    reset_upstream(fleet, "story")
    failures = fail(fleet, "story")
    figure("failures until the fleet's circuit is open", failures, f"≤ {MOST_FAILURES}")
    assert 5 <= failures <= MOST_FAILURES

    fleet.upstream.script("story", FAILS)
    opened = time.monotonic()
    fleet.ask("story-or-steady", RATE, FAILING_S)
    probed = probes(fleet, "story", opened)
    figure("probes an interval, in the fleet", most_per_interval(probed), "≤ 1")
    assert len(probed) >= 2
    assert most_per_interval(probed) == 1

    fleet.upstream.script("story", answer("well again"))
    asked = fleet.ask("story-or-steady", RATE, 4.5)
    until(lambda: steps(operator.changes("story"))[-1] == "ramp", 5)
    ramp = operator.changes("story")[-1]
    sent = sum(ramp.at <= one.at < ramp.at + 1 for one in asked)
    reached = sum(ramp.at <= call.received_at < ramp.at + 1 for call in fleet.calls("story"))
    figure("share of the load in the first second, %", round(100 * reached / sent, 1), "≤ 10")
    assert sent > RATE / 2
    assert reached / sent <= 0.1
    assert {one.told.status for one in asked} == {200}

    fleet.ask("story-or-steady", 20, 8)
    until(lambda: steps(operator.changes("story"))[-1] == "closed", 5)
    check_story(operator.changes("story"), figure)


def check_story(changes: list[Change], figure: Figure) -> None:
    """See each change told once, in the order that a breaker has."""
    rounds = sum(change.after == "open" for change in changes)
    expected = ["closed", *(["open", "half_open"] * rounds), "ramp", "closed"]
    flaps = len(steps(changes)) - len(expected)
    figure("changes beyond those of one failure and one return", flaps, "0")
    assert steps(changes) == expected
    # Several may have counted the last of them at once.
    assert re.fullmatch(r"([5-9]|10) failures in a row|.*calls failed.*", changes[0].reason)
    assert changes[0].error == "server"
    assert all(earlier.at <= later.at for earlier, later in pairwise(changes))


# --- with Redis gone


FAULTS: dict[str, tuple[Callable[[RedisProcess], object], Callable[[RedisProcess], object]]] = {
    "stopped": (RedisProcess.kill9, RedisProcess.start),
    "frozen": (RedisProcess.freeze, RedisProcess.thaw),
}


@contextmanager
def broken(fleet: Circuits, fault: str) -> Iterator[None]:
    """Do without Redis: from when every process knows until every one has it again."""
    strike, mend = FAULTS[fault]
    away, back = fleet.turns()
    strike(fleet.redis)
    try:
        until(lambda: fleet.turns()[0] >= away + PROCESSES, 10)
        yield
    finally:
        mend(fleet.redis)
        until(lambda: fleet.turns()[1] >= back + PROCESSES, 10)


def test_an_open_circuit_stays_open_whatever_becomes_of_redis(
    fleet: Circuits, operator: Operator, figure: Figure
) -> None:
    reset_upstream(fleet, "lost", "calm")
    fail(fleet, "lost")
    in_force(fleet, "lost", "closed → open", 0)
    calls, lines = len(fleet.calls("lost")), []
    for fault in FAULTS:
        before = fleet.turns()
        with broken(fleet, fault):
            told = [*fleet.ask("lost-or-steady", RATE, 1), *fleet.ask("calm", RATE, 1)]
        told += fleet.ask("lost-or-steady", RATE, 1)
        assert {one.told.status for one in told} == {200}
        lines.append(max(now - then for now, then in zip(fleet.turns(), before, strict=True)))
    fleet.redis.empty()
    fleet.ask("lost-or-steady", RATE, 2)
    figure(
        "calls of an open circuit while Redis goes and comes", len(fleet.calls("lost")) - calls, "0"
    )
    assert len(fleet.calls("lost")) == calls
    figure("log lines of a process for each change of Redis", max(lines) / PROCESSES, "≤ 2")
    assert lines == [PROCESSES, PROCESSES]
    assert steps(operator.changes("lost")) == ["closed", "open"]
    assert operator.changes("calm") == []


def test_without_redis_each_decides_alone_and_the_stricter_holds_on_its_return(
    fleet: Circuits, operator: Operator
) -> None:
    reset_upstream(fleet, "alone")
    with broken(fleet, "stopped"):
        # Only one process sees it fail.
        fleet.upstream.script("alone", failing(500))
        pid = fleet.gateway.workers[0]
        fleet.rush_at(pid, "alone-or-steady", 8)
        assert len(fleet.calls("alone")) == 5
        assert fleet.shown("alone", "closed → open") == 1
    in_force(fleet, "alone", "closed → open", 0)
    fleet.ask("alone-or-steady", RATE, 1)
    assert len(fleet.calls("alone")) == 5
    assert steps(operator.changes("alone")) == ["closed", "open"]


# --- by hand


@pytest.mark.parametrize("away", [False, True], ids=["with-redis", "without-redis"])
def test_a_decision_by_hand_holds_in_the_fleet_within_a_second(
    fleet: Circuits, operator: Operator, figure: Figure, away: bool
) -> None:
    reset_upstream(fleet, "decided")
    with broken(fleet, "stopped") if away else nullcontext():
        took = [decided(fleet, operator, action) for action in DECISIONS]
    figure(f"decision in force{' without Redis' if away else ''}, s", round(min(took), 2), "≤ 1")
    assert min(took) <= 1
    assert max(took) <= 3


DECISIONS = {
    "force_open": ("closed", "forced_open", {503}),
    "reset": ("forced_open", "ramp", {200, 503}),
    "force_closed": ("ramp", "forced_closed", {200}),
    "reset again": ("forced_closed", "ramp", {200, 503}),
}


def decided(fleet: Circuits, operator: Operator, action: str) -> float:
    _, after, statuses = DECISIONS[action]
    shown = fleet.shown("decided", "")
    forced = action.startswith("force")
    answer = operator.decide("decided", action.partition(" ")[0], 300 if forced else None)
    assert answer.status_code == 202, answer.text
    took = in_force(fleet, "decided", "", shown)
    assert {one.status for one in fleet.rush("decided", 8)} <= statuses
    assert operator.circuits()["decided"]["state"] == after
    assert "root" in operator.circuits()["decided"]["reason"]
    return took


def test_only_who_is_signed_in_decides_and_only_by_a_page_of_ours(
    fleet: Circuits, operator: Operator
) -> None:
    url = f"{fleet.gateway.url}/api/v1/circuits"
    place = f"{url}/{operator.circuits()['calm']['deployment']}"
    assert httpx2.get(url).status_code == 403
    assert httpx2.post(place, params={"action": "reset"}).status_code == 403
    told = operator.client.post(place, params={"action": "reset"})  # without the token
    assert told.status_code >= 400
    for given in (
        {"action": "explode"},
        {"action": "force_open"},
        {"action": "reset", "seconds": 5},
        {"action": "force_open", "seconds": 0},
        {"action": "force_open", "seconds": 10**9},
    ):
        answer = operator.send(place, given)
        assert answer.status_code == 400, (given, answer.text)
    assert operator.changes("calm") == []


# --- controls


def test_it_goes_red_where_every_process_probes(
    postgres_databases: PostgresDatabases,
    upstream_process: Upstream,
    tmp_path: Path,
    output: Path,
) -> None:
    with (
        own_redis(tmp_path) as redis,
        circuits(
            postgres_databases, tmp_path, output, upstream_process, redis, {"story": QUICK}
        ) as fleet,
    ):
        fleet.serve(mutant="everyone_probes")
        reset_upstream(fleet, "story")
        fail(fleet, "story")
        fleet.upstream.script("story", FAILS)
        opened = time.monotonic()
        fleet.ask("story-or-steady", RATE, FAILING_S)
        assert most_per_interval(probes(fleet, "story", opened)) > 1
