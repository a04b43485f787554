"""One connection to a provider: write a request, take its answer apart as it comes in.

A protocol of asyncio around llhttp. aiohttp's connector opens, pools and closes it; its own parser
and stream reader make objects for each answer that cost more than the whole rest of a call.
"""

import asyncio
from typing import cast

import httptools
from typing_extensions import override

from llm_gateway.errors import InvalidAnswerError

# What is read of an answer before somebody takes it: of a stream as little as its reader holds in
# each step of its way while it stands still (faults.md §9), more where all of it is waited for.
READ_BUFFER, WHOLE_BUFFER = 16 * 1024, 64 * 1024
# Bytes that bring no body: headers, or what hides in chunk extensions and trailers.
LONGEST_BARREN = 64 * 1024
_LONGEST_HEADER = 16 * 1024
# A longer body is written in pieces while the answer is awaited: it may be refused half-way.
_AT_ONCE = 64 * 1024
_TLS_BUFFER = 16 * 1024
_SWITCHING, _FIRST_FINAL = 101, 200
_NOT_HTTP = "The provider's answer is not HTTP."


class Conversation(asyncio.BufferedProtocol):
    """Answers one request at a time. What aiohttp's connector asks of a protocol is here too.

    `buffer`, of `WHOLE_BUFFER` bytes, is what sockets are read into: one for all connections of a
    loop, as what came is taken apart before the next one reads.
    """

    def __init__(self, buffer: bytearray) -> None:
        self._buffer = memoryview(buffer)
        self.transport: asyncio.Transport | None = None
        self.status = 0
        self.headers: dict[str, str] = {}
        self.complete = True  # the last answer is here to its last byte, read or not
        self._parser = httptools.HttpResponseParser(self)
        self._headed = self._overlong = False
        self._bounded = True  # the answer says itself where it ends
        self._spoiled = False  # not to be asked again
        self._pieces: list[bytes] = []
        self._held = self._barren = 0
        self._most = READ_BUFFER
        self._paused = False
        self._failure: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._closed: asyncio.Future[None] | None = None

    # --- one exchange

    async def ask(self, head: bytes, body: bytes) -> None:
        """Send a request; return once `status` and `headers` of its answer are here.

        Raises InvalidAnswerError for what is no HTTP, OSError for a cut, or what `fail` was told.
        """
        transport = self.transport
        if transport is None or not self.complete:
            raise ConnectionResetError
        self._headed = self._overlong = self.complete = False
        self.status, self.headers = 0, {}
        self._pieces.clear()
        self._held = self._barren = 0
        self._most = READ_BUFFER
        if len(body) <= _AT_ONCE:
            transport.write(head + body)
            await self._head_of_answer()
            return
        writing = asyncio.ensure_future(self._write(transport, head, body))
        try:
            await self._head_of_answer()
        finally:
            if not writing.done():
                # Answered before all was sent: the rest would be taken for the next request.
                self._spoiled = True
                writing.cancel()
            elif not writing.cancelled():
                writing.exception()  # a cut shows itself in the answer

    async def read(self) -> bytes:
        """Return what has come of the body, waiting for something if need be; b"" at its end.

        Raises what `fail` was told, and OSError for a cut; what came before is returned first.
        """
        while not self._pieces:
            if self._failure is not None:
                raise self._failure
            if self.complete:
                return b""
            await self._wait()
        pieces = self._pieces
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        self._held = 0
        self._resume()
        return data

    def widen(self) -> None:
        """Take more at once from here on: the whole answer is waited for."""
        self._most = WHOLE_BUFFER

    def drop(self) -> None:
        """Forget what is here of the body."""
        self._pieces.clear()

    @property
    def finished(self) -> bool:
        """Say whether the whole answer is here and was read."""
        return self.complete and not self._pieces

    def fail(self, error: Exception) -> None:
        """End the exchange with `error`, wherever it waits."""
        if self._failure is None:
            self._failure = error
        self._wake()

    async def _head_of_answer(self) -> None:
        while not self._headed:
            if self._failure is not None:
                raise self._failure
            await self._wait()

    async def _wait(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def _write(self, transport: asyncio.Transport, head: bytes, body: bytes) -> None:
        transport.write(head)
        for start in range(0, len(body), _AT_ONCE):
            transport.write(body[start : start + _AT_ONCE])
            if self._writable is not None:
                await self._writable

    # --- what the socket says

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        # TLS has a buffer of its own, which is to grow by one read at most while ours is full.
        bound = getattr(transport, "set_read_buffer_limits", None)
        if bound is not None:
            bound(_TLS_BUFFER)

    @override
    def get_buffer(self, sizehint: int) -> memoryview:
        del sizehint  # what the loop would take, which is more
        # An empty one would be an error; one byte is enough to see that something comes unasked.
        return self._buffer[: max(1, self._most - self._held)]

    @override
    def buffer_updated(self, nbytes: int) -> None:
        self._barren += nbytes
        unasked = self.complete
        if unasked:  # it would be taken for the next answer
            self._cut(ConnectionResetError())
            return
        try:
            self._parser.feed_data(self._buffer[:nbytes])
        except httptools.HttpParserError:  # an upgrade that nobody asked for among them
            self._refuse()
            return
        if self._overlong or (self._barren > LONGEST_BARREN and not self.complete):
            self._refuse()
            return
        if self.complete:
            self._resume()
        elif self._held >= self._most and not self._paused and self.transport is not None:
            self._paused = True
            self.transport.pause_reading()
        if self._headed:
            self._wake()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        if self._headed and not self._bounded and exc is None:
            self.complete = True
        self.transport = None
        self._cut(exc or ConnectionResetError())
        if self._closed is not None and not self._closed.done():
            self._closed.set_result(None)

    @override
    def pause_writing(self) -> None:
        self._writable = asyncio.get_running_loop().create_future()

    @override
    def resume_writing(self) -> None:
        writable, self._writable = self._writable, None
        if writable is not None and not writable.done():
            writable.set_result(None)

    def _resume(self) -> None:
        if self._paused and self.transport is not None:
            self._paused = False
            self.transport.resume_reading()

    def _refuse(self) -> None:
        """Stop reading what is no HTTP: a cut where an answer had begun."""
        self._cut(ConnectionResetError() if self._headed else InvalidAnswerError(_NOT_HTTP))

    def _cut(self, error: Exception) -> None:
        if self.transport is not None:
            self.transport.abort()
        self._spoiled = True
        if not self.complete and self._failure is None:
            self._failure = error
        self._wake()
        self.resume_writing()

    # --- what the parser says

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._headed:
            return  # a trailer, or of a second answer
        if len(name) + len(value) > _LONGEST_HEADER:
            self._overlong = True
        lower, text = name.decode("latin-1").lower(), value.decode("latin-1")
        headers = self.headers
        headers[lower] = f"{headers[lower]}, {text}" if lower in headers else text

    def on_headers_complete(self) -> None:
        if self._headed:
            return
        self.status = self._parser.get_status_code()
        if self.status < _FIRST_FINAL and self.status != _SWITCHING:
            self.headers = {}  # interim: the answer follows
            return
        self._bounded = "content-length" in self.headers or "transfer-encoding" in self.headers
        self._headed = not self._overlong

    def on_body(self, body: bytes) -> None:
        if self.complete:
            return
        self._barren = 0
        self._held += len(body)
        self._pieces.append(body)

    def on_message_complete(self) -> None:
        if self._headed:
            self._spoiled = self._spoiled or not self._parser.should_keep_alive()
            self.complete = True

    def on_message_begin(self) -> None:
        if self.complete:  # a second answer to one question
            self._spoiled = True

    # --- what the pool asks

    @property
    def should_close(self) -> bool:
        return self._spoiled or not self.complete

    @property
    def closed(self) -> "asyncio.Future[None] | None":
        if self._closed is None and self.transport is not None:
            self._closed = asyncio.get_running_loop().create_future()
        return self._closed

    def is_connected(self) -> bool:
        return self.transport is not None and not self.transport.is_closing()

    def close(self) -> None:
        if self.transport is not None:
            self.transport.close()

    def abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()
