"""Let so many calls run at a time; those behind wait by tenant, few of them and not for long.

Tenants are served in turn, so that whoever asks most does not make the others wait (faults.md §8).
"""

import asyncio
import math
from collections import OrderedDict, deque

from llm_gateway.errors import BusyError

# How many may wait for each that may run: in a burst, and where a queue has come to stay. One that
# never empties only makes every answer late (as Nichols and Jacobson say of routers' queues).
_BURST, _STANDING = 2.0, 0.5
_STANDING_S = 0.1

Turn = asyncio.Future[None]


class Gate:
    """A counting gate. Whoever entered leaves exactly once."""

    __slots__ = ("_began", "_ended", "_longest_s", "_queues", "_waiting", "busy", "limit")

    def __init__(self, limit: int, *, longest_s: float) -> None:
        self.limit = limit
        self.busy = 0
        self._longest_s = longest_s
        self._queues: OrderedDict[int, deque[Turn]] = OrderedDict()  # the next to be served first
        self._waiting = 0
        # The queue, on the loop's clock. One that is gone for a moment goes on: calls that began
        # together end together, and leave nobody waiting just then.
        self._began, self._ended = 0.0, -math.inf

    async def enter(self, whose: int, *, deadline: float) -> None:
        """Take a slot for tenant `whose`.

        Raises BusyError when too many wait, the wait (loop's clock) is too long, or others who
        have fewer waiting need the place.
        """
        if self.busy < self.limit and not self._waiting:
            self.busy += 1
            return
        await self._wait(self._queued(whose), whose, deadline)

    def leave(self) -> None:
        self.busy -= 1
        self._admit()

    def check(self, whose: int) -> None:
        """Raise BusyError where `enter` would at once."""
        if self._full():
            self._loudest(whose)

    def _full(self) -> bool:
        if not self._waiting:
            return False
        standing = asyncio.get_running_loop().time() - self._began >= _STANDING_S
        return self._waiting >= max(1, int((_STANDING if standing else _BURST) * self.limit))

    def _loudest(self, whose: int) -> int:
        """Return the tenant with more in its queue than this one would have."""
        own = len(self._queues.get(whose, ()))
        loudest = max(self._queues, key=lambda each: len(self._queues[each]))
        if len(self._queues[loudest]) <= own + 1:
            raise BusyError("The provider is busy: too many requests wait for it already.")
        return loudest

    def _queued(self, whose: int) -> Turn:
        """Return a place in the tenant's queue, for which the longest queue may give one up."""
        loop = asyncio.get_running_loop()
        if self._full():
            loudest = self._loudest(whose)
            newest = self._queues[loudest][-1]
            self._remove(loudest, newest)
            newest.set_exception(BusyError("The provider is busy: others wait for it too."))
        if not self._waiting and loop.time() - self._ended >= _STANDING_S:
            self._began = loop.time()
        turn = loop.create_future()
        self._queues.setdefault(whose, deque()).append(turn)
        self._waiting += 1
        return turn

    async def _wait(self, turn: Turn, whose: int, deadline: float) -> None:
        loop = asyncio.get_running_loop()
        until = min(deadline, loop.time() + self._longest_s)
        try:
            # `wait` does not cancel what it waited for: only here is it decided who has the slot.
            await asyncio.wait((turn,), timeout=max(0.0, until - loop.time()))
        except asyncio.CancelledError:
            if not turn.done():
                self._remove(whose, turn)
            elif turn.exception() is None:
                self.leave()
            raise
        if not turn.done():
            self._remove(whose, turn)
            raise BusyError("The provider is busy: no slot became free in time.")
        turn.result()

    def _remove(self, whose: int, turn: Turn) -> None:
        queue = self._queues[whose]
        queue.remove(turn)
        self._waiting -= 1
        if not queue:
            del self._queues[whose]
        if not self._waiting:
            self._ended = asyncio.get_running_loop().time()

    def _admit(self) -> None:
        """Hand free slots to tenants in turn, each to its request that waited longest."""
        while self._waiting and self.busy < self.limit:
            whose, queue = next(iter(self._queues.items()))
            turn = queue[0]
            self._remove(whose, turn)
            if queue:
                self._queues.move_to_end(whose)
            self.busy += 1
            turn.set_result(None)
