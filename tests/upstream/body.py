"""Write one answer to the wire: head, framing, pace and the place where it is cut."""

import asyncio
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any, Protocol

PHRASES = {status.value: status.phrase for status in HTTPStatus} | {529: "Overloaded"}


class Line(Protocol):
    """The connection, as far as an answer needs it."""

    def write(self, data: bytes) -> None: ...
    async def drained(self) -> None: ...
    async def flushed(self) -> None: ...
    def hang_up(self, how: str) -> None: ...


class CutError(Exception):
    """The connection was closed in the middle of the answer."""


class Body:
    """Bytes are counted before they are framed; `cut` is the cut step in force, or empty.

    `framing` is empty until the head was written, then `length`, `chunked`, or `close`: nothing
    but the end of the connection ends such a body.
    """

    def __init__(self, line: Line, request_id: str) -> None:
        self.line = line
        self.request_id = request_id
        self.status = 0
        self.headers: list[tuple[str, str]] = []
        self.framing = ""
        self.cut: dict[str, Any] = {}
        self.split = 0
        self.rate = 0
        self.line_end = b""  # of events, where it is not what the dialect writes
        self.sent_bytes = 0
        self._head = b""

    def open(self, *, streamed: bool, length: int | None) -> None:
        """Make the head, once; it leaves with the first bytes. No length means chunks."""
        if self.framing:
            return
        self.status = self.status or 200
        named = {name.lower() for name, _value in self.headers}
        headers = [("x-request-id", self.request_id)]
        if "content-type" not in named:
            kind = "text/event-stream; charset=utf-8" if streamed else "application/json"
            headers.append(("Content-Type", kind))
        if named & {"content-length", "transfer-encoding"}:
            self.framing = "close"
        elif length is None:
            self.framing = "chunked"
            headers.append(("Transfer-Encoding", "chunked"))
        else:
            self.framing = "length"
            headers.append(("Content-Length", str(length)))
        lines = [f"HTTP/1.1 {self.status} {PHRASES.get(self.status, 'Scripted')}"]
        lines += [f"{name}: {value}" for name, value in [*headers, *self.headers]]
        self._head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def write(self, *payloads: bytes) -> None:
        framed = b"".join(self._framed(payload) for payload in payloads)
        self.line.write(self._head + framed)
        self._head = b""

    async def send(self, payload: bytes) -> None:
        """Send a part of the body, in pieces and at the pace that were set, up to the cut."""
        for piece in self._pieces(payload):
            kept = piece[: self.cut["at_byte"] - self.sent_bytes] if self._cuts_bytes() else piece
            self.write(kept)
            self.sent_bytes += len(kept)
            await self._pace(len(kept))
            if self._cuts_bytes() and self.sent_bytes >= self.cut["at_byte"]:
                await self.hang_up()

    def close(self) -> None:
        """End the body as its framing asks for."""
        end = b"0\r\n\r\n" if self.framing == "chunked" else b""
        self.line.write(self._head + end)
        if self.framing == "close":
            self.line.hang_up("fin")

    async def hang_up(self) -> None:
        if self._head:
            self.write()
        await self.line.flushed()
        self.line.hang_up("rst" if self.cut["cut"] == "rst" else "fin")
        raise CutError

    def paced(self) -> bool:
        return bool(self.cut or self.split or self.rate)

    def _cuts_bytes(self) -> bool:
        return "at_byte" in self.cut

    def _pieces(self, payload: bytes) -> Iterator[bytes]:
        size = self.split or (max(1, self.rate // 20) if self.rate else len(payload))
        for start in range(0, len(payload), size or 1):
            yield payload[start : start + size]

    async def _pace(self, size: int) -> None:
        await self.line.drained()
        if self.rate:
            await asyncio.sleep(size / self.rate)
        elif self.split:
            await asyncio.sleep(0)

    def _framed(self, payload: bytes) -> bytes:
        if self.line_end:
            payload = self.line_end.join(payload.splitlines()) + self.line_end
        if self.framing == "chunked" and payload:
            return b"%x\r\n%b\r\n" % (len(payload), payload)
        return payload
