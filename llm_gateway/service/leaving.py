"""Let a process go without cutting anybody (faults.md §10).

At once /readyz says so; for `pre_stop` all is served as ever, so that balancers notice. Then nobody
new is taken, and what runs has `drain` to end. What is left is ended as a stop ends it, settled.
Asked again, it is to be gone now.
"""

import asyncio
from contextlib import suppress

from llm_gateway.errors import ShutdownError
from llm_gateway.service.connections import connections
from llm_gateway.service.runtime import Runtime
from llm_gateway.service.stops import stops

# Who has just connected has this long to send what it wants.
LEAST_S = 0.25
# What was ended settles within this time.
SETTLE_S = 3.0
# Whoever is sent away comes back spread over this time.
BACK_WITHIN_S = 10.0
LOOK_S = 0.05


class Leaving:
    """The way out of one process."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._settings = runtime.snapshot.current.configuration.settings
        self._now = asyncio.Event()
        self._empty = asyncio.Event()
        runtime.draining = True

    @property
    def hurried(self) -> bool:
        return self._now.is_set()

    def hurry(self) -> None:
        self._now.set()

    async def noticed(self) -> None:
        """Return when balancers have had the time to send new requests elsewhere."""
        await self._wait(self._now, self._settings.pre_stop_seconds)

    async def emptied(self) -> None:
        """Return when nothing runs any more; to be called once nobody new can connect."""
        until = self._runtime.clock() + self._settings.drain_seconds
        await self._wait(self._now, LEAST_S)
        away = connections(self._runtime).send_away(self._hint_s)
        sending_away = asyncio.create_task(away, name="sending away")
        await self._until_empty(until)
        if not self._is_empty():
            self._end_all()
            await self._until_empty(self._runtime.clock() + SETTLE_S, hurried=True)
        sending_away.cancel()

    def _is_empty(self) -> bool:
        runs = self._runtime.in_flight or stops(self._runtime).running
        return not runs and not connections(self._runtime).open

    async def _until_empty(self, until: float, *, hurried: bool = False) -> None:
        clock = self._runtime.clock
        while not self._is_empty() and clock() < until and (hurried or not self.hurried):  # noqa: ASYNC110 - nobody tells of all three
            await asyncio.sleep(LOOK_S)

    def _end_all(self) -> None:
        self._runtime.closing = True
        stops(self._runtime).end_all(
            lambda: ShutdownError("The server is shutting down.", retry_after_s=1)
        )

    def _hint_s(self) -> float:
        return self._runtime.rng.uniform(0, BACK_WITHIN_S)

    async def _wait(self, event: asyncio.Event, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(event.wait(), seconds)
