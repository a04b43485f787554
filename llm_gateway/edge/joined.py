"""Send in one piece what is written to a caller in one turn of the event loop.

Each write is a system call, which costs more than any other step of a short answer: its head and
its body are two, and each event of a stream is one.
"""

import asyncio
from typing import Any


class JoinedTransport:
    """An `asyncio.Transport` whose writes wait for the turn's end, `most` bytes at most."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, transport: asyncio.Transport, most: int
    ) -> None:
        self._loop, self._transport, self._most = loop, transport, most
        self._pieces: list[bytes] = []
        self._bytes = 0
        self.is_closing = transport.is_closing  # asked for at every request

    def write(self, data: bytes) -> None:
        if not self._pieces:
            self._loop.call_soon(self._send)
        self._pieces.append(data)
        self._bytes += len(data)
        if self._bytes >= self._most:
            self._send()

    def close(self) -> None:
        self._send()
        self._transport.close()

    def _send(self) -> None:
        pieces, self._pieces, self._bytes = self._pieces, [], 0
        if pieces and not self.is_closing():
            self._transport.write(b"".join(pieces))

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever a transport has
        return getattr(self._transport, name)
