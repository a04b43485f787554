"""The ledger as the event loop sees it: admit before a socket opens, settle before the last byte.

A hold that is answered after its caller gave up is released at once.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from tenants.ids import new_id
from tenants.money.applicable import plain_text
from tenants.money.claims import Claim, Claimed, Kept
from tenants.money.lock import ProcessLock
from tenants.money.ops import (
    Admit,
    Correct,
    DropClaim,
    HoldAgain,
    Mark,
    Note,
    Op,
    Release,
    Settle,
    TakeClaim,
    TakeStep,
    undoing,
)
from tenants.money.patience import Patience
from tenants.money.rows import EntryRow
from tenants.money.runs import RunState, Step
from tenants.money.spool import Spool
from tenants.money.store import Store
from tenants.money.types import (
    Charges,
    Hold,
    HoldRequest,
    LedgerOverloadedError,
    LedgerUnavailableError,
    Refusal,
    Settled,
    Settlement,
)
from tenants.money.writer import ASKING, Delivery, Pending, Writer

MOST_WAITING = 2048
ADMIT_S = 0.8
SETTLE_S = 5.0
_STALLED_S = 1.0
_CUT_S = 3.0
DEFAULT_CHARGES = Charges()


class Ledger:
    """One for each process; its writer starts with the first operation or with `start`."""

    def __init__(
        self,
        store: Store,
        load_key: Callable[[], bytes],
        *,
        lock: ProcessLock | None = None,
        spool: Spool | None = None,
        charges: Charges = DEFAULT_CHARGES,
    ) -> None:
        self._writer = Writer(store, load_key, self._deliver, spool=spool, charges=charges)
        self._lock = lock
        self._spool = spool
        self._started = False
        self._patience = {
            seconds: Patience(seconds, done=_answered, give_up=self._give_up)
            for seconds in (ADMIT_S, SETTLE_S)
        }
        self._stalled = Patience(_CUT_S, done=_answered, give_up=self._cut_if_stalled)

    def start(self) -> None:
        """Start the writer. Raises LedgerInUseError where another process has the ledger."""
        if not self._started:
            if self._lock is not None:
                self._lock.acquire()
            self._started = True
            self._writer.start()

    @property
    def waiting(self) -> int:
        """Operations that wait for the writer."""
        return self._writer.waiting

    @property
    def busy(self) -> bool:
        """Whether the writer has something to do; `steps` counts what it has done."""
        return self._writer.waiting > 0 or self._writer.stalled_s() > 0

    @property
    def steps(self) -> int:
        return self._writer.steps

    @property
    def online(self) -> bool:
        return self._writer.online

    async def close(self) -> None:
        """Write what is queued and end the writer's lease."""
        if self._started:
            await asyncio.to_thread(self._writer.stop)
            if self._lock is not None:
                self._lock.release()

    async def admit(self, request: HoldRequest) -> Hold | Refusal:
        """Take a hold for one attempt; a refusal changed nothing.

        Raises LedgerUnavailableError within a second where the database does not answer, and
        LedgerOverloadedError where too many wait.
        """
        self.start()
        request = _storable(request)
        try:
            self._check_accepting()
            result: Hold | Refusal = await self._answer(
                self._submit(Admit(new_id(), request)), ADMIT_S
            )
        except LedgerUnavailableError:
            if request.hard or self._spool is None or not self._spool.has_room:
                raise
            # Nothing limits this caller: its settle goes to the spool (money.md §8).
            return Hold(id=new_id(), request=request, bucket_ids=None)
        return result

    async def settle(self, hold: Hold, settlement: Settlement, kept: Kept | None = None) -> Settled:
        """End an attempt; its entry is durable when this returns. Doing it again changes nothing.

        With it, in one transaction, the answer is kept under its idempotency key.
        Raises LedgerUnavailableError after five seconds without an answer: the settle stays queued,
        and the hold stays for the sweeper.
        """
        pending = self._submit(Settle(hold, settlement, kept))
        result: Settled = await self._answer(pending, SETTLE_S)
        return result

    async def release(self, hold: Hold) -> None:
        """Give back a hold whose attempt never started."""
        await self._answer(self._submit(Release(hold.id)), SETTLE_S)

    async def mark_uncertain(self, hold: Hold, seen_output: int = 0) -> None:
        """Keep the hold of an attempt that may have been billed; it is charged at expiry."""
        await self._answer(self._submit(Mark(hold.id, seen_output)), SETTLE_S)

    async def claim(self, claim: Claim) -> Claimed:
        """Claim an idempotency key; what is returned names the request that has it.

        Raises what `admit` raises: a promise to run once needs the database.
        """
        self.start()
        self._check_accepting()
        found: Claimed = await self._answer(self._submit(TakeClaim(claim)), ADMIT_S)
        return found

    async def step(self, step: Step) -> RunState:
        """Count a step of an agent run. Raises what `admit` raises."""
        self.start()
        self._check_accepting()
        state: RunState = await self._answer(self._submit(TakeStep(step)), ADMIT_S)
        return state

    async def drop_claim(self, claim: Claim) -> None:
        """Let the next request under the key run anew, unless an answer is kept there.

        Raises LedgerUnavailableError where that takes long; it is done all the same.
        """
        await self._answer(self._submit(DropClaim(claim)), ADMIT_S)

    async def note(self, entry: EntryRow) -> None:
        """Write an entry that needs no money."""
        await self._answer(self._submit(Note(entry)), SETTLE_S)

    async def correct(self, entry: EntryRow) -> None:
        """Make what an attempt was charged in all what `entry` says; again changes nothing.

        Raises LedgerUnavailableError where that takes long; it is done all the same.
        """
        await self._answer(self._submit(Correct(entry)), SETTLE_S)

    async def hold_again(self, hold: Hold) -> Hold | Refusal:
        """Hold for a running attempt what it may still spend, if its hold was swept meanwhile.

        A refusal says that it does not fit any more: then the attempt has to end. Raises
        LedgerUnavailableError.
        """
        answer: Hold | Refusal = await self._answer(self._submit(HoldAgain(hold)), ADMIT_S)
        return answer

    def on_lapse(self, call: Callable[[], object]) -> None:
        """Have it called, in the writer's thread, when this process finds its lease run out.

        It was frozen or cut off for so long that others may have swept its holds.
        """
        self._writer.on_lapse = call

    def note_soon(self, entry: EntryRow) -> None:
        """Write an entry that needs no money, behind whoever causes it."""
        self.start()
        self._writer.submit(Pending(Note(entry)))

    def seen(self, hold: Hold, output_units: int) -> None:
        """Remember how much a running stream has put out; written every ten seconds."""
        self._writer.seen(hold.id, output_units)

    def _check_accepting(self) -> None:
        writer = self._writer
        if not writer.online:
            raise LedgerUnavailableError("the ledger cannot be written")
        if (stalled := writer.stalled_s()) > _STALLED_S:
            if stalled > _CUT_S:
                writer.cut()
            raise LedgerUnavailableError("the ledger does not answer")
        if writer.waiting >= MOST_WAITING:
            raise LedgerOverloadedError("too many requests wait for the ledger")

    def _submit(self, op: Op) -> Pending:
        self.start()
        pending = Pending(op, asyncio.get_running_loop().create_future())
        self._writer.submit(pending)
        return pending

    async def _answer(self, pending: Pending, seconds: float) -> Any:  # noqa: ANN401 - what the operation answers
        future = pending.future
        assert future is not None  # noqa: S101 - made with one
        loop = future.get_loop()
        self._patience[seconds].watch(pending, loop)
        if seconds > _CUT_S:
            # Reconnecting leaves time for the spool before the caller has to be told.
            self._stalled.watch(pending, loop)
        try:
            return await future
        except asyncio.CancelledError:
            # A settle is done all the same; an admission nobody waits for is not started.
            pending.abandoned = isinstance(pending.op, ASKING)
            if future.done() and not future.cancelled() and future.exception() is None:
                self._undo(pending, future.result())  # answered as its caller was leaving
            raise

    def _give_up(self, pending: Pending) -> None:
        pending.abandoned = isinstance(pending.op, ASKING)
        if pending.future is not None and not pending.future.done():
            pending.future.set_exception(LedgerUnavailableError("the ledger does not answer"))

    def _cut_if_stalled(self, _pending: Pending) -> None:
        if self._writer.stalled_s() > _STALLED_S:
            self._writer.cut()

    def _undo(self, pending: Pending, answer: Any) -> None:  # noqa: ANN401 - what the operation answers
        """Take back what was given to somebody who does not wait for it any more."""
        undo = undoing(pending.op) if isinstance(answer, Hold | Claimed) else None
        if undo is not None:
            self._writer.submit(Pending(undo))

    def _deliver(self, deliveries: list[Delivery]) -> None:
        for pending, answer in deliveries:
            future = pending.future
            if future is None or future.done():
                self._undo(pending, answer)
            elif isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)


def _answered(pending: Pending) -> bool:
    return pending.future is None or pending.future.done()


def _storable(request: HoldRequest) -> HoldRequest:
    """Return the request with text that every database takes."""
    if not request.end_user and not request.tags:
        return request
    return replace(
        request,
        end_user=plain_text(request.end_user)[:256],
        tags={plain_text(name): plain_text(value) for name, value in request.tags.items()},
    )
