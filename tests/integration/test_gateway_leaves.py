"""A process that leaves cuts nobody; one that has to, says so and settles (`scorecard.md` F5)."""

import asyncio
import json
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import redis
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.harness.books import Books
from tests.harness.config import API_KEY, budget, configuration, key, models, nano_prices, tenant
from tests.harness.crowd import Crowd, crowded
from tests.harness.database import PostgresDatabases, SqliteDatabases
from tests.harness.dialects import ANTHROPIC, OPENAI, Told, fetch
from tests.harness.gateway import GatewayProcess, installed
from tests.harness.processes import command_line
from tests.harness.together import in_time, until
from tests.legs import Figure
from tests.upstream.client import Upstream
from tests.upstream.scripts import gated, paced, words

OTHER_KEY = API_KEY + "-other"
WORKERS, STREAMS, SOCKETS, SPEAKING, PER_SECOND = 2, 50, 200, 20, 100
STREAM_S, ARRIVING_S = 10.0, 5.0
DRAIN_S, PRE_STOP_S, REST_S, LONGEST_HINT_S = 30, 1, 5, 10
RESTARTING = 1012

pytestmark = [pytest.mark.promise("F5"), pytest.mark.timed]


@dataclass
class Heard:
    """What everybody was told while a deploy went on."""

    streams: list[Told] = field(default_factory=list)
    requests: list[Told] = field(default_factory=list)
    codes: Counter[int] = field(default_factory=Counter)
    hints_ms: list[float] = field(default_factory=list)
    spoken: list[str] = field(default_factory=list)  # how the streams of WebSockets ended
    left_after_s: float = 0.0


def configure(gateway: GatewayProcess, upstream: Upstream, **settings: int) -> Books:
    upstream.reset()
    upstream.prices(**nano_prices(models()))
    upstream.script("slow", words(8) + paced(STREAM_S * 1000 / 8))
    acme = tenant(budgets=[budget("99")], keys=[key(), key("other", OTHER_KEY)])
    gateway.apply(configuration(upstream.base_url, tenants=[acme], settings=settings))
    return Books(gateway)


# --- a deploy


@contextmanager
def fleet(
    databases: PostgresDatabases, home: Path, output: Path, redis_url: str
) -> Iterator[GatewayProcess]:
    with redis.Redis.from_url(redis_url) as client:
        client.flushdb()
    with installed(databases, home, output, redis_url) as gateway:
        yield gateway


async def speak(gateway: GatewayProcess, key: str, *, speaking: bool, heard: Heard) -> None:
    """Hold a WebSocket until the server closes it."""
    url = f"ws://127.0.0.1:{gateway.port}/ws/v1/llm"
    headers = {"authorization": f"Bearer {key}"}
    async with connect(url, additional_headers=headers, compression=None) as socket:
        if speaking:
            said = [{"role": "user", "content": "[[script:slow]]"}]
            request = {"model": "alpha", "messages": said, "max_tokens": 8}
            create = {"type": "chat.create", "id": "1", "request": request}
            await socket.send(json.dumps(create))
        last = await listen(socket)
        heard.codes[socket.close_code or 0] += 1
        heard.hints_ms.append(float((socket.close_reason or "=nan").partition("=")[2]))
        if speaking:
            heard.spoken.append(last)


async def listen(socket: ClientConnection) -> str:
    last = ""
    with suppress(ConnectionClosed):
        while True:
            last = json.loads(await socket.recv())["type"]
    return last


async def replaced(gateway: GatewayProcess, old: list[int]) -> float:
    """Replace every worker; return after how long the last of them was gone."""
    assert gateway.process is not None
    began = time.monotonic()
    gateway.process.signal(signal.SIGHUP)
    while any(command_line(pid) for pid in old):  # noqa: ASYNC110 - a process tells nobody
        await asyncio.sleep(0.05)
    return time.monotonic() - began


def deployed(
    gateway: GatewayProcess, *, streams: int, sockets: int, speaking: int, per_s: int
) -> Heard:
    """Replace every process while so many streams, WebSockets and requests go on."""
    heard, old = Heard(), gateway.workers

    async def scene(crowd: Crowd) -> Heard:
        done = asyncio.Event()
        loop = asyncio.get_running_loop()
        held = [
            asyncio.create_task(
                speak(gateway, (API_KEY, OTHER_KEY)[n % 2], speaking=n < speaking, heard=heard)
            )
            for n in range(sockets)
        ]
        asking = asyncio.create_task(often(per_s, lambda: quick(crowd, heard), done))
        told = [
            asyncio.create_task(slow(crowd, heard, ARRIVING_S * n / streams))
            for n in range(streams)
        ]
        await asyncio.sleep(1)
        heard.left_after_s = await replaced(gateway, old)
        await asyncio.gather(*told, *held)
        loop.call_later(1, done.set)
        await asking
        return heard

    return crowded(gateway.port, scene)


async def slow(crowd: Crowd, heard: Heard, wait_s: float) -> None:
    await asyncio.sleep(wait_s)
    told = await crowd.ask(OPENAI, "alpha", stream=True, content="[[script:slow]]")
    heard.streams.append(told)


async def quick(crowd: Crowd, heard: Heard) -> None:
    told = await crowd.ask(OPENAI, "alpha")
    if told.code == "overloaded":  # of a machine that others load: no matter of a deploy
        await asyncio.sleep(1)
        told = await crowd.ask(OPENAI, "alpha")
    heard.requests.append(told)


async def often(per_s: int, work: Callable[[], Awaitable[None]], done: asyncio.Event) -> None:
    """Begin so many a second, whether or not those before have ended."""
    async with asyncio.TaskGroup() as group:
        while not done.is_set():
            group.create_task(work())  # type: ignore[arg-type]
            await asyncio.sleep(1 / per_s)


def complete(told: list[Told]) -> int:
    return sum(one.status == 200 and one.clean and OPENAI.end in one.text for one in told)


def test_a_deploy_cuts_nobody(
    postgres_databases: PostgresDatabases,
    upstream_process: Upstream,
    redis_url: str,
    tmp_path: Path,
    output: Path,
    figure: Figure,
) -> None:
    with fleet(postgres_databases, tmp_path, output, redis_url) as gateway:
        books = configure(
            gateway, upstream_process, drain_seconds=DRAIN_S, pre_stop_seconds=PRE_STOP_S
        )
        gateway.serve(workers=WORKERS, forked=False)  # what is replaced starts from nothing
        books.until_serving()
        heard = deployed(
            gateway, streams=STREAMS, sockets=SOCKETS, speaking=SPEAKING, per_s=PER_SECOND
        )
        whole = complete(heard.streams)
        failed = sum(told.status != 200 or not told.clean for told in heard.requests)
        asked = len(heard.requests) + STREAMS + SPEAKING
        entries = books.until_settled(asked, 10)
        code = gateway.terminate()
        figure("streams complete", whole, str(STREAMS))
        figure("failed requests", failed, "0")
        figure("requests meanwhile", len(heard.requests), "> 500")
        figure("entries lost", asked - len(entries), "0")
        figure("WebSockets closed with 1012 and a hint", len(heard.hints_ms), str(SOCKETS))
        figure("all replaced, s", round(heard.left_after_s, 1), f"≤ {2 * DRAIN_S}")
        figure("exit code", code, "0")
        assert whole == STREAMS
        assert failed == 0, Counter((told.status, told.code) for told in heard.requests)
        assert len(heard.requests) > 500
        assert {entry["outcome"] for entry in entries} == {"settled"}
        assert sum(e["amount_nano"] for e in entries) == upstream_process.bill().total_nano_usd
        assert heard.codes == {RESTARTING: SOCKETS}
        assert all(0 <= hint <= LONGEST_HINT_S * 1000 for hint in heard.hints_ms)
        assert max(heard.hints_ms) - min(heard.hints_ms) > LONGEST_HINT_S * 1000 / 2
        assert heard.spoken == ["chat.done"] * SPEAKING
        in_time(heard.left_after_s, 2 * DRAIN_S)
        assert code == 0, gateway.log[-2000:]
        assert books.audit().ok


# --- one process on its own


@contextmanager
def alone(
    databases: SqliteDatabases,
    upstream: Upstream,
    home: Path,
    output: Path,
    settings: Mapping[str, int],
    mutant: str = "",
) -> Iterator[tuple[GatewayProcess, Books]]:
    with installed(databases, home, output) as gateway:
        books = configure(gateway, upstream, **settings)
        upstream.script("open", gated("never", 3))
        yield gateway.serve(mutant=mutant), books


def hanging(gateway: GatewayProcess, threads: ThreadPoolExecutor) -> list[Callable[[], Told]]:
    """Begin a stream of each dialect that would never end."""
    return [
        threads.submit(
            dialect.ask, gateway.url, "alpha", stream=True, content="[[script:open]]"
        ).result
        for dialect in (OPENAI, ANTHROPIC)
    ]


def check_ended(told: list[Told], books: Books) -> None:
    """All were told why, none as if it were whole, and each paid for what it had."""
    openai, anthropic = told
    assert OPENAI.stream_error(openai)["code"] == "server_shutdown"
    assert ANTHROPIC.stream_error(anthropic)["code"] == "server_shutdown"
    entries = books.terminal()
    assert [entry["outcome"] for entry in entries] == ["cancelled", "cancelled"]
    assert all(entry["amount_nano"] > 0 for entry in entries)
    assert not books.holds()


def test_while_balancers_notice_all_is_served_and_at_the_limit_streams_are_told(
    sqlite_databases: SqliteDatabases,
    upstream: Upstream,
    tmp_path: Path,
    output: Path,
    figure: Figure,
) -> None:
    settings = {"drain_seconds": 1, "pre_stop_seconds": 2}
    with (
        alone(sqlite_databases, upstream, tmp_path, output, settings) as (gateway, books),
        ThreadPoolExecutor(2) as threads,
    ):
        assert gateway.process is not None
        streams = hanging(gateway, threads)
        upstream.wait_seen(2, 20)
        gateway.process.signal(signal.SIGTERM)
        began = time.monotonic()
        until(lambda: fetch(gateway.url, "GET", "/readyz").status == 503, 2)
        assert fetch(gateway.url, "GET", "/healthz").status == 200
        listed = fetch(
            gateway.url, "GET", "/v1/models", headers={"Authorization": f"Bearer {API_KEY}"}
        )
        assert (listed.status, listed.headers["connection"]) == (200, "close")
        told = [stream() for stream in streams]
        code = gateway.process.wait(20)
        took = time.monotonic() - began
        figure("exit after a drain limit of 1 s and 2 s of notice", round(took, 2), "≤ 8")
        check_ended(told, books)
        assert code == 0
        assert took <= sum(settings.values()) + REST_S
        assert books.audit().ok


def test_the_second_sigterm_means_now(
    sqlite_databases: SqliteDatabases,
    upstream: Upstream,
    tmp_path: Path,
    output: Path,
    figure: Figure,
) -> None:
    settings = {"drain_seconds": 600, "pre_stop_seconds": 600}
    with (
        alone(sqlite_databases, upstream, tmp_path, output, settings) as (gateway, books),
        ThreadPoolExecutor(2) as threads,
    ):
        assert gateway.process is not None
        streams = hanging(gateway, threads)
        upstream.wait_seen(2, 20)
        gateway.process.signal(signal.SIGTERM)
        until(lambda: fetch(gateway.url, "GET", "/readyz").status == 503, 2)
        gateway.process.signal(signal.SIGTERM)
        began = time.monotonic()
        told = [stream() for stream in streams]
        code = gateway.process.wait(20)
        took = time.monotonic() - began
        figure("exit after the second SIGTERM, s", round(took, 2), "≤ 5")
        check_ended(told, books)
        assert code == 0
        assert took <= 5


def test_a_process_that_waits_for_nobody_goes_red(
    sqlite_databases: SqliteDatabases, upstream: Upstream, tmp_path: Path, output: Path
) -> None:
    settings = {"drain_seconds": DRAIN_S, "pre_stop_seconds": 0}
    with (
        alone(sqlite_databases, upstream, tmp_path, output, settings, mutant="abrupt") as (
            gateway,
            _,
        ),
        ThreadPoolExecutor(1) as threads,
    ):
        assert gateway.process is not None
        told = threads.submit(
            OPENAI.ask, gateway.url, "alpha", stream=True, content="[[script:slow]]"
        )
        upstream.wait_seen(1, 20)
        gateway.process.signal(signal.SIGTERM)
        assert complete([told.result(30)]) == 0
