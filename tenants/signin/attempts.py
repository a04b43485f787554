"""Count attempts by name and by address, so that nobody guesses at length; bounded memory.

Each process counts for itself: nobody is kept out because Redis is away.
"""

import threading
import time
from collections.abc import Callable

from msgspec import Struct

KEPT, WINDOW_S = 10_000, 300


class _Window(Struct):
    until: float
    count: int = 0


class Attempts:
    """At most so many attempts of each within a window that begins with the first."""

    def __init__(self, most: int, window_s: float, clock: Callable[[], float]) -> None:
        self._most, self._window_s, self._clock = most, window_s, clock
        self._windows: dict[str, _Window] = {}
        self._lock = threading.Lock()

    def begin(self, who: str) -> float:
        """Count one attempt; return the seconds to wait for it, 0 when it may be made."""
        with self._lock:
            now = self._clock()
            self._forget(now)
            window = self._windows.setdefault(who, _Window(now + self._window_s))
            if window.count >= self._most:
                return window.until - now
            window.count += 1
            return 0.0

    def forgive(self, who: str) -> None:
        """Take one back: it was right."""
        with self._lock:
            if window := self._windows.get(who):
                window.count -= 1

    def _forget(self, now: float) -> None:
        # All windows are equally long: the first begun is the first to end, and the one to lose.
        while self._windows:
            first = next(iter(self._windows))
            if self._windows[first].until > now and len(self._windows) < KEPT:
                return
            del self._windows[first]


# Of this process: by name typed or person signed in, and by where they come from.
names = Attempts(10, WINDOW_S, time.monotonic)
addresses = Attempts(30, WINDOW_S, time.monotonic)
