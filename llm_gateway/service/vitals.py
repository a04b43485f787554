"""Know whether this process makes progress, and whether it should get traffic (faults.md §11).

A queue that holds something and does not move is stuck, but only if the database answers others
meanwhile: what waits for the database waits rightly, and a restart would help nobody.
"""

import asyncio
import logging
import os
from functools import cache

from django.conf import settings
from django.db import Error, connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from msgspec import Struct

from llm_gateway.service.runtime import Runtime

LOOK_S = 0.5
# To be told of within half a minute.
STUCK_S = 25.0
# The database is asked twice a second; whoever gets no answer for so long has none.
SILENT_S = 3.0
# For so long a process that was blocked is not trusted with more.
BLOCKED_FOR_S = 5.0
MIGRATIONS_S = 10.0
LEAST_FREE_BYTES = 32 * 2**20

log = logging.getLogger(__name__)


class Signs(Struct, frozen=True, kw_only=True):
    """What is seen of a process; times in seconds, None where there is nothing to tell."""

    database_silent_s: float = 0.0
    writer_unmoved_s: float = 0.0
    recorder_unmoved_s: float = 0.0
    blocked_s_ago: float | None = None
    migrated: bool = True
    free_bytes: int = LEAST_FREE_BYTES
    ledger_online: bool = True
    request_log_online: bool = True
    limits_away: bool = False


class Health(Struct, frozen=True):
    """What follows: why it should be restarted, why it should get nothing, what is worse now."""

    stuck: list[str]
    unready: list[str]
    degraded: list[str]


class Queue:
    """One queue: for how long it has held something without a step, while steps were possible."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._steps = 0

    def seen(self, *, waits: bool, steps: int, possible: bool, now: float) -> float:
        moved = steps != self._steps
        self._steps = steps
        if moved or not waits or not possible:
            self._since = None
        elif self._since is None:
            self._since = now
        return 0.0 if self._since is None else now - self._since


def health(signs: Signs, stuck_s: float = STUCK_S) -> Health:
    """Judge what is seen."""
    stuck = [
        *(["ledger writer"] if signs.writer_unmoved_s >= stuck_s else []),
        *(["request log"] if signs.recorder_unmoved_s >= stuck_s else []),
    ]
    blocked = signs.blocked_s_ago is not None and signs.blocked_s_ago <= BLOCKED_FOR_S
    unready = [
        *stuck,
        *(["event loop"] if blocked else []),
        *([] if signs.migrated else ["migrations"]),
        *(["disk"] if signs.free_bytes < LEAST_FREE_BYTES else []),
    ]
    degraded = [
        *(["database"] if signs.database_silent_s >= SILENT_S else []),
        *([] if signs.ledger_online else ["ledger"]),
        *([] if signs.request_log_online else ["request log"]),
        *(["redis"] if signs.limits_away else []),
    ]
    return Health(stuck, unready, degraded)


@cache
def vitals(runtime: Runtime) -> "Vitals":
    return Vitals(runtime)


class Vitals:
    """The signs of this process, looked at twice a second."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._writer, self._recorder = Queue(), Queue()
        self._look_at_migrations = 0.0
        self._migrated = True
        self._looking: asyncio.Task[None] | None = None
        self._known: set[tuple[str, str]] = set()
        self.health = Health([], [], [])

    async def watch(self) -> None:
        """Look for ever."""
        while True:
            try:
                self.health = health(self._signs(self._runtime.clock()))
            except Exception:
                log.exception("The signs of this process cannot be read")
            await asyncio.sleep(LOOK_S)

    def _signs(self, now: float) -> Signs:
        runtime = self._runtime
        silent_s = now - runtime.snapshot.answered_at
        answers = silent_s < SILENT_S
        ledger, recorder = runtime.ledger, runtime.recorder
        if answers and now >= self._look_at_migrations:
            self._look_at_migrations = now + MIGRATIONS_S
            # Beside us: who looks at the database for long is blind for all else.
            self._looking = asyncio.create_task(self._look_up_migrations(), name="migrations")
        blocked_at = runtime.lag.blocked_at
        return Signs(
            database_silent_s=silent_s,
            writer_unmoved_s=self._writer.seen(
                waits=ledger.busy, steps=ledger.steps, possible=answers, now=now
            ),
            recorder_unmoved_s=self._recorder.seen(
                waits=bool(recorder.waiting), steps=recorder.steps, possible=answers, now=now
            ),
            blocked_s_ago=None if blocked_at is None else max(0.0, now - blocked_at),
            migrated=self._migrated,
            free_bytes=free_bytes(),
            ledger_online=ledger.online,
            request_log_online=not recorder.away,
            limits_away=runtime.limits.book.state == "away",
        )

    async def _look_up_migrations(self) -> None:
        try:
            if not self._known:
                self._known = await asyncio.to_thread(_on_disk)
            applied = await self._runtime.reader.read(_applied)
        except Error:
            return
        self._migrated = self._known <= applied


def free_bytes() -> int:
    """Return how much may still be written where we keep what the database has not yet."""
    found = os.statvfs(settings.MOBIUS_HOME)
    return found.f_bavail * found.f_frsize


def _on_disk() -> set[tuple[str, str]]:
    return set(MigrationLoader(None).disk_migrations)


def _applied() -> set[tuple[str, str]]:
    return set(MigrationRecorder(connection).applied_migrations())
