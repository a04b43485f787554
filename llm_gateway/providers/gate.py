"""Let so many calls run at a time; those behind wait in order, few of them and not for long."""

import asyncio
from collections import deque

from llm_gateway.errors import BusyError

# How many may wait for each that may run (faults.md §8).
_WAITING_PER_SLOT = 2


class Gate:
    """A counting gate. Whoever entered leaves exactly once."""

    __slots__ = ("_longest_s", "_waiting", "busy", "limit")

    def __init__(self, limit: int, *, longest_s: float) -> None:
        self.limit = limit
        self.busy = 0
        self._longest_s = longest_s
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def enter(self, *, deadline: float) -> None:
        """Take a slot; BusyError when the queue is full or the wait (loop's clock) too long."""
        if self.busy < self.limit and not self._waiting:
            self.busy += 1
            return
        if len(self._waiting) >= _WAITING_PER_SLOT * self.limit:
            raise BusyError("The provider is busy: too many requests wait for it already.")
        await self._wait(deadline)

    def leave(self) -> None:
        self.busy -= 1
        self._admit()

    async def _wait(self, deadline: float) -> None:
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        self._waiting.append(turn)
        until = min(deadline, loop.time() + self._longest_s)
        try:
            # `wait` does not cancel what it waited for: only here is it decided who has the slot.
            await asyncio.wait((turn,), timeout=max(0.0, until - loop.time()))
        except asyncio.CancelledError:
            if turn.done():
                self.leave()
            else:
                self._waiting.remove(turn)
            raise
        if not turn.done():
            self._waiting.remove(turn)
            raise BusyError("The provider is busy: no slot became free in time.")

    def _admit(self) -> None:
        """Hand free slots to those who waited longest."""
        while self._waiting and self.busy < self.limit:
            self.busy += 1
            self._waiting.popleft().set_result(None)
