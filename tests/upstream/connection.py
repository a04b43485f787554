"""Read HTTP/1.1 requests off one connection and hand each, whole, to its handler in turn."""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import NamedTuple, cast

from typing_extensions import override

from tests.upstream.wire import Json, dump


class Request(NamedTuple):
    method: str
    path: str
    head: bytes
    body: bytes


Handler = Callable[["Connection", Request], Awaitable[None]]


class Connection(asyncio.Protocol):
    """A keep-alive connection. A client that leaves cancels the handler that is running."""

    def __init__(
        self, number: int, handle: Handler, closed: Callable[["Connection"], None]
    ) -> None:
        self.number = number
        self._handle = handle
        self._closed = closed
        self._buffer = bytearray()
        self._task: asyncio.Task[None] | None = None
        self._room = asyncio.Event()
        self._room.set()
        self.transport: asyncio.Transport | None = None

    # --- asyncio.Protocol

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._socket().setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    @override
    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._next()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._room.set()
        if self._task is not None:
            self._task.cancel()
        self._closed(self)

    @override
    def pause_writing(self) -> None:
        self._room.clear()

    @override
    def resume_writing(self) -> None:
        self._room.set()

    # --- requests

    def _next(self) -> None:
        if self._task is not None:
            return
        request = self._taken()
        if request is not None:
            self._task = asyncio.ensure_future(self._handle(self, request))
            self._task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if not task.cancelled() and task.exception() is not None:
            self.reply(500, {"error": {"message": f"scripted upstream: {task.exception()!r}"}})
            self.hang_up("fin")
        elif self.transport is not None and not self.transport.is_closing():
            self._next()

    def _taken(self) -> Request | None:
        """Take one whole request out of the buffer; None while it is incomplete."""
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return None
        head = bytes(self._buffer[: end + 4])
        length = _content_length(head)
        if length is None:
            self.reply(411, {"error": {"message": "scripted upstream: needs a Content-Length"}})
            self.hang_up("fin")
            return None
        if len(self._buffer) < len(head) + length:
            return None
        body = bytes(self._buffer[len(head) : len(head) + length])
        del self._buffer[: len(head) + length]
        method, path = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")[:2]
        return Request(method, path, head, body)

    # --- answers

    def write(self, data: bytes) -> None:
        if self.transport is not None and data:
            self.transport.write(data)

    def reply(self, status: int, value: Json | str) -> None:
        """Send an object as JSON; a text is a file of such lines."""
        body = value.encode() if isinstance(value, str) else dump(value)
        head = f"HTTP/1.1 {status} Reply\r\nContent-Type: application/json\r\n"
        self.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)

    async def drained(self) -> None:
        await self._room.wait()

    async def flushed(self) -> None:
        """Return once the kernel has every byte written so far."""
        if self.transport is None:
            return
        self.transport.set_write_buffer_limits(0)  # pauses until nothing is left
        await self._room.wait()

    def hang_up(self, how: str) -> None:
        if self.transport is None:
            return
        if how == "rst":
            self._socket().setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()
        else:
            self.transport.close()

    def _socket(self) -> socket.socket:
        assert self.transport is not None
        return cast("socket.socket", self.transport.get_extra_info("socket"))


def _content_length(head: bytes) -> int | None:
    """Return the declared length, 0 without one, None for a chunked body."""
    lowered = head.lower()
    if b"\r\ntransfer-encoding:" in lowered:
        return None
    start = lowered.find(b"\r\ncontent-length:")
    return int(lowered[start + 17 :].split(b"\r\n", 1)[0]) if start >= 0 else 0
