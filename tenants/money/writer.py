"""The one database thread of a process: it alone writes buckets, holds and entries.

What has gathered is one group and one flush; it never waits for company. What a lost connection
left unknown is run again if it is a settle, and given back if it is an admission.
"""

import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from uuid import UUID

import structlog
from msgspec import Struct

from tenants.money.decide import Result
from tenants.money.ops import Admit, HoldAgain, Op, Settle, TakeClaim, TakeStep, undoing
from tenants.money.session import SWEPT_AT_ONCE, Session, jittered
from tenants.money.spool import Spool
from tenants.money.store import LostError, Store, StoreError
from tenants.money.types import Charges, LedgerUnavailableError, Settled

if TYPE_CHECKING:
    import asyncio

log = structlog.get_logger(__name__)

GROUP = 64
# Of a lease: how often it is renewed and others' leases looked at, and output seen written down.
BEATS, CHECKPOINTS = 6, 3
# Recovery is promised within 2 s: the longest pause with its jitter, and the connection.
_FIRST_DELAY_S, _LONGEST_DELAY_S = 0.1, 1.5
_SWEEP_AGAIN_S = 1.0
_AWAY = "the ledger cannot be written"

# What begins something, and is not begun for a caller who has gone; all else ends something.
ASKING = (Admit, HoldAgain, TakeClaim, TakeStep)


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
        spool: Spool | None,
        charges: Charges,
    ) -> None:
        self._session = Session(store, load_key, time.monotonic)
        self._beat_s, self._checkpoint_s = (store.lease_s / each for each in (BEATS, CHECKPOINTS))
        self._deliver = deliver
        self._spool = spool
        self._charges = charges
        self._queue: queue.SimpleQueue[Pending | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="mobius-ledger", daemon=True)
        self._again: list[Pending] = []
        self._refused: list[Pending] = []  # what ends something and was refused; tried at each beat
        self._seen: dict[UUID, int] = {}
        self._due: dict[Callable[[], float], float] = {
            self._beat: 0.0,
            self._checkpoint: 0.0,
            self._sweep: 0.0,
            self._replay: 0.0,
        }
        self.on_lapse: Callable[[], object] = _nobody_asks
        self._connected = self._stopping = False
        self._busy_since: float | None = None
        self.online = True  # until a connection fails
        self.steps = 0  # calls that came to an end, whichever

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
        return 0.0 if since is None else time.monotonic() - since

    def cut(self) -> None:
        """Break a call that hangs, so that the thread can connect anew."""
        self._session.store.cut()

    def stop(self, timeout_s: float = 10.0) -> None:
        """Write what is queued, then end the thread and its lease."""
        self._stopping = True
        self._due[self._replay] = 0.0  # what was refused is tried once more
        self._queue.put(None)
        self._thread.join(timeout_s)

    # --- the thread

    def _run(self) -> None:
        delay = _FIRST_DELAY_S
        while not self._finished():
            try:
                if not self._connected:
                    self._connect()
                    delay = _FIRST_DELAY_S
                self._work(self._take())
                self._tick()
            except Exception as error:  # noqa: BLE001 - the thread outlives whatever the database does
                self._lost(error)
                self._endure(0.0 if self._stopping else jittered(delay))
                delay = min(delay * 2, _LONGEST_DELAY_S)
                if self._stopping:
                    break
        self._retire()

    def _finished(self) -> bool:
        return self._stopping and not self._again and self._queue.empty()

    def _connect(self) -> None:
        with self._calling():
            self._session.connect()
        self._connected = True
        if not self.online:
            log.info("ledger.online")
        self.online = True
        self._due[self._beat] = self._due[self._replay] = 0.0

    def _lost(self, error: Exception) -> None:
        if self.online:
            log.warning("ledger.away", error=str(error))
        self.online = self._connected = False

    def _take(self) -> list[Pending]:
        """Return what has gathered; wait only while there is nothing at all."""
        group, self._again = self._again[:GROUP], self._again[GROUP:]
        return self._gather(group, max(0.0, min(self._due.values()) - time.monotonic()))

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

    def _work(self, group: Sequence[Pending]) -> None:
        if not group:
            return
        answers: list[Answer] = []
        try:
            with self._calling():
                self._commit(group, answers)
        except LostError:
            unknown = group[len(answers) :]
            self._again.extend(
                Pending(undo) for each in unknown if (undo := undoing(each.op)) is not None
            )
            self._put_off(unknown)
            raise
        finally:
            self._send(list(zip(group, answers, strict=False)))

    def _commit(self, group: Sequence[Pending], answers: list[Answer]) -> None:
        """Append an answer for each operation; those missing when it raises are unknown."""
        try:
            answers.extend(self._session.commit([each.op for each in group]))
        except LostError:
            raise
        except Exception as error:  # noqa: BLE001 - one bad operation must not fail its group
            log.warning("ledger.group_failed", error=str(error), size=len(group))
            for pending in group:
                answers.append(self._alone(pending))  # noqa: PERF401 - keeps what is known if it raises

    def _alone(self, pending: Pending) -> Answer:
        if pending.abandoned:
            return LedgerUnavailableError(_AWAY)
        try:
            return self._session.carefully([pending.op])[0]
        except LostError:
            raise
        except Exception as error:
            trace = not isinstance(error, StoreError)
            log.exception(
                "ledger.failed", error=str(error), op=type(pending.op).__name__, exc_info=trace
            )
            if isinstance(pending.op, Settle) and self._spool_writes([pending.op]):
                return Settled(spooled=True)
            if isinstance(error, StoreError) and not isinstance(pending.op, ASKING):
                # A lock that others hold for long passes; a release let go would pin its money.
                self._refused.append(Pending(pending.op))
            return LedgerUnavailableError(str(error))

    # --- while the database is away

    def _endure(self, seconds: float) -> None:
        """Answer at once: admissions by a refusal, settles by the spool."""
        until = time.monotonic() + seconds
        while True:
            self._put_off(self._gather([], max(0.0, until - time.monotonic())))
            self._spool_settles()
            if (self._stopping or time.monotonic() >= until) and self._queue.empty():
                return

    def _put_off(self, group: Sequence[Pending]) -> None:
        self._send(
            [(each, LedgerUnavailableError(_AWAY)) for each in group if isinstance(each.op, ASKING)]
        )
        self._again.extend(each for each in group if not isinstance(each.op, ASKING))

    def _spool_settles(self) -> None:
        settles = [each for each in self._again if isinstance(each.op, Settle)]
        if settles and self._spool_writes([each.op for each in settles]):
            self._again = [each for each in self._again if not isinstance(each.op, Settle)]
            self._send([(each, Settled(spooled=True)) for each in settles])

    def _spool_writes(self, ops: Sequence[Op]) -> bool:
        settles = [op for op in ops if isinstance(op, Settle)]
        return self._spool is not None and self._spool.write(settles)

    # --- what recurs: each duty returns when it is due again

    def _tick(self) -> None:
        now = time.monotonic()
        for duty, due in self._due.items():
            if now >= due:
                with self._calling():
                    self._due[duty] = now + duty()

    def _beat(self) -> float:
        session = self._session
        session.beat()
        if session.lapsed:
            session.lapsed = False
            log.warning("ledger.lapsed")
            self.on_lapse()
        return self._beat_s

    def _checkpoint(self) -> float:
        seen, self._seen = self._seen, {}
        if seen:
            self._session.store.checkpoint(seen)
        return self._checkpoint_s

    def _sweep(self) -> float:
        """End what expired. More than one sweep takes is not left until the next beat."""
        swept = 0
        try:
            if swept := self._session.sweep(self._charges):
                log.warning("ledger.swept", holds=swept)
        except LostError:
            raise
        except Exception:  # a hold that cannot be ended must not end the writer
            log.exception("ledger.sweep_failed")
        beat_s = jittered(self._beat_s)
        return min(beat_s, _SWEEP_AGAIN_S) if swept >= SWEPT_AT_ONCE else beat_s

    def _replay(self) -> float:
        self._again.extend(self._refused)
        self._refused.clear()
        if self._spool is not None:
            self._spool.replay(self._settle_again)
        return self._beat_s

    def _settle_again(self, settles: Sequence[Settle]) -> list[Settle]:
        """Return those that failed; they stay in the spool."""
        failed = []
        for settle in settles:
            try:
                self._session.carefully([settle])
            except LostError:
                raise
            except Exception:
                log.exception("ledger.replay_failed", hold=str(settle.hold.id))
                failed.append(settle)
        return failed

    # --- both

    @contextmanager
    def _calling(self) -> Iterator[None]:
        self._busy_since = time.monotonic()
        try:
            yield
        finally:
            self._busy_since = None
            self.steps += 1

    def _retire(self) -> None:
        try:
            if self._connected:
                self._session.beat(stopped=True)
            self._session.store.close()
        except Exception as error:  # noqa: BLE001 - what counts is written
            log.warning("ledger.retired_badly", error=str(error))
        if self._spool is not None:
            self._spool.close()

    def _send(self, answers: Sequence[Delivery]) -> None:
        loops: dict[asyncio.AbstractEventLoop, list[Delivery]] = {}
        for pending, answer in answers:
            if pending.future is not None:
                loops.setdefault(pending.future.get_loop(), []).append((pending, answer))
        for loop, deliveries in loops.items():
            try:
                loop.call_soon_threadsafe(self._deliver, deliveries)
            except RuntimeError:  # the loop is closed: its holds expire
                log.warning("ledger.nobody_waits", answers=len(deliveries))


def _nobody_asks() -> None:
    """Stand in until somebody asks to be told of a lapse."""
