"""Callers who take nothing of their answers cost little, then are cut and settled as who left (F7).

What others notice of them is held to what is promised under `make scorecard`, and to less on a
machine that is busy.
"""

import asyncio
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.harness.books import Books
from tests.harness.config import API_KEY, configuration, model, openai_provider, tenant
from tests.harness.crowd import Crowd
from tests.harness.database import SqliteDatabases
from tests.harness.dialects import OPENAI, fetch
from tests.harness.gateway import GatewayProcess, installed
from tests.harness.processes import memory_bytes
from tests.harness.tls_door import TlsDoor
from tests.harness.together import until
from tests.legs import Figure
from tests.upstream.client import Upstream
from tests.upstream.scripts import poured, stream

STRICT = "MOBIUS_TEST_STRICT" in os.environ
KIB = 1024
PIECE, PIECES = 8 * KIB, 640  # 5 MiB
LONG = stream(*["x" * PIECE] * PIECES).but(obeys_limit=False)
# More than the system takes on its own in all sockets of the way.
POURED = 16 * KIB * KIB
EVENT = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n' % (b"x" * PIECE)
MOST_EACH = 256 * KIB
# Here the TLS library reads up to 256 KiB at once, and keeps them until they can be decrypted.
MOST_EACH_TLS = 1024 * KIB
CUT, IDLE_S, CUT_WITHIN_S = 20, 3, 10
LEISURELY_S = 600
# The first pay for what there is once; a provider's pool has 100 connections for all.
FIRST, FURTHER = 10, 80
ASKED, ROUNDS = 100, 3
SLOWER = 1.1 if STRICT else 5.0
IN_FORCE_S = 1.5

pytestmark = [pytest.mark.promise("F7"), pytest.mark.timed]


def configure(gateway: GatewayProcess, base_url: str, idle_s: int) -> None:
    settings = {"caller_idle_seconds": idle_s, "pre_stop_seconds": 0}
    openai = openai_provider(base_url, on_disconnect="abort", max_concurrent_requests=400)
    wanted = configuration(
        base_url,
        providers=[openai],
        models=[model("alpha")],
        routes=[],
        tenants=[tenant()],
        settings=settings,
    )
    gateway.apply(wanted)
    if gateway.process is not None:
        time.sleep(IN_FORCE_S)


@contextmanager
def serving(
    databases: SqliteDatabases,
    upstream: Upstream,
    home: Path,
    output: Path,
    *,
    mutant: str = "",
    idle_s: int = LEISURELY_S,
) -> Iterator[GatewayProcess]:
    upstream.reset()
    upstream.script("long", LONG)
    with installed(databases, home, output) as gateway:
        configure(gateway, upstream.base_url, idle_s)
        gateway.serve(mutant=mutant)
        warm_up(gateway)
        yield gateway


def warm_up(gateway: GatewayProcess) -> None:
    """Take the whole of some answers, so that what this takes of memory is taken."""
    for _ in range(3):
        told = OPENAI.ask(gateway.url, "alpha", stream=True, content="[[script:long]]")
        assert len(told.body) > PIECE * PIECES


@pytest.fixture(scope="module")
def slow(
    sqlite_databases: SqliteDatabases,
    upstream_process: Upstream,
    tmp_path_factory: pytest.TempPathFactory,
    output: Path,
) -> Iterator[GatewayProcess]:
    home = tmp_path_factory.mktemp("home")
    # What is shown is not how busy the machine is.
    with serving(sqlite_databases, upstream_process, home, output, mutant="unhurried") as gateway:
        yield gateway


def reader(gateway: GatewayProcess) -> socket.socket:
    """Ask for a long stream and take nothing of it."""
    body = json.dumps(OPENAI.body("alpha", stream=True, content="[[script:long]]")).encode()
    head = (
        f"POST {OPENAI.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {API_KEY}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    line = socket.socket()
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * KIB)
    line.settimeout(20)
    line.connect(("127.0.0.1", gateway.port))
    line.sendall(head.encode() + body)
    return line


def was_cut(line: socket.socket) -> bool:
    """Say whether the connection was reset, by asking for nothing of what waits in it."""
    return line.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0


def standing(upstream: Upstream, count: int) -> list[int]:
    """Wait until the newest calls get no further; return how many bytes each was sent."""
    sent: list[list[int]] = []

    def stands() -> bool:
        sent.append([call.sent_bytes for call in upstream.calls[-count:]])
        return len(sent) > 1 and min(sent[-1]) > 0 and sent[-1] == sent[-2]

    until(stands, 60, every_s=1)
    return sent[-1]


async def asked_s(port: int) -> float:
    """Return the p99 of requests that are asked one after the other: the least of some rounds."""
    crowd, p99s = Crowd(port), []
    for _ in range(ROUNDS):
        seconds = []
        for _ in range(ASKED):
            began = time.monotonic()
            told = await crowd.ask(OPENAI, "alpha")
            assert told.status == 200, told.text
            seconds.append(time.monotonic() - began)
        p99s.append(sorted(seconds)[int(0.99 * ASKED)])
    crowd.close()
    return min(p99s)


@dataclass(frozen=True, slots=True)
class Readers:
    """What those cost who take nothing."""

    each: float  # bytes
    sent: int  # bytes, by the provider that sent most
    slower: float  # what others' p99 is, times before


def taking_nothing(gateway: GatewayProcess, upstream: Upstream) -> Readers:
    upstream.script("long", poured(EVENT, POURED))
    books, (pid,) = Books(gateway), gateway.workers
    settled = len(books.terminal())
    before_s = asyncio.run(asked_s(gateway.port))
    with ExitStack() as open_:
        for _ in range(FIRST):
            open_.enter_context(reader(gateway))
        standing(upstream, FIRST)
        memory = memory_bytes(pid)
        for _ in range(FURTHER):
            open_.enter_context(reader(gateway))
        sent = standing(upstream, FURTHER)
        each = (memory_bytes(pid) - memory) / FURTHER
        slower = asyncio.run(asked_s(gateway.port)) / before_s
    # Who leaves is settled, before others count on this gateway.
    books.until_settled(settled + FIRST + FURTHER + 2 * ROUNDS * ASKED, 60)
    return Readers(each, max(sent), slower)


def test_who_takes_nothing_costs_little_and_holds_its_provider_back(
    slow: GatewayProcess, upstream_process: Upstream, figure: Figure
) -> None:
    configure(slow, upstream_process.base_url, LEISURELY_S)
    readers = taking_nothing(slow, upstream_process)
    figure("who takes nothing, KiB each", readers.each / KIB, "≤ 256")
    figure("their providers sent, MiB of 16", readers.sent / KIB / KIB, "< 16")
    figure("others meanwhile, p99, times before", readers.slower, "≤ 1.1")
    assert readers.each <= MOST_EACH
    assert readers.sent < POURED
    assert readers.slower <= SLOWER


def test_behind_tls_they_cost_what_its_library_holds(
    sqlite_databases: SqliteDatabases,
    upstream: Upstream,
    tmp_path: Path,
    output: Path,
    figure: Figure,
) -> None:
    upstream.script("long", LONG)
    with (
        TlsDoor(upstream.port, tmp_path) as door,
        installed(sqlite_databases, tmp_path, output) as gateway,
    ):
        gateway.environment["SSL_CERT_FILE"] = str(door.certificate)
        configure(gateway, f"https://127.0.0.1:{door.port}/v1", LEISURELY_S)
        gateway.serve(mutant="unhurried")
        warm_up(gateway)
        readers = taking_nothing(gateway, upstream)
    figure("over TLS, KiB each", readers.each / KIB, "≤ 1024")
    assert readers.each <= MOST_EACH_TLS
    assert readers.sent < POURED


def test_who_takes_nothing_is_cut(
    slow: GatewayProcess, upstream_process: Upstream, figure: Figure
) -> None:
    configure(slow, upstream_process.base_url, IDLE_S)
    upstream_process.script("long", LONG)
    books = Books(slow)
    before = len(books.terminal())
    with ExitStack() as open_:
        began = time.monotonic()
        lines = [open_.enter_context(reader(slow)) for _ in range(CUT)]
        entries = books.until_settled(before + CUT, IDLE_S + CUT_WITHIN_S)[before:]
        cut_s = time.monotonic() - began
        assert all(map(was_cut, lines))
    figure(f"all of {CUT} cut after, s (limit {IDLE_S})", round(cut_s, 1), "≤ 13")
    assert [entry["outcome"] for entry in entries] == ["cancelled"] * CUT
    assert all(entry["amount_nano"] > 0 for entry in entries)
    assert books.audit().ok


def test_without_back_pressure_it_goes_red(
    sqlite_databases: SqliteDatabases, upstream: Upstream, tmp_path: Path, output: Path
) -> None:
    with (
        serving(
            sqlite_databases, upstream, tmp_path, output, mutant="unpaused", idle_s=2
        ) as gateway,
        ExitStack() as open_,
    ):
        books, (pid,) = Books(gateway), gateway.workers
        before, asked = memory_bytes(pid), len(books.terminal())
        lines = [open_.enter_context(reader(gateway)) for _ in range(20)]
        books.until_settled(asked + 20, 30)  # nobody was held back
        assert (memory_bytes(pid) - before) / 20 > MOST_EACH
        with suppress(AssertionError):
            until(lambda: any(map(was_cut, lines)), 4)
        assert not any(map(was_cut, lines))
        assert fetch(gateway.url, "GET", "/healthz").status == 200
