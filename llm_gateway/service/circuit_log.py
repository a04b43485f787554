"""Tell of every change of a circuit: in the log, in the metrics, and in a table behind the answer.

A change that a fleet decided is told by the process that was first with it; the others only show.
"""

import asyncio
import logging
import os
import socket
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from django.db import Error

from llm_gateway import metrics
from llm_gateway.models import CircuitChange
from llm_gateway.resilience.breaker import Transition
from llm_gateway.types import Deployment
from tenants.reader import Reader

WRITE_EVERY_S = 0.3
MOST_WAITING = 1000  # of a database that is away; then the oldest go

log = logging.getLogger(__name__)


class CircuitLog:
    """Changes of one process on their way to the database."""

    def __init__(self, reader: Reader, wall_clock: Callable[[], float]) -> None:
        self._reader, self._wall_clock = reader, wall_clock
        self._process = f"{socket.gethostname()}:{os.getpid()}"
        self._waiting: deque[CircuitChange] = deque(maxlen=MOST_WAITING)

    def tell(self, deployment: Deployment, change: Transition) -> None:
        """Take in a change that this process decided."""
        provider, model = deployment.provider.name, deployment.name
        metrics.breaker_changed(provider, model, change.after)
        metrics.breaker_counted(provider, model, change.after)
        _say(deployment, change)
        self._waiting.append(
            CircuitChange(
                at=datetime.fromtimestamp(self._wall_clock(), UTC),
                deployment_id=deployment.id,
                provider=provider,
                model=model,
                before=change.before,
                after=change.after,
                reason=change.reason[:300],
                error=change.error,
                source=change.source,
                process=self._process[:128],
            )
        )

    async def write_for_ever(self) -> None:
        while True:
            await asyncio.sleep(WRITE_EVERY_S)
            await self.write()

    async def write(self) -> None:
        """Write what waits; while the database is away it waits on."""
        rows = list(self._waiting)
        if not rows:
            return
        try:
            await self._reader.read(lambda: CircuitChange.objects.bulk_create(rows))
        except Error:
            return
        for row in rows:
            if self._waiting and self._waiting[0] is row:
                self._waiting.popleft()


def show(deployment: Deployment, change: Transition) -> None:
    """Show a change that another process decided."""
    metrics.breaker_changed(deployment.provider.name, deployment.name, change.after)
    _say(deployment, change)


def forget_changes(now: datetime, months: int) -> None:
    """Let changes go as the request log's rows do."""
    CircuitChange.objects.filter(at__lt=now - timedelta(days=31 * months)).delete()


def _say(deployment: Deployment, change: Transition) -> None:
    name = f"{deployment.provider.name}/{deployment.name}"
    log.warning("Circuit of %s: %s → %s (%s)", name, change.before, change.after, change.reason)
