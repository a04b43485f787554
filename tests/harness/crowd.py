"""Be a crowd of callers in one event loop: cheap enough that the gateway is what is measured."""

import asyncio
import gc
import json
import os
import signal
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeVar, cast

import httptools
from typing_extensions import override

from tests.harness.config import API_KEY
from tests.harness.dialects import Dialect, Told

LIMIT_S = 60.0
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
GONE = 0  # the status of an answer that did not even begin

Item = TypeVar("Item")
Result = TypeVar("Result")


class Line(asyncio.Protocol):
    """One connection with one request in the air; `leave_at` bytes of its body end it."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self._headers: dict[str, str] = {}
        self._told: asyncio.Future[Told] | None = None
        self._leave_at: int | None = None
        self._on_head: Callable[[], None] | None = None

    @property
    def open(self) -> bool:
        if self.transport is None or self.transport.is_closing():
            return False
        return self._headers.get("connection") != "close"  # which the server is about to do

    def send(
        self,
        request: bytes,
        leave_at: int | None = None,
        on_head: Callable[[], None] | None = None,
    ) -> "asyncio.Future[Told]":
        assert self.transport is not None
        self._on_head = on_head
        self._parser = httptools.HttpResponseParser(self)
        self._status, self._headers, self._body = GONE, {}, bytearray()
        self._leave_at = leave_at
        self._told = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return self._told

    def leave(self) -> None:
        """Hang up, whatever came until now."""
        if self.transport is not None:
            self.transport.abort()
        self._tell(clean=False)

    # --- asyncio.Protocol

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    @override
    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)
        if self._leave_at is not None and len(self._body) >= self._leave_at:
            self.leave()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._tell(clean=False)

    # --- httptools

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode().lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self._status = self._parser.get_status_code()
        if self._on_head is not None:
            self._on_head()

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        self._tell(clean=True)

    def _tell(self, *, clean: bool) -> None:
        if self._told is not None and not self._told.done():
            self._told.set_result(Told(self._status, self._headers, bytes(self._body), clean))


class Crowd:
    """Callers of one gateway. A connection is kept and used again as long as it stays open."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[Line] = []

    async def ask(
        self, dialect: Dialect, model: str, *, leave_at: int | None = None, **fields: Any
    ) -> Told:
        """Send one request as `Dialect.ask` does; `leave_at` hangs up after so many bytes."""
        key, headers = fields.pop("key", API_KEY), fields.pop("headers", {})
        within_s: float | None = fields.pop("leave_after_s", None)
        body = json.dumps(dialect.body(model, **fields)).encode()
        sent = {"Authorization": f"Bearer {key}", **dialect.headers, **headers}
        return await self.send(dialect.path, body, sent, leave_at=leave_at, leave_after_s=within_s)

    async def send(
        self,
        path: str,
        body: bytes,
        headers: Mapping[str, str],
        *,
        leave_at: int | None = None,
        leave_after_s: float | None = None,
        on_head: Callable[[], None] | None = None,
    ) -> Told:
        """Return the answer; one that is left keeps what had come, and status 0 without a head."""
        line = await self._line()
        telling = line.send(request(path, body, headers), leave_at, on_head)
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(telling), leave_after_s or LIMIT_S)
        if not telling.done():
            line.leave()
        told = await telling
        if told.clean and line.open:
            self._idle.append(line)
        return told

    async def spread(self, pids: Sequence[int], lines: int) -> None:
        """Open so many connections to each process of a server.

        Whoever listens first would take all of them: so the others are held still meanwhile.
        """
        of_each: list[list[Line]] = []
        for pid in pids:
            others = [other for other in pids if other != pid]
            try:
                for other in others:
                    os.kill(other, signal.SIGSTOP)
                opened = [await self._opened() for _ in range(lines)]
                answers = [line.send(HEALTH, None) for line in opened]
                async with asyncio.timeout(LIMIT_S):
                    assert {told.status for told in await asyncio.gather(*answers)} == {200}
            finally:
                for other in others:
                    os.kill(other, signal.SIGCONT)
            of_each.append(opened)
        self._idle += [line for turn in zip(*of_each, strict=True) for line in turn]

    @property
    def lines(self) -> list[Line]:
        """The connections that are open and free: of each process in turn."""
        return list(self._idle)

    def close(self) -> None:
        for line in self._idle:
            line.leave()

    async def _line(self) -> Line:
        while self._idle:
            line = self._idle.pop(0)
            if line.open:
                return line
        return await self._opened()

    async def _opened(self) -> Line:
        loop = asyncio.get_running_loop()
        _, line = await loop.create_connection(Line, "127.0.0.1", self._port)
        return line


def request(path: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    """Return the bytes of one POST."""
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: 127.0.0.1",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def each(
    items: Iterable[Item], work: Callable[[Item], Awaitable[Result]], *, at_once: int
) -> list[Result]:
    """Return the result for every item, in their order, with so many running at a time."""
    results: dict[int, Result] = {}
    queue = iter(enumerate(items))

    async def run() -> None:
        for place, item in queue:
            results[place] = await work(item)

    await asyncio.gather(*(run() for _ in range(at_once)))
    return [results[place] for place in sorted(results)]


def crowded(
    port: int,
    scene: Callable[[Crowd], Awaitable[Result]],
    *,
    pids: Sequence[int] = (),
    lines: int = 0,
) -> Result:
    """Play a scene with a crowd before one gateway, and let everybody go home.

    With `pids`, so many connections to each of these processes are open when it begins.
    """

    async def play() -> Result:
        crowd = Crowd(port)
        try:
            await crowd.spread(pids, lines)
            return await scene(crowd)
        finally:
            crowd.close()

    with _left_alone():
        return asyncio.run(play())


@contextmanager
def _left_alone() -> Iterator[None]:
    """Let no collection of garbage look through what a long run has left: callers would be late."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def statuses(told: Sequence[Told]) -> dict[int, int]:
    counts: dict[int, int] = {}
    for each_told in told:
        counts[each_told.status] = counts.get(each_told.status, 0) + 1
    return counts
