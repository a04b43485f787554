"""PostgreSQL frozen, stopped or killed under load (`scorecard.md` M13 and D1).

Nobody with a hard budget spends what cannot be written down, nobody is called unknown, what was
acknowledged is there afterwards, and the database is found again alone.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from threading import Event

import pytest
import redis

from tests.harness.books import Books
from tests.harness.config import API_KEY, budget, key, tenant
from tests.harness.crowd import Crowd, crowded
from tests.harness.database import PostgresDatabases
from tests.harness.dialects import ANTHROPIC, OPENAI
from tests.harness.gateway import GatewayProcess, installed, migrate_into
from tests.harness.postgres_process import PostgresProcess, own_postgres
from tests.harness.together import Ask, Heard, asking, in_time, until
from tests.integration.tight import (
    ASKED,
    FITTING,
    HELD,
    Rush,
    apply,
    check_books,
    overspent_nano,
    prepared,
    tenant_id,
)
from tests.legs import Figure
from tests.upstream.client import Upstream

PROCESSES, CALLERS = 4, 16
KILLS, BETWEEN = 3, 60  # acknowledged answers from one kill to the next
REFUSED_S, RECOVERY_S = 1.0, 2.0
LIMIT_S = 10
SETTLED_S = 12  # what a lock refused is tried again at the next beat
WIDE_KEY, FREE_KEY = f"{API_KEY}-wide", f"{API_KEY}-free"
AWAY, ONLINE = '"event": "ledger.away"', '"event": "ledger.online"'
# What is not flushed by whom it was promised to is flushed by nobody: a kill shows the difference.
LAZY = {"wal_writer_delay": "10s"}


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to PostgreSQL in the middle of a rush, for how long, and how it ends."""

    name: str
    strike: Callable[[PostgresProcess], object]
    mend: Callable[[PostgresProcess], object]
    lasts_s: float
    owner: str  # of the tight budget

    @property
    def rush(self) -> Rush:
        return Rush(f"database-{self.name}", self.owner)


FROZEN = Fault("frozen", PostgresProcess.freeze, PostgresProcess.thaw, 5, "key")
STOPPED = Fault("stopped", PostgresProcess.stop, PostgresProcess.start, 10, "end_user")
KILLED = Fault("killed", PostgresProcess.kill9, PostgresProcess.start, 0, "tenant")
FAULTS = (FROZEN, STOPPED, KILLED)


@dataclass(frozen=True, slots=True)
class Fleet:
    gateway: GatewayProcess
    books: Books
    server: PostgresProcess

    def found_again(self) -> bool:
        log = self.gateway.log
        return log.count(AWAY) == log.count(ONLINE)


Server = tuple[PostgresProcess, PostgresDatabases]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, output: Path) -> Iterator[Server]:
    with own_postgres(**LAZY) as server:
        folder = tmp_path_factory.mktemp("postgres")
        yield server, PostgresDatabases(server.url, folder, migrate_into(output))


@contextmanager
def serving(
    server: Server,
    home: Path,
    output: Path,
    upstream: Upstream,
    redis_url: str = "",
    *,
    mutant: str = "",
) -> Iterator[Fleet]:
    """Yield a fleet that shares its rates over Redis, or one process without it."""
    process, databases = server
    with installed(databases, home, output, redis_url) as gateway:
        wide = tenant("wide", budgets=[budget("9")], keys=[key("wide", WIDE_KEY)])
        free = tenant("free", keys=[key("free", FREE_KEY)])
        apply(gateway, upstream, [wide, free, *(fault.rush.tenant() for fault in FAULTS)])
        fleet = Fleet(gateway, Books(gateway), process)
        gateway.serve(workers=PROCESSES if redis_url else 1, mutant=mutant)
        fleet.books.until_serving()
        yield fleet


@pytest.fixture(scope="module")
def fleet(
    server: Server,
    upstream_process: Upstream,
    tmp_path_factory: pytest.TempPathFactory,
    output: Path,
    redis_url: str,
) -> Iterator[Fleet]:
    with redis.Redis.from_url(redis_url) as client:
        client.flushdb()
    home = tmp_path_factory.mktemp("home")
    with serving(server, home, output, upstream_process, redis_url) as fleet:
        yield fleet


# --- a rush on a budget that fits ten, with a fault in its middle (M13)


@dataclass(frozen=True, slots=True)
class Lost:
    """What callers heard: in the rush, while the database was away, and when it was back."""

    rushed: list[Heard]
    away: list[Heard]  # under a hard budget
    free: list[Heard]  # under none
    wide: list[Heard]  # with room, when it was back
    recovered_s: float


async def known_there(crowd: Crowd, value: str) -> None:
    """Ask until the process has looked the key up: four that have just started take their time."""
    async with asyncio.timeout(RECOVERY_S + LIMIT_S):
        while (told := await crowd.ask(OPENAI, "nowhere", key=value)).status != 404:
            assert told.code == "auth_unavailable"
            for _ in range(PROCESSES - 1):  # until it is the same one's turn again
                await crowd.ask(OPENAI, "nowhere", key=value)


def known(fleet: Fleet, *keys: str) -> None:
    """Let every process know these keys: a new one cannot be looked up without the database."""

    async def ask_each(crowd: Crowd) -> None:
        for value in keys:
            for _ in fleet.gateway.workers:  # lines are used in turn, and each is of another one
                await known_there(crowd, value)

    crowded(fleet.gateway.port, ask_each, pids=fleet.gateway.workers, lines=1)


def lose(fleet: Fleet, upstream: Upstream, fault: Fault) -> Lost:
    prepared(upstream)
    rush, url = fault.rush, fleet.gateway.url
    known(fleet, rush.key, FREE_KEY)
    with asking(url, rush.asks(content=f"count, please [[script:{HELD}]]")) as told:
        upstream.wait_seen(1, 30)
        fault.strike(fleet.server)
        struck = time.monotonic()
        until(lambda: sum(each.done() for each in told) + len(upstream.calls) >= ASKED, 30)
        away = refused(url, rush)
        spooling = Ask(ANTHROPIC, "alpha", key=FREE_KEY, end_user=fault.name)
        free = heard(url, [spooling] * CALLERS)
        upstream.open_gate(HELD)
        rushed = [each.result() for each in told]
    time.sleep(max(0, struck + fault.lasts_s - time.monotonic()))  # how long the fault lasts
    fault.mend(fleet.server)
    recovered_s = until(fleet.found_again, 10)
    wide = heard(url, [Ask(OPENAI, "alpha", key=WIDE_KEY)] * CALLERS)
    return Lost(rushed, away, free, wide, recovered_s)


def refused(url: str, rush: Rush) -> list[Heard]:
    """Return what they hear who ask while it is away; a time missed by load is taken again."""
    away = heard(url, rush.asks(CALLERS))
    for _ in range(2):
        if max(each.seconds for each in away) > REFUSED_S:
            away = heard(url, rush.asks(CALLERS))
    return away


def heard(url: str, asks: Sequence[Ask]) -> list[Heard]:
    with asking(url, asks) as told:
        return [each.result() for each in told]


def check_honest(lost: Lost) -> None:
    """Everyone was told what is so: served, used up, or try again soon."""
    assert {each.status for each in lost.rushed} <= {200, 402, 503}
    assert {each.status for each in lost.away} == {503}
    for each in lost.away + [each for each in lost.rushed if each.status == 503]:
        assert each.told is not None
        assert each.told.code == "ledger_unavailable"
        assert int(each.told.headers["retry-after"]) >= 1
    assert all(each.complete for each in lost.free)
    in_time(max(each.seconds for each in lost.away), REFUSED_S)
    assert [(each.status, each.told) for each in lost.wide if not each.complete] == []
    in_time(lost.recovered_s, RECOVERY_S)


def check_money(
    fleet: Fleet, upstream: Upstream, fault: Fault, lost: Lost, settled_s: float = SETTLED_S
) -> None:
    """What the fault left of the budget can be spent, to the last cent and no further."""
    rush, books = fault.rush, fleet.books
    mine = tenant_id(books, rush)
    until(lambda: not [hold for hold in books.holds() if hold["tenant_id"] == mine], settled_s)
    later = heard(fleet.gateway.url, rush.asks(3 * FITTING))
    served = sum(each.complete for each in lost.rushed)
    assert Counter(each.status for each in later) == {
        status: count
        for status, count in ((200, FITTING - served), (402, 2 * FITTING + served))
        if count
    }
    assert overspent_nano(books, rush) == 0
    check_books(books, rush)
    spooled = [entry["outcome"] for entry in books.terminal() if entry["end_user"] == fault.name]
    assert spooled == ["settled"] * CALLERS
    assert len(upstream.bill().rows) == len(lost.free) + len(lost.wide) + FITTING
    assert audited(fleet)


@pytest.mark.promise("M13")
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_loss_in_a_rush_is_told_and_costs_nothing(
    fleet: Fleet, upstream: Upstream, figure: Figure, fault: Fault
) -> None:
    lost = lose(fleet, upstream, fault)
    figure("refused while it is away, slowest, s", max(each.seconds for each in lost.away), "≤ 1")
    figure("recovery, s", lost.recovered_s, "≤ 2")
    figure("401s", sum(each.status == 401 for each in lost.rushed + lost.away + lost.free), "0")
    check_honest(lost)
    check_money(fleet, upstream, fault, lost)
    figure("over-spend, n$", overspent_nano(fleet.books, fault.rush), "0")


@pytest.mark.promise("M13")
def test_it_goes_red_where_the_spool_forgets(
    server: Server, upstream: Upstream, tmp_path: Path, output: Path
) -> None:
    with serving(server, tmp_path, output, upstream, mutant="amnesic") as fleet:
        lost = lose(fleet, upstream, KILLED)
        with pytest.raises(AssertionError):
            check_money(fleet, upstream, KILLED, lost, settled_s=2)


# --- kills, one after the other, while callers never stop (D1)


@dataclass(slots=True)
class Calling:
    """Callers that ask again and again, whatever they are told; each call has a name."""

    url: str
    heard: list[Heard] = field(default_factory=list)
    over: Event = field(default_factory=Event)

    def call(self, caller: int) -> None:
        for n in count():
            if self.over.is_set():
                return
            name = f"u-{caller}-{n}"
            ask = Ask(OPENAI, "alpha", stream=n % 2 > 0, key=WIDE_KEY, end_user=name)
            self.heard.append(ask.send(self.url))

    @property
    def acknowledged(self) -> list[str]:
        return [each.ask.end_user for each in self.heard if each.complete]

    def until_acknowledged(self, further: int) -> None:
        enough = len(self.acknowledged) + further
        until(lambda: len(self.acknowledged) >= enough, 30)


def kill_often(fleet: Fleet, kills: int) -> list[str]:
    """Kill every process of PostgreSQL so often; return the names of all calls acknowledged."""
    known(fleet, WIDE_KEY)
    calling = Calling(fleet.gateway.url)
    with ThreadPoolExecutor(CALLERS) as threads:
        running = [threads.submit(calling.call, caller) for caller in range(CALLERS)]
        try:
            for _ in range(kills):
                calling.until_acknowledged(BETWEEN)
                fleet.server.kill9()
                fleet.server.start()
            until(fleet.found_again, 10)
        finally:
            calling.over.set()
    for each in running:
        each.result()
    assert {each.status for each in calling.heard} <= {200, 503}
    return calling.acknowledged


def missing(fleet: Fleet, names: Sequence[str]) -> list[str]:
    """Return those that have not exactly one settled entry."""
    outcomes: dict[str, list[str]] = {}
    for entry in fleet.books.terminal():
        outcomes.setdefault(entry["end_user"], []).append(entry["outcome"])
    return [name for name in names if outcomes.get(name) != ["settled"]]


@pytest.mark.promise("D1")
def test_who_has_a_whole_answer_finds_it_in_the_ledger_whenever_postgres_was_killed(
    fleet: Fleet, upstream: Upstream, figure: Figure
) -> None:
    prepared(upstream)
    names = kill_often(fleet, KILLS)
    until(lambda: not fleet.books.holds(), 10)
    lost = missing(fleet, names)
    figure("PostgreSQL: acknowledged, in 3 kills", len(names), f"≥ {KILLS * BETWEEN}")
    figure("PostgreSQL: acknowledged and lost", len(lost), "0")
    assert not lost
    assert audited(fleet)


@pytest.mark.promise("D1")
def test_it_goes_red_where_commits_wait_for_no_disk(
    server: Server, upstream: Upstream, tmp_path: Path, output: Path
) -> None:
    with serving(server, tmp_path, output, upstream, mutant="unflushed") as fleet:
        prepared(upstream)
        assert missing(fleet, kill_often(fleet, 1))


def audited(fleet: Fleet) -> bool:
    audit = fleet.books.audit()
    return (audit.code, audit.ok, audit.differences, audit.holds) == (0, True, [], 0)
