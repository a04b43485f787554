"""End what runs on behalf of a tenant, key, model or agent run that was stopped (security.md §4).

Each process looks when configuration changed, as it polls that anyway: one query for all requests
that run, none in between. What is ended was begun, so it is settled like what a caller left.
"""

import asyncio
import logging
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING

from django.db import Error

from llm_gateway.errors import (
    GatewayError,
    InvalidApiKeyError,
    ModelNotFoundError,
    PermissionDeniedError,
)
from llm_gateway.service.runtime import Runtime
from tenants.auth import in_force
from tenants.money.stopped import stopped_runs

if TYPE_CHECKING:
    from llm_gateway.service.exchange import Exchange

LOOK_S = 0.25

log = logging.getLogger(__name__)


@cache
def stops(runtime: Runtime) -> "Stops":
    return Stops(runtime)


class Stops:
    """The requests of one process; it watches while there are any."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._running: set[Exchange] = set()
        self._watch: asyncio.Task[None] | None = None

    def join(self, exchange: "Exchange") -> None:
        self._running.add(exchange)
        if self._watch is None or self._watch.done():
            self._watch = asyncio.create_task(self._look_again(), name="stops watch")

    def leave(self, exchange: "Exchange") -> None:
        self._running.discard(exchange)

    async def _look_again(self) -> None:
        looked_at = self._runtime.snapshot.current.version
        while self._running:
            await asyncio.sleep(LOOK_S)
            version = self._runtime.snapshot.current.version
            if version != looked_at and await self._end_stopped(list(self._running)):
                looked_at = version

    async def _end_stopped(self, running: Iterable["Exchange"]) -> bool:
        """End what may not go on; return whether everyone could be looked at."""
        configuration = self._runtime.snapshot.current.configuration
        enabled = {one.id for models in configuration.models.values() for one in models}
        callers = [exchange.inbound.caller for exchange in running]
        key_ids = {caller.key_id for caller in callers if caller.key_id is not None}
        tenant_ids = {caller.tenant_id for caller in callers}
        named = {(e.inbound.caller.tenant_id, e.inbound.controls.run or "") for e in running}
        try:
            keys, tenants = await self._runtime.reader.read(lambda: in_force(key_ids, tenant_ids))
            stopped = await self._runtime.reader.read(lambda: stopped_runs(named))
        except Error:
            log.warning("Whether a key was stopped cannot be looked up: asked again at once")
            return False
        for exchange in running:
            caller = exchange.inbound.caller
            error: GatewayError | None = None
            if caller.tenant_id not in tenants:
                error = InvalidApiKeyError(f"The tenant {caller.tenant} was stopped.")
            elif caller.key_id is not None and caller.key_id not in keys:
                error = InvalidApiKeyError("The API key was stopped.")
            elif (caller.tenant_id, exchange.inbound.controls.run) in stopped:
                error = PermissionDeniedError("The run was stopped.")
            elif exchange.serving not in {None, *enabled}:
                error = ModelNotFoundError("The model was stopped.", param="model")
            if error is not None:
                exchange.stop(error)
        return True
