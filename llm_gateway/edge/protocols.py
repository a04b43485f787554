"""Bound what the server's own protocols do not: heads, trailers, bodies nobody waits for, frames.

What is refused here is no request yet, so that no dialect is known: few words and a cut.
"""

import asyncio
import os
import socket
import struct
from collections import deque
from typing import cast

from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

from llm_gateway.edge.joined import JoinedTransport

# Bytes that bring nothing on: of a head, of chunk extensions, of trailers.
LONGEST_BARREN = 64 * 1024
# What is still taken of a body after its answer: less than a cut costs, that a caller reads it.
LONGEST_REST = 64 * 1024
HEAD_S = 10.0
# What waits for a caller to take it, before more of its answer is asked for.
WRITE_BUFFER = 16 * 1024
MOST_FRAGMENTS = 1_000
MOST_PINGS, IN_SECONDS = 100, 2.0
LAST_WORDS_S = 1.0
POLICY_VIOLATION = 1008

_REFUSAL = (
    b"HTTP/1.1 %b\r\ncontent-type: text/plain; charset=utf-8\r\n"
    b"content-length: 0\r\nconnection: close\r\n\r\n"
)
_TOO_LONG, _TOO_SLOW = b"431 Request Header Fields Too Large", b"408 Request Timeout"


class Patience:
    """Cut a caller that takes nothing of what it is sent for `caller_idle_seconds`.

    While it takes nothing its answer is not read on from the provider either (faults.md §9).
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, transport: asyncio.Transport) -> None:
        self._loop, self._transport = loop, transport
        self._timer: asyncio.TimerHandle | None = None
        self._left = 0

    def begin(self) -> None:
        """Wait for the caller, as long as it takes anything."""
        from llm_gateway.service import process  # noqa: PLC0415 - needs Django, set up by now

        self._left = self._transport.get_write_buffer_size()
        self._timer = self._loop.call_later(process.caller_idle_s(), self._look)

    def end(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _look(self) -> None:
        if self._transport.get_write_buffer_size() < self._left:
            self.begin()
        else:
            self._reset()

    def _reset(self) -> None:
        """Cut it so that the system does not keep what nobody takes."""
        number = self._transport.get_extra_info("socket").fileno()
        with socket.socket(fileno=os.dup(number)) as same:
            same.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()


class HttpProtocol(HttpToolsProtocol):
    """One connection of a caller."""

    _headed = False  # the head of the request is whole
    _barren = 0
    _rest = 0
    _head_timer: asyncio.TimerHandle | None = None

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        transport.set_write_buffer_limits(WRITE_BUFFER)
        joined = JoinedTransport(self.loop, transport, WRITE_BUFFER)
        super().connection_made(cast("asyncio.Transport", joined))
        self._patience = Patience(self.loop, transport)
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_head_timer()
        self._patience.end()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    @override
    def pause_writing(self) -> None:
        super().pause_writing()
        self._patience.begin()

    @override
    def resume_writing(self) -> None:
        super().resume_writing()
        self._patience.end()

    @override
    def data_received(self, data: bytes) -> None:
        self._barren += len(data)
        super().data_received(data)
        if self._barren > LONGEST_BARREN:
            self._refuse(_TOO_LONG)
        elif self._headed:
            if self._head_timer is not None:
                self._stop_head_timer()
        elif self._head_timer is None and not self.transport.is_closing():
            self._head_timer = self.loop.call_later(HEAD_S, self._refuse, _TOO_SLOW)

    # --- what the parser says

    @override
    def on_message_begin(self) -> None:
        self._headed = False
        super().on_message_begin()

    @override
    def on_header(self, name: bytes, value: bytes) -> None:
        # A trailer is no header: whoever stands before us has not seen it as one.
        if not self._headed:
            super().on_header(name, value)

    @override
    def on_headers_complete(self) -> None:
        self._headed, self._barren = True, 0
        super().on_headers_complete()

    @override
    def on_body(self, body: bytes) -> None:
        self._barren = 0
        super().on_body(body)
        if self._cycle is not None and self._cycle.response_complete:
            self._rest += len(body)
            if self._rest > LONGEST_REST:
                self.transport.close()

    @override
    def on_message_complete(self) -> None:
        self._barren = self._rest = 0
        super().on_message_complete()

    def _refuse(self, status: bytes) -> None:
        self._stop_head_timer()
        if self.transport.is_closing():
            return
        cycle = self._cycle
        # In the middle of an answer a second one would be taken for a part of it.
        if cycle is None or cycle.response_complete or not cycle.response_started:
            self.transport.write(_REFUSAL % status)
        self.transport.close()

    @property
    def _cycle(self) -> RequestResponseCycle | None:
        """The newest request, None before the first: uvicorn's types know no such time."""
        return self.cycle

    def _stop_head_timer(self) -> None:
        timer, self._head_timer = self._head_timer, None
        if timer is not None:
            timer.cancel()


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """One connection, whose messages come in few fragments and whose pings do not pour."""

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._pings: deque[float] = deque(maxlen=MOST_PINGS + 1)
        super().connection_made(transport)
        self._patience = Patience(self.loop, self.transport)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._patience.end()
        super().connection_lost(exc)

    @override
    def pause_writing(self) -> None:
        super().pause_writing()
        self._patience.begin()

    @override
    def resume_writing(self) -> None:
        super().resume_writing()
        self._patience.end()

    @override
    def handle_cont(self, event: Frame) -> None:
        if self.close_sent:
            return
        super().handle_cont(event)
        if len(self.frames) > MOST_FRAGMENTS:
            self._violated("too many fragments")

    @override
    def handle_ping(self) -> None:
        if self.close_sent:
            return
        super().handle_ping()
        now = self.loop.time()
        self._pings.append(now)
        if len(self._pings) > MOST_PINGS and now - self._pings[0] < IN_SECONDS:
            self._violated("too many pings")

    @override
    def handle_parser_exception(self) -> None:
        """Say why, and cut a moment later: who still sends would not hear it otherwise."""
        if self.close_timer is not None or self.conn.close_sent is None:
            return
        self.close_timer = self.loop.call_later(LAST_WORDS_S, self.transport.close)
        code, reason = self.conn.close_sent.code, self.conn.close_sent.reason
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self.frames = []
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()

    def _violated(self, why: str) -> None:
        self.conn.fail(POLICY_VIOLATION, why)  # from here on what comes is dropped unread
        self.handle_parser_exception()
