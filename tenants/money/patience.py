"""Give up on what has waited too long: one timer for all, since all wait equally long."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

Waiting = TypeVar("Waiting")


class Patience(Generic[Waiting]):
    """Watches one kind of wait of `seconds`; a timer for each would cost more than the wait."""

    def __init__(
        self,
        seconds: float,
        *,
        done: Callable[[Waiting], bool],
        give_up: Callable[[Waiting], None],
    ) -> None:
        self._seconds, self._done, self._give_up = seconds, done, give_up
        self._waiting: deque[tuple[float, Waiting]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def watch(self, waiting: Waiting, loop: asyncio.AbstractEventLoop) -> None:
        """Give up on `waiting` in `seconds`, unless it is done by then."""
        if loop is not self._loop:
            self._loop, self._timer = loop, None  # what another loop's timer watched went with it
            self._waiting.clear()
        queue = self._waiting
        while queue and self._done(queue[0][1]):
            queue.popleft()
        queue.append((loop.time() + self._seconds, waiting))
        if self._timer is None:
            self._timer = loop.call_later(self._seconds, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now, queue = loop.time(), self._waiting
        while queue and (queue[0][0] <= now or self._done(queue[0][1])):
            _, waiting = queue.popleft()
            if not self._done(waiting):
                self._give_up(waiting)
        self._timer = loop.call_at(queue[0][0], self._look, loop) if queue else None
