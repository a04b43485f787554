"""`/healthz` and `/readyz` tell the truth, and nobody is killed for what others do (F13)."""

import os
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis

from tests.harness.books import Books
from tests.harness.config import budget, configuration, tenant
from tests.harness.database import PostgresDatabases, SqliteDatabases
from tests.harness.dialects import OPENAI, fetch
from tests.harness.faultproxy import FaultProxy, passing, stall
from tests.harness.gateway import GatewayProcess, installed
from tests.harness.sticking import BLOCKED_S, DISK, LOG, STUCK_S, WRITER
from tests.harness.together import in_time, until
from tests.legs import Figure
from tests.upstream.client import Upstream

# Of the promised half minute 25 s are waiting, which is proven without it (`test_vitals`).
SOON_S = STUCK_S + 5.0
UNKNOWN_S = 2.0  # promised is 1 s, on a machine that nobody else loads
Fault = Callable[[GatewayProcess], AbstractContextManager[None]]

pytestmark = [pytest.mark.promise("F13"), pytest.mark.timed]


def told(gateway: GatewayProcess, path: str) -> tuple[int, Any]:
    answer = fetch(gateway.url, "GET", path)
    return answer.status, answer.json


def until_told(
    gateway: GatewayProcess, path: str, status: int, reasons: list[str], within_s: float = SOON_S
) -> float:
    def is_so() -> bool:
        found, said = told(gateway, path)
        return (found, said["reasons"]) == (status, reasons)

    return until(is_so, within_s)


def configure(gateway: GatewayProcess, upstream: Upstream) -> None:
    acme = tenant(budgets=[budget("9")])
    gateway.apply(configuration(upstream.base_url, tenants=[acme]))


def ask(gateway: GatewayProcess) -> None:
    with suppress(OSError):
        OPENAI.ask(gateway.url, "alpha")


@pytest.fixture(scope="module")
def sticky(
    sqlite_databases: SqliteDatabases,
    upstream_process: Upstream,
    tmp_path_factory: pytest.TempPathFactory,
    output: Path,
) -> Iterator[GatewayProcess]:
    with installed(sqlite_databases, tmp_path_factory.mktemp("home"), output) as gateway:
        configure(gateway, upstream_process)
        yield gateway.serve(mutant="sticky")


# --- faults, each until its end


@contextmanager
def held_up(gateway: GatewayProcess, name: str) -> Iterator[None]:
    path = gateway.home / name
    path.touch()
    with ThreadPoolExecutor(1) as threads:
        threads.submit(ask, gateway)
        try:
            yield
        finally:
            path.unlink()


def stuck_writer(gateway: GatewayProcess) -> AbstractContextManager[None]:
    return held_up(gateway, WRITER)


def stuck_log(gateway: GatewayProcess) -> AbstractContextManager[None]:
    return held_up(gateway, LOG)


def full_disk(gateway: GatewayProcess) -> AbstractContextManager[None]:
    return held_up(gateway, DISK)


@contextmanager
def blocked_loop(gateway: GatewayProcess) -> Iterator[None]:
    (pid,) = gateway.workers
    os.kill(pid, signal.SIGUSR1)
    began = time.monotonic()
    assert told(gateway, "/healthz")[0] == 200
    assert time.monotonic() - began > BLOCKED_S / 2  # a probe would not have waited
    yield


@contextmanager
def missing_migration(gateway: GatewayProcess) -> Iterator[None]:
    path = gateway.environment["DATABASE_URL"].partition(":///")[2]
    with closing(sqlite3.connect(path, timeout=10, isolation_level=None)) as file:
        last = "SELECT * FROM django_migrations ORDER BY id DESC LIMIT 1"
        row = file.execute(last).fetchone()
        file.execute("DELETE FROM django_migrations WHERE id = ?", row[:1])
        try:
            yield
        finally:
            file.execute("INSERT INTO django_migrations VALUES (?, ?, ?, ?)", row)


@pytest.mark.parametrize(
    ("fault", "reason", "alive"),
    [
        (stuck_writer, "ledger writer", False),
        (stuck_log, "request log", False),
        (blocked_loop, "event loop", True),
        (missing_migration, "migrations", True),
        (full_disk, "disk", True),
    ],
)
def test_what_is_wrong_with_a_process_is_told_and_that_it_is_over(
    sticky: GatewayProcess, figure: Figure, fault: Fault, reason: str, alive: bool
) -> None:
    until_told(sticky, "/healthz", 200, [])
    until_told(sticky, "/readyz", 200, [], 15)
    with fault(sticky):
        after_s = until_told(sticky, "/readyz", 503, [reason])
        assert told(sticky, "/healthz")[0] == (200 if alive else 503)
    over_s = until_told(sticky, "/readyz", 200, [], 15)
    assert told(sticky, "/healthz")[0] == 200
    waited_s = STUCK_S if not alive else 0.0
    figure(f"{reason}: told after, s", round(after_s - waited_s + 25 * (not alive), 1), "≤ 30")
    figure(f"{reason}: over after, s", round(over_s, 1), "≤ 30")


def test_a_process_that_sees_nothing_of_itself_goes_red(
    sqlite_databases: SqliteDatabases, upstream: Upstream, tmp_path: Path, output: Path
) -> None:
    with installed(sqlite_databases, tmp_path, output) as gateway:
        configure(gateway, upstream)
        gateway.serve(mutant="sticky+blind")
        with stuck_writer(gateway), pytest.raises(AssertionError):
            until_told(gateway, "/healthz", 503, ["ledger writer"])


def test_a_database_that_is_away_is_told_and_kills_nobody_but_who_is_stuck_is_replaced(
    postgres_databases: PostgresDatabases,
    upstream: Upstream,
    redis_url: str,
    tmp_path: Path,
    output: Path,
    figure: Figure,
) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.flushdb()
    with installed(postgres_databases, tmp_path, output, redis_url) as gateway:
        configure(gateway, upstream)
        server = urlsplit(gateway.environment["DATABASE_URL"])
        with FaultProxy(server.hostname or "127.0.0.1", server.port or 5432) as proxy:
            url = server._replace(netloc=f"{server.username}@127.0.0.1:{proxy.port}").geturl()
            gateway.serve(workers=2, mutant="sticky", DATABASE_URL=url)
            Books(gateway).until_serving()
            before = gateway.workers
            proxy.both(stall())
            after_s = until(lambda: "database" in told(gateway, "/readyz")[1]["degraded"], 15)
            figure("database away: told after, s", round(after_s, 1), "≤ 30")
            check_not_killed(gateway, STUCK_S + 4)
            proxy.both(passing())
            proxy.drop()
            over_s = until(lambda: told(gateway, "/readyz")[1]["degraded"] == [], 20)
            figure("database away: over after, s", round(over_s, 1), "≤ 30")
            assert gateway.workers == before
            figure("processes killed meanwhile", len(set(before) - set(gateway.workers)), "0")
            with stuck_writer(gateway):
                until(lambda: set(gateway.workers) != set(before), 30)
            until(lambda: len(gateway.workers) == 2, 30)


def check_not_killed(gateway: GatewayProcess, seconds: float) -> None:
    """Ask for longer than anything may be stuck; callers are told soon that nobody knows them."""
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s:
        began = time.monotonic()
        assert OPENAI.ask(gateway.url, "alpha").code == "auth_unavailable"
        in_time(time.monotonic() - began, UNKNOWN_S)
        assert told(gateway, "/healthz")[0] == 200
        assert told(gateway, "/readyz")[0] == 200
