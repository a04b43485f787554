"""Hand finished calls to every sink and write them to the request log, off the event loop.

A record waits for nobody. What cannot be kept is counted and said: the newest when the thread is
stuck, the oldest when the database is away for long. Both are bounded by number and by bytes.
Contents that a tenant keeps have bounds of their own: they are left out before any record is.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress

import structlog
from django.db import InterfaceError, OperationalError
from msgspec.structs import replace

from llm_gateway.recorder.contents import Contents, packed
from llm_gateway.recorder.journal import Journal
from llm_gateway.types import CallRecord

log = structlog.get_logger(__name__)

Sink = Callable[[CallRecord], None]
Marker = Future[None]
Arrival = tuple[CallRecord, Contents | None]

CAPACITY, CAPACITY_BYTES = 10_000, 24 * 2**20
CONTENTS_BYTES, PAYLOADS_BYTES = 32 * 2**20, 16 * 2**20  # before and behind the thread
# What a record takes without what callers write into it, and each attempt of it.
_RECORD_BYTES, _ATTEMPT_BYTES = 3000, 600
AT_ONCE = 500
PAUSE_S = 0.05  # between two batches: under load one commit serves many requests
RETRY_S = 0.5


class Recorder:
    """One thread; started by the first record. `dropped` counts what is in no request log."""

    def __init__(
        self,
        sinks: Sequence[Sink] = (),
        journal: Journal | None = None,
        *,
        capacity: int = CAPACITY,
    ) -> None:
        self._sinks = tuple(sinks)
        self._journal = journal or Journal()
        self._capacity = capacity
        self._arriving: deque[Arrival | Marker] = deque()
        self._unwritten: deque[CallRecord] = deque()
        self._markers: deque[tuple[int, Marker]] = deque()
        self._thread: threading.Thread | None = None
        self._wake, self._hurry = threading.Event(), threading.Event()
        self._stopping = self._away = self._losing = False
        self._refused = self._refused_told = 0  # counted by the callers' thread, the rest by ours
        self._taken = self._lost = 0
        # Of contents likewise.
        self._left_out = self._left_out_here = self._left_out_told = 0
        self.steps = 0  # rounds of the thread, also those in which the database was away
        # Each has one writer: the callers' thread the first, ours the others.
        self._arrived_bytes = self._taken_bytes = self._unwritten_bytes = 0
        self._arrived_contents = self._taken_contents = self._unwritten_payloads = 0

    @property
    def dropped(self) -> int:
        return self._refused + self._lost + self._journal.rejected

    @property
    def left_out(self) -> int:
        """How many records are there without the contents that their tenant keeps."""
        return self._left_out + self._left_out_here

    @property
    def waiting(self) -> int:
        return len(self._arriving) + len(self._unwritten)

    @property
    def away(self) -> bool:
        """Whether the database could not be written when it was last tried."""
        return self._away

    def record(self, call: CallRecord, contents: Contents | None = None) -> None:
        """Take a finished call, and its contents where they are kept; returns at once."""
        waiting_bytes = self._arrived_bytes - self._taken_bytes
        if len(self._arriving) >= self._capacity or waiting_bytes >= CAPACITY_BYTES:
            self._refused += 1
            return
        self._arrived_bytes += weight(call)
        self._put((call, self._fitting(contents)))

    def _fitting(self, contents: Contents | None) -> Contents | None:
        if contents is None:
            return None
        if self._arrived_contents - self._taken_contents >= CONTENTS_BYTES:
            self._left_out += 1
            return None
        self._arrived_contents += contents.size
        return contents

    async def flush(self, timeout_s: float = 5.0) -> None:
        """Return when all that was recorded until now is written, or after `timeout_s`."""
        if self._thread is None:
            return
        marker: Marker = Future()
        self._put(marker)
        self._hurry.set()
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.wrap_future(marker), timeout_s)

    async def close(self, timeout_s: float = 5.0) -> None:
        """Write what is left, then end the thread."""
        if self._thread is None:
            return
        await self.flush(timeout_s)
        self._stopping = True
        self._wake.set()
        self._hurry.set()
        await asyncio.to_thread(self._thread.join, timeout_s)
        if self.waiting:
            log.error("request log: left unwritten at shutdown", records=self.waiting)

    def _put(self, item: Arrival | Marker) -> None:
        self._arriving.append(item)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="mobius-recorder", daemon=True)
            self._thread.start()
        if not self._wake.is_set():
            self._wake.set()

    # --- in the thread -----------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._stopping:
                self._wake.wait(RETRY_S if self._unwritten else None)
                self._wake.clear()
                self._hurry.clear()
                self._take_in()
                self._write_all()
                self.steps += 1
                if not self._stopping:
                    self._hurry.wait(PAUSE_S)
        finally:
            self._journal.close()

    def _take_in(self) -> None:
        """Tell the sinks at once, whatever the database does; let the oldest go when too many."""
        if self._refused > self._refused_told:
            self._refused_told = self._refused
            self._lose(0, "more came than this thread could take")
        while self._arriving:
            item = self._arriving.popleft()
            if isinstance(item, Future):
                self._markers.append((self._taken, item))
                continue
            call, contents = item
            self._taken += 1
            self._tell_sinks(call)
            size = weight(call)
            self._taken_bytes += size
            self._unwritten_bytes += size
            self._unwritten.append(self._with_payload(call, contents))
            if len(self._unwritten) > self._capacity or self._unwritten_bytes > CAPACITY_BYTES:
                self._let_go()
                self._lose(1, "the database is away for too long")
        # Said at the first, and then each time that there are twice as many.
        if self.left_out >= max(1, 2 * self._left_out_told):
            self._left_out_told = self.left_out
            log.warning("request log: contents are left out", records=self.left_out)
        self._release()

    def _with_payload(self, call: CallRecord, contents: Contents | None) -> CallRecord:
        if contents is None:
            return call
        self._taken_contents += contents.size
        payload = _packed(call, contents)
        if payload is None or self._unwritten_payloads + len(payload) > PAYLOADS_BYTES:
            self._left_out_here += 1
            return call
        self._unwritten_payloads += len(payload)
        return replace(call, payload=payload)

    def _let_go(self) -> None:
        call = self._unwritten.popleft()
        self._unwritten_bytes -= weight(call)
        self._unwritten_payloads -= len(call.payload or b"")

    def _tell_sinks(self, call: CallRecord) -> None:
        for sink in self._sinks:
            try:
                sink(call)
            except Exception:
                log.exception("request log: a sink failed", request_id=str(call.id))

    def _write_all(self) -> None:
        while self._unwritten:
            size = min(AT_ONCE, len(self._unwritten))
            try:
                self._journal.write([self._unwritten[place] for place in range(size)])
            except (OperationalError, InterfaceError) as error:
                self._turn(away=True, reason=str(error))
                return
            except Exception as error:  # noqa: BLE001 - the thread must not die of one batch
                self._lose(size, str(error))
            self._turn(away=False)
            for _ in range(size):
                self._let_go()
            self._release()

    def _release(self) -> None:
        """Tell those who wait that everything before them is written or lost."""
        done = self._taken - len(self._unwritten)
        while self._markers and self._markers[0][0] <= done:
            _, marker = self._markers.popleft()
            if marker.set_running_or_notify_cancel():  # its caller may have stopped waiting
                marker.set_result(None)

    def _lose(self, records: int, reason: str) -> None:
        """Count what is dropped; said once, and again with the sum when the database is back."""
        self._lost += records
        if not self._losing:
            self._losing = True
            log.error("request log: records are dropped", dropped=self.dropped, reason=reason)

    def _turn(self, *, away: bool, reason: str = "") -> None:
        if away == self._away:
            return
        self._away = away
        if away:
            log.warning("request log: the database is away, records wait", reason=reason)
        else:
            self._losing = False
            log.info("request log: the database is back", dropped=self.dropped)


def _packed(call: CallRecord, contents: Contents) -> bytes | None:
    try:
        return packed(contents, call.tenant_id, call.id)
    except Exception as error:  # noqa: BLE001 - whatever a provider answered, the record is kept
        # By its kind alone: what it says may quote what is in there.
        kind = type(error).__name__
        log.error("request log: contents were not kept", request_id=str(call.id), error=kind)  # noqa: TRY400 - likewise
        return None


def weight(call: CallRecord) -> int:
    """Return about how many bytes of memory a record takes."""
    tags = sum(map(len, call.tags)) + sum(map(len, call.tags.values())) if call.tags else 0
    text = len(call.requested_model) + len(call.end_user) + len(call.error)
    return _RECORD_BYTES + _ATTEMPT_BYTES * len(call.attempts) + tags + text
