"""Let requests that ask the same at once hear one answer (R32): within a tenant and a process.

The one who was first is the leader: it alone calls, spends and settles. The others hear its answer
from the start; where it fails before it began, each of them goes its own way.
"""

import asyncio
from collections.abc import AsyncIterator

from llm_gateway.errors import DroppedError
from llm_gateway.response_cache import Entry

# What is heard is kept for whoever joins; a longer answer breaks off for them.
MOST_HEARD = 8 * 1024 * 1024


class Flight:
    """One answer on its way. `entry` is the whole of it once it is there."""

    def __init__(self) -> None:
        self.entry: Entry | None = None
        self.over = False
        self.joined = False  # by somebody who hears it too
        self.streamed = self.wants_usage = False
        self._pieces: list[bytes] = []
        self._size = 0
        self._waiting: list[asyncio.Future[None]] = []

    @property
    def begun(self) -> bool:
        return bool(self._pieces)

    @property
    def heard(self) -> bytes | None:
        """Return all that was heard; None where that was too much to keep."""
        return None if self._size > MOST_HEARD else b"".join(self._pieces)

    def hear(self, piece: bytes) -> None:
        """Take a piece of the answer in."""
        if self.over or not piece:
            return
        self._size += len(piece)
        if self._size > MOST_HEARD:
            self._pieces.clear()
            self.end(None)
            return
        self._pieces.append(piece)
        self._wake()

    def end(self, entry: Entry | None) -> None:
        """Say that nothing more comes; without an entry the answer broke. Twice is once."""
        if not self.over:
            self.over, self.entry = True, entry
            self._wake()

    async def until_begun(self) -> None:
        """Return when there is something to hear, or never will be."""
        while not (self.over or self.begun):
            await self._news()

    async def until_over(self) -> None:
        while not self.over:
            await self._news()

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the stream from its start. Raises DroppedError where it broke."""
        place = 0
        while True:
            while place < len(self._pieces):
                place += 1
                yield self._pieces[place - 1]
            if self.over:
                break
            await self._news()
        if self.entry is None:  # also where so much was heard that it was dropped
            raise DroppedError("The request that this one shares its answer with was cut.")

    async def _news(self) -> None:
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        await waiting

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            if not one.done():
                one.set_result(None)


class Flights:
    """The answers of one process that are on their way, by the name of what they answer."""

    def __init__(self) -> None:
        self._flights: dict[str, Flight] = {}

    def running(self, key: str) -> Flight | None:
        return self._flights.get(key)

    def announce(self, key: str, flight: Flight) -> None:
        """Let those who ask the same from now on hear this one."""
        self._flights[key] = flight

    def land(self, key: str, flight: Flight, entry: Entry | None) -> None:
        """End a flight; who asks from now on finds the cache, or calls."""
        if self._flights.get(key) is flight:
            del self._flights[key]
        flight.end(entry)
