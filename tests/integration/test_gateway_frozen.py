"""A worker that was frozen for longer than its lease: what it runs is held again, or ends.

Two workers on one ledger; SIGSTOP hits one in the middle of its streams, the other sweeps.
"""

import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from msgspec import Struct

from tests.harness.books import Books
from tests.harness.config import budget, configuration, model, nano_prices, tenant
from tests.harness.dialects import ANTHROPIC, OPENAI, Told
from tests.harness.gateway import GatewayProcess
from tests.harness.processes import Process, free_port, unused
from tests.harness.short_lease import LEASE, MUTANT, ORPHAN
from tests.upstream.client import Upstream
from tests.upstream.scripts import gated, words

LEASE_S, PATIENCE_S = 1.5, 30.0
MODELS = [model("alpha", price=("0", "4.00"))]
TOKEN_NANO = 4000
HOLD_NANO = 8 * TOKEN_NANO
DIALECTS = (OPENAI, ANTHROPIC)
SAID = 5  # tokens of an answer that may hold eight

pytestmark = [
    pytest.mark.promise("M2"),
    pytest.mark.parametrize("database_backend", ["postgres"], indirect=True),
    pytest.mark.timed,
]


class Worker(Struct):
    """One process of the fleet."""

    process: Process
    url: str


@contextmanager
def workers(gateway: GatewayProcess, orphan: str, mutant: str = "") -> Iterator[list[Worker]]:
    variables = gateway.environment | {LEASE: str(LEASE_S), ORPHAN: orphan, MUTANT: mutant}
    found = []
    try:
        for port in (free_port(), free_port()):
            command = [sys.executable, "-m", "uvicorn", "tests.harness.short_lease:application"]
            command += ["--port", str(port), "--lifespan", "on", "--log-level", "warning"]
            process = Process(command, unused(gateway.output, "worker"), variables, forked=True)
            found.append(Worker(process, f"http://127.0.0.1:{port}"))
        for each in found:
            until_ready(each)
        yield found
    finally:
        for each in found:
            each.process.kill9()


def until_ready(worker: Worker) -> None:
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        with suppress(URLError, OSError), urlopen(f"{worker.url}/readyz", timeout=1):  # noqa: S310 - ours
            return
        time.sleep(0.05)
    raise TimeoutError(worker.process.log)


def configure(gateway: GatewayProcess, upstream: Upstream, calls: int) -> Books:
    limit = f"{calls * HOLD_NANO / 10**9:.9f}"
    upstream.prices(**nano_prices(MODELS))
    upstream.script("long", gated("go", 3) + words(SAID))
    gateway.apply(
        configuration(
            upstream.base_url,
            models=MODELS,
            routes=[],
            tenants=[tenant(budgets=[budget(limit)])],
        )
    )
    return Books(gateway)


def streams(threads: ThreadPoolExecutor, worker: Worker) -> list[Future[Told]]:
    return [
        threads.submit(dialect.ask, worker.url, "alpha", stream=True, content="[[script:long]]")
        for dialect in DIALECTS
    ]


def freeze(worker: Worker, books: Books) -> None:
    """Stop it until the other one has ended its attempts."""
    worker.process.signal(signal.SIGSTOP)
    until = time.monotonic() + PATIENCE_S
    while Counter(row["outcome"] for row in books.terminal()) != {"orphan": 2}:
        assert time.monotonic() < until, books.holds()
        time.sleep(0.1)
    assert not books.holds()


def test_what_was_charged_for_it_lets_a_stream_go_on(
    gateway: GatewayProcess, upstream: Upstream
) -> None:
    books = configure(gateway, upstream, calls=2)
    with workers(gateway, "hold") as (one, other), ThreadPoolExecutor(2) as threads:
        told = streams(threads, one)
        upstream.wait_seen(2, 20)
        freeze(one, books)
        assert OPENAI.ask(other.url, "alpha").status == 402
        one.process.signal(signal.SIGCONT)
        upstream.open_gate("go")
        for each, dialect in zip(told, DIALECTS, strict=True):
            assert dialect.end in each.result(PATIENCE_S).text
    assert Counter(row["kind"] for row in books.entries()) == {"attempt": 2, "correction": 2}
    (bucket,) = books.rows("ledger_bucket")
    assert (bucket["used_nano"], bucket["held_nano"]) == (2 * SAID * TOKEN_NANO, 0)
    assert books.audit().ok


@pytest.mark.parametrize("mutant", ["", "never_again"])
def test_a_stream_whose_hold_does_not_fit_any_more_is_ended(
    gateway: GatewayProcess, upstream: Upstream, mutant: str
) -> None:
    books = configure(gateway, upstream, calls=2)
    with workers(gateway, "input", mutant) as (one, other), ThreadPoolExecutor(2) as threads:
        told = streams(threads, one)
        upstream.wait_seen(2, 20)
        freeze(one, books)  # an input that costs nothing: all of both holds is free again
        assert OPENAI.ask(other.url, "alpha").status == 200
        one.process.signal(signal.SIGCONT)
        if not mutant:
            until_one_ended(told)
            assert OPENAI.ask(other.url, "alpha").status == 402
        upstream.open_gate("go")
        answers = [each.result(PATIENCE_S) for each in told]
    ended = [
        each for each in zip(DIALECTS, answers, strict=True) if each[0].end not in each[1].text
    ]
    (bucket,) = books.rows("ledger_bucket")
    assert bucket["held_nano"] == 0
    assert books.audit().ok
    if mutant:
        assert (ended, bucket["used_nano"] > 2 * HOLD_NANO) == ([], True)
        return
    ((dialect, answer),) = ended
    assert "is used up" in dialect.stream_error(answer)["message"]
    assert bucket["used_nano"] <= 2 * HOLD_NANO


def until_one_ended(told: list[Future[Told]]) -> None:
    until = time.monotonic() + PATIENCE_S
    while not any(each.done() for each in told):
        assert time.monotonic() < until
        time.sleep(0.05)
