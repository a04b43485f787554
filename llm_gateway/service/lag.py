"""Measure how late the event loop is: what is ready to run waits for all that was ready before."""

import asyncio

LOOK_S = 0.025
BLOCKED_S = 1.0  # nobody was served
# What is late, and for how long without a break: a rush of some hundred callers is no overload.
LATE_S, FOR_S = 0.1, 1.0


class Lag:
    """By how many seconds the loop was late when it was last looked at."""

    def __init__(self) -> None:
        self.last = self._worst = 0.0
        self._late_since: float | None = None
        self.blocked_at: float | None = None  # when it was last found to have been
        self.late = False  # for so long that it is no passing burst: we do not keep up

    def taken(self) -> float:
        """Return the worst since it was last asked for."""
        worst, self._worst = max(self._worst, self.last), 0.0
        return worst

    def seen(self, lag_s: float, now: float) -> None:
        """Take in that a look was late by so much."""
        self.last, self._worst = lag_s, max(self._worst, lag_s)
        if lag_s > BLOCKED_S:
            self.blocked_at = now
        if lag_s <= LATE_S:
            self._late_since = None
        elif self._late_since is None:
            self._late_since = now
        self.late = self._late_since is not None and now - self._late_since >= FOR_S

    async def watch(self) -> None:
        """Look for ever."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + LOOK_S
            await asyncio.sleep(LOOK_S)
            now = loop.time()
            self.seen(max(0.0, now - due), now)
