"""A ledger 100 times slower and a request log that cannot be written (`scorecard.md` D4).

Who fits is served and paid for to the cent, who does not is told so soon, the log says what it had
to let go, and memory stays where it was.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from urllib.parse import urlsplit

import psycopg
import pytest
import redis

from tests.harness.books import Books
from tests.harness.config import budget, configuration, models, nano_prices, tenant
from tests.harness.crowd import Crowd, crowded, each, statuses
from tests.harness.database import PostgresDatabases
from tests.harness.dialects import ANTHROPIC, OPENAI, Told, fetch
from tests.harness.faultproxy import FaultProxy, delay, passing
from tests.harness.gateway import GatewayProcess, installed
from tests.harness.processes import memory_bytes, peak_bytes
from tests.harness.together import in_time, until
from tests.legs import Figure
from tests.upstream.client import Bill, Upstream

PROCESSES, CALLERS, ASKED = 4, 250, 3000  # callers of each process; requests in all
SLOWER_MS = 150  # each way; else a commit takes a millisecond or two
TIMES_SLOWER = 100
WARM = 200  # before: keys are known, buckets are there, memory is what it is
ANSWERED_S, SETTLED_S = 10.0, 12.0  # a second try of what was refused comes with the next beat
MEMORY_BYTES = 64 * 2**20
REQUEST_LOG = "llm_gateway_requestlog"
WAYS = ((OPENAI, "alpha", False), (ANTHROPIC, "alpha", True), (OPENAI, "claude", True))

pytestmark = [pytest.mark.promise("D4"), pytest.mark.timed]


@dataclass(frozen=True, slots=True)
class Slow:
    """An installation whose writers reach the database through a proxy, all else does directly."""

    gateway: GatewayProcess
    books: Books
    proxy: FaultProxy
    url: str
    ledger_url: str

    def metric(self, name: str) -> float:
        text = fetch(self.gateway.url, "GET", "/metrics").text
        return sum(
            float(line.rpartition(" ")[2])
            for line in text.splitlines()
            if line.startswith(f"mobius_{name}") and not line.startswith("#")
        )

    def round_trip_s(self, url: str) -> float:
        """Return how long the database takes for the least that can be asked, at best."""
        with psycopg.connect(url, autocommit=True) as connection:
            took = []
            for _ in range(3):
                started = monotonic()
                connection.execute("SELECT 1")
                took.append(monotonic() - started)
        return min(took)

    @contextmanager
    def log_away(self) -> Iterator[None]:
        """Let nobody write the request log: every attempt ends by its time limit."""
        with psycopg.connect(self.url) as connection:
            connection.execute(f"LOCK TABLE {REQUEST_LOG} IN ACCESS EXCLUSIVE MODE".encode())
            yield
            connection.rollback()


@contextmanager
def serving(
    databases: PostgresDatabases,
    upstream: Upstream,
    home: Path,
    output: Path,
    redis_url: str = "",
    *,
    mutant: str,
) -> Iterator[Slow]:
    with installed(databases, home, output, redis_url) as gateway:
        upstream.reset()
        upstream.prices(**nano_prices(models()))
        gateway.apply(
            configuration(upstream.base_url, routes=[], tenants=[tenant(budgets=[budget("99")])])
        )
        url = gateway.environment["DATABASE_URL"]
        server = urlsplit(url)
        with FaultProxy(server.hostname or "127.0.0.1", server.port or 5432) as proxy:
            own = server._replace(netloc=f"{server.username}@127.0.0.1:{proxy.port}").geturl()
            workers = PROCESSES if redis_url else 1
            gateway.serve(workers=workers, mutant=mutant, LEDGER_DATABASE_URL=own)
            books = Books(gateway)
            books.until_serving()
            yield Slow(gateway, books, proxy, url, own)
            gateway.kill9()


@dataclass(frozen=True, slots=True)
class Pressed:
    """What callers were told, and what it took of each process at most."""

    told: list[Told]
    bill: Bill
    grown_bytes: int
    longest_s: float
    slower: float  # times that the database was, as the ledger sees it
    held: int  # that are left when it is fast again


def ask(slow: Slow, asked: int, callers: int = CALLERS) -> list[tuple[Told, float]]:
    """Send so many requests from so many callers of each process."""
    pids = slow.gateway.workers

    async def send(crowd: Crowd) -> list[tuple[Told, float]]:
        async def one(n: int) -> tuple[Told, float]:
            dialect, model, stream = WAYS[n % len(WAYS)]
            started = monotonic()
            told = await crowd.ask(dialect, model, stream=stream)
            return told, monotonic() - started

        return await each(range(asked), one, at_once=callers * len(pids))

    return crowded(slow.gateway.port, send, pids=pids, lines=callers)


def press(
    slow: Slow, upstream: Upstream, asked: int = ASKED, settled_s: float = SETTLED_S
) -> Pressed:
    """Ask while the ledger is slow and the log away; let both come back."""
    pids = slow.gateway.workers
    before = {pid: memory_bytes(pid) for pid in pids}
    with slow.log_away():
        slow.proxy.both(delay(SLOWER_MS))
        slower = slow.round_trip_s(slow.ledger_url) / slow.round_trip_s(slow.url)
        heard = ask(slow, asked)
        grown = max(peak_bytes(pid) - before[pid] for pid in pids)
        slow.proxy.both(passing())
    told = [one for one, _ in heard]
    with suppress(AssertionError):  # told by the number that is left
        until(lambda: not slow.books.holds(), settled_s)
    return Pressed(
        told,
        upstream.bill(),
        grown,
        max(seconds for _, seconds in heard),
        slower,
        len(slow.books.holds()),
    )


def check_told(pressed: Pressed) -> None:
    """Served, or told to come again soon; nobody waits for ever."""
    assert statuses(pressed.told).keys() == {200, 503}
    for one in pressed.told:
        if one.status == 503:
            assert one.code in {"ledger_unavailable", "overloaded"}
            assert int(one.headers["retry-after"]) >= 1
    in_time(pressed.longest_s, ANSWERED_S)


def lost(slow: Slow, pressed: Pressed) -> int:
    """Return how many good answers and billed calls have not their one entry."""
    entries = slow.books.terminal()
    settled = Counter(entry["request_id"] for entry in entries if entry["outcome"] == "settled")
    good = [one.request_id for one in pressed.told if one.status == 200 and one.clean]
    unpaid = sum(settled[request_id] != 1 for request_id in good)
    return unpaid + abs(len(entries) - len(pressed.bill.rows))


def check_money(slow: Slow, pressed: Pressed) -> None:
    assert pressed.held == 0
    assert lost(slow, pressed) == 0
    amounts = sum(entry["amount_nano"] for entry in slow.books.terminal())
    assert amounts == pressed.bill.total_nano_usd
    audit = slow.books.audit()
    assert (audit.code, audit.ok, audit.differences, audit.holds) == (0, True, [], 0)


def test_a_slow_ledger_and_a_log_away_lose_no_entry_and_no_memory(
    postgres_databases: PostgresDatabases,
    upstream: Upstream,
    tmp_path: Path,
    output: Path,
    redis_url: str,
    figure: Figure,
) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.flushdb()
    databases = postgres_databases
    with serving(databases, upstream, tmp_path, output, redis_url, mutant="short_log") as slow:
        warm = ask(slow, WARM, 4)
        assert {told.status for told, _ in warm} == {200}
        pressed = press(slow, upstream)
        figure("database slower, times", pressed.slower, f"≥ {TIMES_SLOWER}")
        figure("served", statuses(pressed.told).get(200, 0), "≥ 1")
        figure("refused with 503", statuses(pressed.told).get(503, 0), "≥ 1")
        figure("slowest answer, s", pressed.longest_s, f"≤ {ANSWERED_S}")
        figure("memory grown, MiB", pressed.grown_bytes / 2**20, "≤ 64")
        figure("entries lost", lost(slow, pressed), "0")
        figure("records dropped", slow.metric("recorder_dropped"), "= those missing in the log")
        assert pressed.slower >= TIMES_SLOWER
        check_told(pressed)
        assert pressed.grown_bytes <= MEMORY_BYTES
        check_money(slow, pressed)
        check_log(slow, len(warm) + len(pressed.told))


def check_log(slow: Slow, asked: int) -> None:
    """Whatever the request log had to let go is counted, and was said."""
    until(lambda: slow.metric("recorder_waiting") == 0, 20)

    def accounted() -> float:
        return len(slow.books.rows(REQUEST_LOG)) + slow.metric("recorder_dropped")

    until(lambda: accounted() == asked, 20)
    assert slow.metric("recorder_dropped") >= 1
    assert "request log: records are dropped" in slow.gateway.log


@pytest.mark.parametrize(
    ("mutant", "check"), [("dropping", check_money), ("boundless", check_told)]
)
def test_it_goes_red_without_the_bound_or_with_a_writer_that_drops(
    postgres_databases: PostgresDatabases,
    upstream: Upstream,
    tmp_path: Path,
    output: Path,
    mutant: str,
    check: Callable[..., None],
) -> None:
    with serving(postgres_databases, upstream, tmp_path, output, mutant=mutant) as slow:
        ask(slow, WARM, 4)
        pressed = press(slow, upstream, 2 * CALLERS, settled_s=1)
        assert statuses(pressed.told)[200] > 1
        with pytest.raises(AssertionError):
            check(*((slow, pressed) if check is check_money else (pressed,)))
