"""The one database thread of a process: it alone writes buckets, holds and entries.

What has gathered is one group and one flush; it never waits for company. What a lost connection
left unknown is run again if it is a settle, and given back if it is an admission.
"""

import asyncio
import os
import queue
import random
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from msgspec import Struct

from tenants.money.careful import Chained, apply_carefully
from tenants.money.chain import Head, link
from tenants.money.decide import Result
from tenants.money.fast import results as fast_results
from tenants.money.fast import suppose
from tenants.money.ops import Admit, Expire, Op, Release, Settle, bound_places
from tenants.money.places import Places
from tenants.money.spool import Spool
from tenants.money.store import LostError, Store, StoreError, SurpriseError
from tenants.money.types import Charges, LedgerUnavailableError, Refusal, Settled

log = structlog.get_logger(__name__)

GROUP = 64
BEAT_S = 5.0
LEASE_S = 30.0
SWEEP_S = 5.0
CHECKPOINT_S = 10.0
_REFUSING_S = 0.2
_SWEPT_AT_ONCE = 64
_DEFAULT_CHARGES = Charges()
_FIRST_DELAY_S, _LONGEST_DELAY_S = 0.1, 2.0


class Pending(Struct, eq=False):
    """An operation on its way, and who waits for it. Abandoned ones are not started."""

    op: Op
    future: "asyncio.Future[Any] | None" = None
    abandoned: bool = False


Answer = Result | Exception
Delivery = tuple[Pending, Answer]


class Writer:
    """Run groups in a thread of its own. `deliver` is called on the loop that waits."""

    def __init__(
        self,
        store: Store,
        load_key: Callable[[], bytes],
        deliver: Callable[[list[Delivery]], None],
        *,
        spool: Spool | None = None,
        charges: Charges = _DEFAULT_CHARGES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._load_key = load_key
        self._deliver = deliver
        self._spool = spool
        self._charges = charges
        self._clock = clock
        self._queue: queue.SimpleQueue[Pending | None] = queue.SimpleQueue()
        self._places = Places()
        self._thread = threading.Thread(target=self._run, name="mobius-ledger", daemon=True)
        self._chained: Chained | None = None
        self._head = Head()
        self._again: list[Pending] = []
        self._seen: dict[UUID, int] = {}
        self._refusing: dict[int, float] = {}
        self._due = {self._beat: 0.0, self._checkpoint: 0.0, self._sweep: 0.0}
        self._beating_since = 0.0
        self._last_beat = 0.0
        self._database_now = datetime(1970, 1, 1, tzinfo=UTC)
        self._database_now_at = 0.0
        self._stopping = False
        self._busy_since: float | None = None
        self.online = True  # until the first connection fails

    # --- called from any thread

    def start(self) -> None:
        # With a busy event loop the thread waits for the interpreter lock at every round trip.
        sys.setswitchinterval(min(sys.getswitchinterval(), 0.0005))
        self._thread.start()

    def submit(self, pending: Pending) -> None:
        self._queue.put(pending)

    def seen(self, hold_id: UUID, output_units: int) -> None:
        self._seen[hold_id] = output_units

    @property
    def waiting(self) -> int:
        return self._queue.qsize()

    def stalled_s(self) -> float:
        """Return for how long the running call has had no answer."""
        since = self._busy_since
        return 0.0 if since is None else self._clock() - since

    def cut(self) -> None:
        """Break a call that hangs, so that the thread can connect anew."""
        self._store.cut()

    def stop(self, timeout_s: float = 10.0) -> None:
        """Write what is queued, then end the thread."""
        self._stopping = True
        self._queue.put(None)
        self._thread.join(timeout_s)

    # --- the thread

    def _run(self) -> None:
        delay = _FIRST_DELAY_S
        while not (self._stopping and self._queue.empty()):
            try:
                if self._chained is None or not self.online:
                    self._connect()
                    delay = _FIRST_DELAY_S
                self._work(self._take())
                self._tick()
            except Exception as error:  # noqa: BLE001 - the thread outlives whatever the database does
                self._lost(error)
                self._refuse_for(delay * random.uniform(0.8, 1.2))  # noqa: S311 - jitter
                delay = min(delay * 2, _LONGEST_DELAY_S)
        self._retire()

    def _connect(self) -> None:
        self._busy_since = self._clock()
        try:
            self._store.open()
            if self._chained is None:
                key = self._load_key()
                self._chained = Chained(
                    self._store.register(socket.gethostname(), os.getpid()), key
                )
            # A lost commit may or may not have happened: the database knows.
            self._head = self._store.head(self._chained.writer_id)
            self._beating_since = self._last_beat = self._clock()
            self._beat()
            if self._spool is not None:
                self._spool.replay(self._replay)
        finally:
            self._busy_since = None
        if not self.online:
            log.info("ledger.online")
        self.online = True

    def _lost(self, error: Exception) -> None:
        if self.online:
            log.warning("ledger.away", error=str(error))
        self.online = False

    def _refuse_for(self, seconds: float) -> None:
        """Answer at once while the database is away: admissions by a refusal, settles by spool."""
        until = self._clock() + seconds
        while not self._stopping and (left := until - self._clock()) > 0:
            self._put_off(self._gather([], left))
            self._spool_settles()

    def _put_off(self, group: Iterable[Pending]) -> None:
        answers: list[Delivery] = []
        for pending in group:
            if isinstance(pending.op, Admit):
                answers.append((pending, LedgerUnavailableError("the ledger cannot be written")))
            else:
                self._again.append(pending)
        self._send(answers)

    def _spool_settles(self) -> None:
        """Make the settles that wait durable on disk; they leave the queue."""
        settles = [pending for pending in self._again if isinstance(pending.op, Settle)]
        ops = [pending.op for pending in settles if isinstance(pending.op, Settle)]
        if self._spool is None or not ops or not self._spool.write(ops):
            return
        self._again = [each for each in self._again if not isinstance(each.op, Settle)]
        self._send([(pending, Settled(spooled=True)) for pending in settles])

    def _replay(self, settles: Sequence[Settle]) -> None:
        for start in range(0, len(settles), GROUP):
            self._carefully(settles[start : start + GROUP])

    def _take(self) -> list[Pending]:
        """Return what has gathered; wait only while there is nothing at all."""
        group, self._again = self._again[:GROUP], self._again[GROUP:]
        return self._gather(group, max(0.0, min(self._due.values()) - self._clock()))

    def _gather(self, group: list[Pending], wait_s: float) -> list[Pending]:
        try:
            while len(group) < GROUP:
                pending = self._queue.get_nowait() if group else self._queue.get(timeout=wait_s)
                if pending is None:
                    break
                if not pending.abandoned:
                    group.append(pending)
        except queue.Empty:
            pass
        return group

    def _work(self, group: list[Pending]) -> None:
        if not group:
            return
        answers: list[Answer] = []
        self._busy_since = self._clock()
        try:
            self._commit([pending.op for pending in group], answers)
        except LostError:
            unknown = group[len(answers) :]
            self._again.extend(
                Pending(Release(pending.op.id))
                for pending in unknown
                if isinstance(pending.op, Admit)
            )
            self._put_off(unknown)
            raise
        finally:
            self._busy_since = None
            self._send(list(zip(group, answers, strict=False)))

    def _commit(self, ops: Sequence[Op], answers: list[Answer]) -> None:
        """Append an answer for each operation; those missing when it raises are unknown."""
        try:
            answers.extend(self._fast(ops) or self._carefully(ops))
            return
        except LostError:
            raise
        except StoreError as error:
            log.warning("ledger.group_failed", error=str(error), size=len(ops))
        for op in ops:
            try:
                answers.extend(self._carefully([op]))
            except LostError:
                raise
            except StoreError as error:
                log.error("ledger.failed", error=str(error), op=type(op).__name__)  # noqa: TRY400 - the text says it
                answers.append(LedgerUnavailableError(str(error)))

    def _fast(self, ops: Sequence[Op]) -> list[Result] | None:
        if not self._store.fast or self._chained is None:
            return None
        supposition = suppose(ops, self._places, self._now(), self._refusing_now())
        if supposition is None:
            return None
        effects = supposition.effects
        entries, head = link(
            self._chained.key, self._chained.writer_id, self._head, effects.entries
        )
        try:
            now, states = self._store.apply(effects, entries, self._chained.writer_id, head)
        except SurpriseError:
            return None
        self._head = head
        self._answered(now)
        return fast_results(supposition, states)

    def _carefully(self, ops: Sequence[Op]) -> list[Result]:
        if self._chained is None:
            raise LostError("not connected")
        results, self._head, now = apply_carefully(
            self._store, self._places, self._chained, self._head, ops
        )
        self._answered(now)
        for op, result in zip(ops, results, strict=True):
            if isinstance(op, Admit) and isinstance(result, Refusal):
                self._refused(op, now)
        return results

    def _refused(self, op: Admit, now: datetime) -> None:
        until = self._clock() + _REFUSING_S
        for place in bound_places(op.request):
            bucket_id = self._places.find(place, now)
            if bucket_id is not None:
                self._refusing[bucket_id] = until

    def _refusing_now(self) -> dict[int, float]:
        if self._refusing:
            now = self._clock()
            self._refusing = {key: until for key, until in self._refusing.items() if until > now}
        return self._refusing

    def _answered(self, now: datetime) -> None:
        self._database_now, self._database_now_at = now, self._clock()

    def _now(self) -> datetime:
        """Return the database's clock, estimated from its last answer."""
        return self._database_now + timedelta(seconds=self._clock() - self._database_now_at)

    # --- what recurs

    def _tick(self) -> None:
        now = self._clock()
        for duty, due in self._due.items():
            if now >= due:
                duty()

    def _beat(self) -> None:
        now = self._clock()
        if self._chained is not None:
            self._answered(self._store.beat(self._chained.writer_id))
        if now - self._last_beat > LEASE_S:
            self._beating_since = now  # it was frozen: others may have swept its holds
        self._last_beat = now
        self._due[self._beat] = now + BEAT_S

    def _checkpoint(self) -> None:
        seen, self._seen = self._seen, {}
        if seen:
            self._store.checkpoint(seen)
        self._due[self._checkpoint] = self._clock() + CHECKPOINT_S

    def _sweep(self) -> None:
        """End expired holds, but not in the wake of an outage that kept others from beating."""
        now = self._clock()
        self._due[self._sweep] = now + SWEEP_S * random.uniform(0.8, 1.2)  # noqa: S311 - jitter
        if now - self._beating_since < LEASE_S:
            return
        expired = list(self._store.expired(_SWEPT_AT_ONCE))
        if expired:
            self._carefully([Expire(hold, self._charges) for hold in expired])
            log.warning("ledger.swept", holds=len(expired))

    def _retire(self) -> None:
        try:
            if self._chained is not None:
                self._store.beat(self._chained.writer_id, stopped=True)
            self._store.close()
            if self._spool is not None:
                self._spool.close()
        except StoreError as error:
            log.warning("ledger.retired_badly", error=str(error))

    def _send(self, answers: list[Delivery]) -> None:
        loops: dict[asyncio.AbstractEventLoop, list[Delivery]] = {}
        for pending, answer in answers:
            if pending.future is not None:
                loops.setdefault(pending.future.get_loop(), []).append((pending, answer))
        for loop, deliveries in loops.items():
            try:
                loop.call_soon_threadsafe(self._deliver, deliveries)
            except RuntimeError:  # the loop is closed: its holds expire
                log.warning("ledger.nobody_waits", answers=len(deliveries))
