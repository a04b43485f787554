"""Callers who leave: what the provider bills is read on and settled (`money.md` §11)."""

import json
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import pytest
from typing_extensions import override

from tests.harness.books import Books
from tests.harness.config import (
    API_KEY,
    budget,
    configuration,
    models,
    nano_prices,
    tenant,
)
from tests.harness.database import SqliteDatabases
from tests.harness.dialects import ANTHROPIC, OPENAI, Dialect
from tests.harness.gateway import GatewayProcess, installed
from tests.harness.together import in_time
from tests.upstream.client import Upstream
from tests.upstream.scripts import gated, words

SETTLED_S = 2.0  # after the last byte of the provider, by contract; the machine is shared
MODELS = {"openai": "alpha", "anthropic": "claude"}


@dataclass(frozen=True, slots=True)
class Way:
    """Who asks in which words, and what its provider speaks."""

    caller: Dialect
    kind: str
    stream: bool

    @override
    def __str__(self) -> str:
        form = "stream" if self.stream else "whole"
        return f"{self.caller.name}-from-{self.kind}-{form}"


WAYS = [
    Way(caller, kind, stream)
    for caller in (OPENAI, ANTHROPIC)
    for kind in MODELS
    for stream in (False, True)
]


@pytest.fixture(scope="module")
def narrow(
    sqlite_databases: SqliteDatabases,
    upstream_process: Upstream,
    tmp_path_factory: pytest.TempPathFactory,
    output: Path,
) -> Iterator[GatewayProcess]:
    """Serve a tenant that may run one request at a time."""
    acme = tenant(budgets=[budget("9")], rate_limits={"concurrency": 1})
    wanted = configuration(upstream_process.base_url, tenants=[acme])
    with installed(sqlite_databases, tmp_path_factory.mktemp("home"), output) as gateway:
        gateway.apply(wanted)
        yield gateway.serve()


def leave(gateway: GatewayProcess, way: Way, until: Callable[[socket.socket], None]) -> None:
    """Send a request and hang up once `until` returns."""
    body = json.dumps(way.caller.body(MODELS[way.kind], stream=way.stream)).encode()
    head = (
        f"POST {way.caller.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {API_KEY}"
        f"\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=20) as line:
        line.sendall(head.encode() + body)
        until(line)


def check_settled(gateway: GatewayProcess, upstream: Upstream, before: int, *outcomes: str) -> None:
    """The whole answer is paid for, soon, and the slot is free."""
    books = Books(gateway)
    ended = monotonic()
    entries = books.until_settled(before + 1, 20)
    in_time(monotonic() - ended, SETTLED_S + 2.0)
    (call,) = upstream.calls
    assert call.outcome == "complete"
    assert entries[-1]["outcome"] in outcomes
    assert not entries[-1]["estimated"]
    assert entries[-1]["amount_nano"] == upstream.bill().total_nano_usd
    upstream.script("alpha", words(1))
    assert OPENAI.ask(gateway.url, "alpha").status == 200
    assert books.audit().ok


@pytest.mark.parametrize("way", [way for way in WAYS if way.stream], ids=str)
def test_a_stream_that_is_left_is_read_on_to_its_bill(
    narrow: GatewayProcess, upstream: Upstream, way: Way
) -> None:
    upstream.prices(**nano_prices(models()))
    upstream.script(MODELS[way.kind], words(8) + gated("go", 4))
    before = len(Books(narrow).terminal())

    def first_bytes(line: socket.socket) -> None:
        seen = b""
        while b"w1" not in seen:
            seen += line.recv(65536)

    leave(narrow, way, first_bytes)
    # The slot is held while the provider works on: it is the provider's time that is bounded.
    assert way.caller.ask(narrow.url, "alpha").status == 429
    upstream.open_gate("go")
    upstream.wait_ended(1)
    check_settled(narrow, upstream, before, "cancelled")


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_who_leaves_before_the_first_byte_pays_what_is_billed(
    narrow: GatewayProcess, upstream: Upstream, way: Way
) -> None:
    before = left_before_the_first_byte(narrow, upstream, way)
    check_settled(narrow, upstream, before, "cancelled", "settled")


@pytest.mark.parametrize("way", WAYS[:1], ids=str)
def test_who_leaves_before_the_first_byte_is_told_apart(
    narrow: GatewayProcess, upstream: Upstream, way: Way
) -> None:
    before = left_before_the_first_byte(narrow, upstream, way)
    check_settled(narrow, upstream, before, "cancelled")


def left_before_the_first_byte(gateway: GatewayProcess, upstream: Upstream, way: Way) -> int:
    """Return how many entries there were before the request that is left."""
    upstream.prices(**nano_prices(models()))
    upstream.script(MODELS[way.kind], words(8) + gated("go"))
    before = len(Books(gateway).terminal())
    leave(gateway, way, lambda _line: upstream.wait_seen(1))
    upstream.open_gate("go")
    upstream.wait_ended(1)
    return before


def test_who_leaves_in_the_middle_of_its_own_body_costs_nothing(
    narrow: GatewayProcess, upstream: Upstream
) -> None:
    books = Books(narrow)
    before = len(books.terminal())
    head = (
        f"POST {ANTHROPIC.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nx-api-key: {API_KEY}\r\n"
        "Content-Length: 1000\r\n\r\n{"
    )
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", narrow.port), timeout=20) as line:
            line.sendall(head.encode())
    assert OPENAI.ask(narrow.url, "alpha").status == 200
    assert len(upstream.calls) == 1
    assert len(books.until_settled(before + 1, 20)) == before + 1
