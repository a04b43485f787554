"""A bare HTTP/1.1 client on sockets: cheap enough that the load is never the bottleneck."""

import asyncio
import time
from typing import cast

from msgspec import Struct
from typing_extensions import override

END_OF_CHUNKS = b"0\r\n\r\n"
EVENT = b"data: "


class Shot(Struct):
    """One answered request; times in seconds since it was sent."""

    status: int
    total_s: float
    first_event_s: float
    events: int


class Client(asyncio.Protocol):
    """One connection with one request in the air; `done` is told of every answer."""

    def __init__(self, request: bytes, *, streamed: bool) -> None:
        self._request, self._streamed = request, streamed
        self._transport: asyncio.Transport | None = None
        self._answered: asyncio.Future[Shot] | None = None
        self._buffer = bytearray()
        self._sent = self._first = 0.0
        self._events = 0

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast("asyncio.Transport", transport)
        self._transport = transport

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(exc or ConnectionError("closed"))

    def shoot(self) -> "asyncio.Future[Shot]":
        assert self._transport is not None
        self._answered = asyncio.get_running_loop().create_future()
        self._buffer.clear()
        self._events, self._first = 0, 0.0
        self._sent = time.perf_counter()
        self._transport.write(self._request)
        return self._answered

    @override
    def data_received(self, data: bytes) -> None:
        if self._streamed:
            self._streamed_data(data)
        else:
            self._whole_data(data)

    def _streamed_data(self, data: bytes) -> None:
        if not self._buffer:
            self._buffer += data[:16]
        events = data.count(EVENT)
        if events and not self._events:
            self._first = time.perf_counter() - self._sent
        self._events += events
        if data.endswith(END_OF_CHUNKS):
            self._answer()

    def _whole_data(self, data: bytes) -> None:
        self._buffer += data
        head_end = self._buffer.find(b"\r\n\r\n")
        if head_end < 0:
            return
        head = bytes(self._buffer[:head_end]).lower()
        at = head.find(b"content-length: ")
        if at < 0:
            raise ValueError("an answer without Content-Length")
        length = int(head[at + 16 :].split(b"\r\n", 1)[0])
        if len(self._buffer) >= head_end + 4 + length:
            self._answer()

    def _answer(self) -> None:
        total = time.perf_counter() - self._sent
        shot = Shot(int(self._buffer[9:12]), total, self._first or total, self._events)
        assert self._answered is not None
        self._answered.set_result(shot)


def post(path: str, body: bytes, *headers: str) -> bytes:
    """Return the bytes of one request."""
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: 127.0.0.1",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *headers,
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def connect(port: int, request: bytes, *, streamed: bool) -> Client:
    loop = asyncio.get_running_loop()
    _, client = await loop.create_connection(
        lambda: Client(request, streamed=streamed), "127.0.0.1", port
    )
    return client


async def closed_loop(
    port: int,
    request: bytes,
    *,
    connections: int,
    seconds: float,
    streamed: bool = False,
    spread_s: float = 0.0,
) -> list[Shot]:
    """Keep every connection busy for a time; return all answers.

    The first requests are sent at once, or evenly over `spread_s`.
    """
    clients = [await connect(port, request, streamed=streamed) for _ in range(connections)]
    shots: list[Shot] = []
    until = time.perf_counter() + seconds

    async def drive(client: Client, wait_s: float) -> None:
        await asyncio.sleep(wait_s)
        while time.perf_counter() < until:
            shots.append(await client.shoot())

    waits = [spread_s * place / connections for place in range(connections)]
    await asyncio.gather(*map(drive, clients, waits))
    return shots


async def open_loop(port: int, request: bytes, *, rate: int, seconds: float) -> list[Shot]:
    """Send at fixed times, whatever the answers do; latency counts from when it was due."""
    idle = [await connect(port, request, streamed=False) for _ in range(64)]
    shots: list[Shot] = []
    running: set[asyncio.Task[None]] = set()
    started = time.perf_counter()

    async def one(client: Client, due: float) -> None:
        shot = await client.shoot()
        shot.total_s = time.perf_counter() - due
        shots.append(shot)
        idle.append(client)

    for number in range(int(rate * seconds)):
        due = started + number / rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        client = idle.pop() if idle else await connect(port, request, streamed=False)
        task = asyncio.create_task(one(client, due))
        running.add(task)
        task.add_done_callback(running.discard)
    await asyncio.gather(*running)
    return shots
