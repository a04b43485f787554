"""End what runs on behalf of a tenant, key, model or agent run that was stopped (security.md §4).

Each process looks when configuration changed, as it polls that anyway: one query for all requests
that run, none in between. What is ended was begun, so it is settled like what a caller left; a
request whose body is still on its way is refused. After a freeze of the process, what runs is held
again (`lapses`).
"""

import asyncio
import logging
from asyncio import CancelledError
from collections.abc import Awaitable, Callable
from functools import cache
from typing import Protocol
from uuid import UUID

from django.db import Error

from llm_gateway.errors import (
    GatewayError,
    InvalidApiKeyError,
    ModelNotFoundError,
    PermissionDeniedError,
)
from llm_gateway.service.inflight import InFlight, arriving
from llm_gateway.service.lapses import hold_again
from llm_gateway.service.runtime import Runtime
from tenants.auth import in_force
from tenants.money.stopped import stopped_runs
from tenants.money.types import Hold
from tenants.types import Caller

LOOK_S = 0.25

log = logging.getLogger(__name__)


@cache
def stops(runtime: Runtime) -> "Stops":
    return Stops(runtime)


class Stoppable(Protocol):
    """A request that may be stopped: who asks, for which run, by which deployment if any yet."""

    @property
    def request_id(self) -> UUID: ...
    @property
    def started(self) -> float: ...
    @property
    def caller(self) -> Caller: ...
    @property
    def run(self) -> str | None: ...
    @property
    def serving(self) -> int | None: ...
    @property
    def holds(self) -> tuple[Hold, ...]: ...

    def stop(self, error: GatewayError) -> None: ...
    def describe(self, now: float) -> InFlight: ...


class Arriving:
    """A request whose body is still on its way; to be made by the task that reads it."""

    __slots__ = ("_reader", "caller", "endpoint", "request_id", "run", "started", "stopped")
    serving = None
    holds: tuple[Hold, ...] = ()

    def __init__(
        self, caller: Caller, run: str | None, request_id: UUID, endpoint: str, started: float
    ) -> None:
        self.caller, self.run = caller, run
        self.request_id, self.endpoint, self.started = request_id, endpoint, started
        self.stopped: GatewayError | None = None
        self._reader = asyncio.current_task()

    def stop(self, error: GatewayError) -> None:
        if self.stopped is None and self._reader is not None:
            self.stopped = error
            self._reader.cancel()

    def describe(self, now: float) -> InFlight:
        return arriving(self, now)

    def check(self) -> None:
        """Raise why the reading was cancelled, if it was stopped."""
        if self.stopped is not None and self._reader is not None:
            self._reader.uncancel()
            raise self.stopped from None

    def arrived(self) -> None:
        """Say that from here on the request itself is there to be stopped."""
        self._reader = None


class Stops:
    """The requests of one process; it watches while there are any."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._running: set[Stoppable] = set()
        self.by_tenant: dict[int, int] = {}  # how many run of each that has any
        self._watch: asyncio.Task[None] | None = None
        self._holding: asyncio.Task[None] | None = None
        loop = asyncio.get_running_loop()
        runtime.ledger.on_lapse(lambda: loop.call_soon_threadsafe(self._hold_again))

    @property
    def running(self) -> int:
        return len(self._running)

    def all(self) -> list[Stoppable]:
        return list(self._running)

    def end_all(self, why: Callable[[], GatewayError]) -> None:
        """End all that runs here, each with an error of its own."""
        for one in list(self._running):
            one.stop(why())

    async def read(self, one: Arriving, body: Awaitable[bytes]) -> bytes:
        """Return the body. Raises why the request was stopped while it came."""
        self.join(one)
        try:
            return await body
        except CancelledError:
            one.check()
            raise
        finally:
            one.arrived()
            self.leave(one)

    def join(self, one: Stoppable) -> None:
        self._running.add(one)
        tenant_id = one.caller.tenant_id
        self.by_tenant[tenant_id] = self.by_tenant.get(tenant_id, 0) + 1
        if self._watch is None or self._watch.done():
            self._watch = asyncio.create_task(self._look_again(), name="stops watch")

    def leave(self, one: Stoppable) -> None:
        if one not in self._running:
            return
        self._running.remove(one)
        tenant_id = one.caller.tenant_id
        self.by_tenant[tenant_id] -= 1
        if not self.by_tenant[tenant_id]:
            del self.by_tenant[tenant_id]

    def _hold_again(self) -> None:
        again = hold_again(self._runtime.ledger, list(self._running))
        self._holding = asyncio.create_task(again, name="hold again")

    async def _look_again(self) -> None:
        looked_at = self._runtime.snapshot.current.version
        while self._running:
            await asyncio.sleep(LOOK_S)
            version = self._runtime.snapshot.current.version
            if version != looked_at and await self._end_stopped():
                looked_at = version

    async def _end_stopped(self) -> bool:
        """End what may not go on; return whether everyone could be looked at."""
        configuration = self._runtime.snapshot.current.configuration
        enabled = {model.id for models in configuration.models.values() for model in models}
        asked = {_who(one) for one in self._running}
        key_ids = {key_id for _, key_id, _ in asked if key_id is not None}
        tenant_ids = {tenant_id for tenant_id, _, _ in asked}
        named = {(tenant_id, run or "") for tenant_id, _, run in asked}
        try:
            keys, tenants = await self._runtime.reader.read(lambda: in_force(key_ids, tenant_ids))
            stopped = await self._runtime.reader.read(lambda: stopped_runs(named))
        except Error:
            log.warning("Whether a key was stopped cannot be looked up: asked again at once")
            return False
        # Not those that were asked for but those that run now: a body may have arrived meanwhile.
        for one in [one for one in self._running if _who(one) in asked]:
            caller = one.caller
            error: GatewayError | None = None
            if caller.tenant_id not in tenants:
                error = InvalidApiKeyError(f"The tenant {caller.tenant} was stopped.")
            elif caller.key_id is not None and caller.key_id not in keys:
                error = InvalidApiKeyError("The API key was stopped.")
            elif (caller.tenant_id, one.run) in stopped:
                error = PermissionDeniedError("The run was stopped.")
            elif one.serving not in {None, *enabled}:
                error = ModelNotFoundError("The model was stopped.", param="model")
            if error is not None:
                one.stop(error)
        return True


def _who(one: Stoppable) -> tuple[int, int | None, str | None]:
    return one.caller.tenant_id, one.caller.key_id, one.run
