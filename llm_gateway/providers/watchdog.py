"""Say when an answer takes too long; only time spent waiting for the provider counts.

One timer handle per answer, armed again lazily: an event costs an assignment, not a timer.
"""

import asyncio
from collections.abc import Callable

from llm_gateway.errors import DeadlineError, UpstreamError, UpstreamTimeoutError
from llm_gateway.types import Timeouts

# Pings keep a stream alive, but not for longer than this without content (faults.md §3).
LONGEST_WITHOUT_CONTENT_S = 120.0
# While nobody waits the next look is at least this far off, so that no time left does not spin.
_FLOOR_S = 0.05


class Watchdog:
    """Watches one answer from the moment its request is on the wire.

    Before the first content `first_token` bounds the wait, after it `idle` does; an answer that
    is not streamed has the deadline alone. `deadline` is on the loop's clock.
    """

    __slots__ = (
        "_barren",
        "_content",
        "_deadline",
        "_expire",
        "_handle",
        "_loop",
        "_quiet",
        "_since",
        "_streamed",
        "_timeouts",
    )

    def __init__(self, timeouts: Timeouts, deadline: float, *, streamed: bool) -> None:
        self._loop = asyncio.get_running_loop()
        self._timeouts = timeouts
        self._deadline = deadline
        self._streamed = streamed
        self._content = False
        self._barren = 0.0  # seconds waited since the last content
        self._quiet = 0.0  # seconds waited since the last complete event
        self._since: float | None = None  # when the present wait began
        self._handle: asyncio.TimerHandle | None = None
        self._expire: Callable[[UpstreamError], None] | None = None

    def start(self, expire: Callable[[UpstreamError], None]) -> None:
        """Begin to watch; `expire` is called once, with the error that ends the answer."""
        self._expire = expire
        self._since = self._loop.time()
        self._arm()

    def stop(self) -> None:
        self._expire = None
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def tighten(self, deadline: float) -> None:
        self._deadline = min(self._deadline, deadline)
        self._arm()

    def wait_begins(self) -> None:
        self._since = self._loop.time()

    def wait_ends(self) -> None:
        if self._since is not None:
            waited = self._loop.time() - self._since
            self._since = None
            self._barren += waited
            self._quiet += waited

    def progress(self) -> None:
        """Note a complete event; bytes that complete nothing are not progress."""
        self._quiet = 0.0

    def content_seen(self) -> None:
        """Note an event with content or reasoning."""
        self._quiet = self._barren = 0.0
        if not self._content:
            self._content = True
            if self._timeouts.idle < self._timeouts.first_token:
                self._arm()

    def _due(self, now: float) -> float:
        if not self._streamed:
            return self._deadline
        waiting = 0.0 if self._since is None else now - self._since
        if self._content:
            left = min(self._timeouts.idle - self._quiet, LONGEST_WITHOUT_CONTENT_S - self._barren)
        else:
            left = self._timeouts.first_token - self._barren
        return min(self._deadline, now + left - waiting)

    def _arm(self) -> None:
        if self._expire is None:
            return
        if self._handle is not None:
            self._handle.cancel()
        self._handle = self._loop.call_at(self._due(self._loop.time()), self._check)

    def _check(self) -> None:
        if self._expire is None:
            return
        now = self._loop.time()
        due = self._due(now)
        # While nobody waits the limits stand still: the caller is slow, not the provider.
        if now < self._deadline and (self._since is None or now < due):
            self._handle = self._loop.call_at(max(due, now + _FLOOR_S), self._check)
            return
        expire = self._expire
        self.stop()
        expire(self._error(now))

    def left(self) -> float:
        """Return how many seconds the present wait may still last."""
        now = self._loop.time()
        return self._due(now) - now

    def error(self) -> UpstreamError:
        """Return what to raise once nothing is left."""
        return self._error(self._loop.time())

    def _error(self, now: float) -> UpstreamError:
        if now >= self._deadline or self._due(now) == self._deadline:
            return DeadlineError("The deadline of the request passed.")
        if not self._content:
            return UpstreamTimeoutError("The provider sent no first token in time.")
        return UpstreamTimeoutError("The provider stopped sending.")
