"""Let so many calls run at a time; those behind wait by tenant, few of them and not for long.

Tenants are served in turn, so that whoever asks most does not make the others wait (faults.md §8).
"""

import asyncio
import math
from bisect import bisect_right
from collections import Counter, OrderedDict, deque

from llm_gateway.errors import BusyError

# How many may wait for each that may run: in a burst, and where a queue has come to stay. One that
# never empties only makes every answer late (as Nichols and Jacobson say of routers' queues), so
# there only as many wait as calls are soon done: within this part of the usual time, or so soon
# that nobody minds.
_BURST, _STANDING = 2.0, 0.5
_STANDING_S = 0.1
# One that is gone for no longer goes on: calls that began together end together and leave nobody
# waiting just then, and after a stall of the machine the same callers are there again.
_GONE_S = 1.0
_SOON, _SOON_S = 0.5, 0.05
_LATEST_COUNTS = 1 / 16

Turn = asyncio.Future[None]


class Gate:
    """A counting gate. Whoever entered leaves exactly once, for the same tenant."""

    __slots__ = (
        "_began",
        "_ended",
        "_longest_s",
        "_queues",
        "_running",
        "_shares",
        "_usual_s",
        "_waiting",
        "limit",
    )

    def __init__(self, limit: int, *, longest_s: float) -> None:
        self.limit = limit
        self._longest_s = longest_s
        # Since when each runs. The oldest is taken for the one that leaves: which it is makes no
        # difference to how long they take on average.
        self._running: deque[float] = deque()
        self._usual_s = 0.0
        self._queues: OrderedDict[int, deque[Turn]] = OrderedDict()  # the next to be served first
        self._waiting = 0
        self._shares: Counter[int] = Counter()  # running and waiting, by tenant
        # The queue, on the loop's clock.
        self._began, self._ended = 0.0, -math.inf

    @property
    def busy(self) -> int:
        return len(self._running)

    async def enter(self, whose: int, *, deadline: float) -> None:
        """Take a slot for tenant `whose`.

        Raises BusyError when too many wait, the wait (loop's clock) is too long, or others who
        have fewer waiting need the place.
        """
        if self._free:
            self._start(whose)
            return
        await self._wait(self._queued(whose), whose, deadline)

    def leave(self, whose: int) -> None:
        took = self._now() - self._running.popleft()
        self._usual_s += (took - self._usual_s) * (_LATEST_COUNTS if self._usual_s else 1)
        self._forget(whose)
        while self._waiting and self.busy < self.limit:
            self._admit()

    def check(self, whose: int) -> None:
        """Raise BusyError where `enter` would at once."""
        if not self._free and self._waiting >= self._places():
            self._check_share(whose)

    @property
    def _free(self) -> bool:
        return self.busy < self.limit and not self._waiting

    def _places(self) -> int:
        """Return how many may wait now, whoever they are."""
        now = self._now()
        if not self._stands(now) or now - self._began < _STANDING_S:
            return max(1, int(_BURST * self.limit))
        left_s = max(_SOON * self._usual_s, _SOON_S)
        soon_done = bisect_right(self._running, now - max(0.0, self._usual_s - left_s))
        return min(soon_done, max(1, int(_STANDING * self.limit)))

    def _stands(self, now: float) -> bool:
        return self._waiting > 0 or now - self._ended < _GONE_S

    def _check_share(self, whose: int) -> None:
        """Let the tenant wait nevertheless where another has more running and waiting."""
        if max(self._shares.values()) <= self._shares.get(whose, 0) + 1:
            raise BusyError("The provider is busy: too many requests wait for it already.")
        if self._waiting >= int(_BURST * self.limit):
            self._loudest(whose)

    def _loudest(self, whose: int) -> int:
        """Return the tenant with more in its queue than this one would have."""
        own = len(self._queues.get(whose, ()))
        loudest = max(self._queues, key=lambda each: len(self._queues[each]))
        if len(self._queues[loudest]) <= own + 1:
            raise BusyError("The provider is busy: too many requests wait for it already.")
        return loudest

    def _queued(self, whose: int) -> Turn:
        """Return a place in the tenant's queue, for which the longest queue may give one up."""
        self.check(whose)
        now = self._now()
        if self._waiting >= int(_BURST * self.limit):
            loudest = self._loudest(whose)
            newest = self._queues[loudest][-1]
            self._remove(loudest, newest)
            newest.set_exception(BusyError("The provider is busy: others wait for it too."))
        if not self._stands(now):
            self._began = now
        turn: Turn = asyncio.get_running_loop().create_future()
        self._queues.setdefault(whose, deque()).append(turn)
        self._waiting += 1
        self._shares[whose] += 1
        return turn

    async def _wait(self, turn: Turn, whose: int, deadline: float) -> None:
        until = min(deadline, self._now() + self._longest_s)
        try:
            # `wait` does not cancel what it waited for: only here is it decided who has the slot.
            await asyncio.wait((turn,), timeout=max(0.0, until - self._now()))
        except asyncio.CancelledError:
            if not turn.done():
                self._remove(whose, turn)
            elif turn.exception() is None:
                self.leave(whose)
            raise
        if not turn.done():
            self._remove(whose, turn)
            raise BusyError("The provider is busy: no slot became free in time.")
        turn.result()

    def _remove(self, whose: int, turn: Turn) -> None:
        queue = self._queues[whose]
        queue.remove(turn)
        self._waiting -= 1
        self._forget(whose)
        if not queue:
            del self._queues[whose]
        if not self._waiting:
            self._ended = self._now()

    def _admit(self) -> None:
        """Hand a slot to the next tenant's request that waited longest."""
        whose, queue = next(iter(self._queues.items()))
        turn = queue[0]
        self._remove(whose, turn)
        if queue:
            self._queues.move_to_end(whose)
        self._start(whose)
        turn.set_result(None)

    def _start(self, whose: int) -> None:
        self._running.append(self._now())
        self._shares[whose] += 1

    def _forget(self, whose: int) -> None:
        self._shares[whose] -= 1
        if not self._shares[whose]:
            del self._shares[whose]

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
