"""Take one client request from rates to record: the only path that spends.

rates → plan → attempts (each: circuit, hold, call) → answer → settle → record. Whole and streamed
answers differ only in who waits for what. The end of an answer waits for the ledger's commit.
"""

import asyncio
import math
from asyncio import CancelledError, TimerHandle
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn
from uuid import UUID

from llm_gateway.errors import (
    CallerError,
    CallerLeftError,
    GatewayError,
    LoopError,
    Rejection,
    ServerFaultError,
    ShutdownError,
)
from llm_gateway.routing.candidates import Ask
from llm_gateway.routing.router import Plan, plan
from llm_gateway.service import bounds, headers
from llm_gateway.service.attempt import Attempt
from llm_gateway.service.body import call_of
from llm_gateway.service.descent import first_answer
from llm_gateway.service.guarding import guarded_call, lookers_at
from llm_gateway.service.inbound import Answer, Inbound, Unfinished
from llm_gateway.service.inflight import InFlight, running
from llm_gateway.service.measuring import LOOKED_AT, surely
from llm_gateway.service.once import once
from llm_gateway.service.overhearing import contents_of
from llm_gateway.service.planning import asking_for, budget_used, view_for, watches_budget
from llm_gateway.service.rates import rate_error
from llm_gateway.service.record import call_record
from llm_gateway.service.reuse import reuse
from llm_gateway.service.runs import take_step
from llm_gateway.service.runtime import Runtime
from llm_gateway.service.stops import stops
from llm_gateway.service.waits import Waits, timeouts_at, waits_of
from llm_gateway.types import Call, Target, Usage
from tenants.limits import Decision, tighter
from tenants.money.claims import Kept
from tenants.money.types import Hold
from tenants.types import Caller

if TYPE_CHECKING:
    from llm_gateway.guardrails.window import Looker
    from llm_gateway.routing.candidates import Dropped

# What is read on after its caller left: so many answers of a process, each so long (money.md §11).
MOST_READ_ON, READ_ON_S = 64, 120.0
LOOK_S = 0.05
MAX_HOPS = 2


class Exchange:
    """One client request; made by `service.answer`, ended by its scope."""

    def __init__(self, runtime: Runtime, inbound: Inbound) -> None:
        self.runtime, self.inbound = runtime, inbound
        self.call: Call | None = None
        self.rates: Decision | None = None
        self.plan: Plan | None = None
        self.attempts: list[Attempt] = []
        self.steps: list[str] = []
        self.skipped: list[Dropped] = []
        self.error: GatewayError | None = None
        self.refusal: GatewayError | None = None  # by our own limits, of one target
        self.fallback: Rejection | None = None  # for which another model answers
        self.hedged = False
        self.left = False  # the caller, before the end
        self.reuse = reuse(runtime, inbound)
        self._once = once(runtime, inbound)
        self.contents = contents_of(runtime, inbound)  # None: nothing of it is kept
        self.lookers: Sequence[Looker] = ()  # at what is asked
        self._recorded = False
        self._at_least: Mapping[int, int] = {}  # tokens, where a window may be too small
        self._budget_used = 0.0  # share, where the way depends on it
        self.stopped: GatewayError | None = None  # from outside
        self.current: Attempt | None = None  # the one that answers, or was tried last
        self.waits: Waits = {}
        self._run_until = math.inf
        self._opening: dict[Attempt, asyncio.Task[Any]] = {}
        self._asker: asyncio.Task[Any] | None = None  # until there is an answer
        self._read_on: TimerHandle | None = None  # when it is no longer

    # --- the way there ------------------------------------------------------------------------

    async def answer(self) -> Answer:
        """Return the answer: whole, or a stream whose first token is here.

        Raises GatewayError; what was taken until then is given back when the scope closes.
        """
        stops(self.runtime).join(self)
        try:
            self.call = call = self._parse()
            configuration = self.runtime.snapshot.current.configuration
            self.waits = waits_of(self.inbound, call.model, configuration)
            attempt = await self._asking(call)
            if isinstance(attempt, Answer):
                return attempt
            if not call.stream:
                self._keep(attempt)
                await self._end(attempt, None)
                self._keep_for_others(attempt)
        except GatewayError as error:
            self.error = error
            await self._drop_claim()
            self._detail(error)
            told = headers.of_error(error, self.inbound.request_id, self.told_rates)
            error.headers = [*told, *error.headers]
            raise
        except Exception:
            self.error = GatewayError("Something went wrong on our side.")
            raise
        head = headers.of_answer(self, attempt)
        if not call.stream:
            return Answer(
                headers=head, body=attempt.head + attempt.tail, cost_nano=lambda: self.cost_nano
            )
        return Answer(
            headers=head,
            chunks=self._stream(attempt),
            on_gone=self._gone,
            cost_nano=lambda: self.cost_nano,
        )

    async def _asking(self, call: Call) -> Attempt | Answer:
        """Return the attempt that answers, or an answer that needs none. Raises why it stopped."""
        self._asker = asyncio.current_task()
        try:
            return await self._known(call) or await self._first_answer(self.call or call)
        except CancelledError:
            if self.stopped is None or self._asker is None:
                raise
            self._asker.uncancel()
            raise self.stopped from None
        finally:
            self._asker = None

    def _parse(self) -> Call:
        inbound = self.inbound
        if self.runtime.closing:
            raise ShutdownError("The server is shutting down.", retry_after_s=1)
        if inbound.controls.hops >= MAX_HOPS:
            raise LoopError("The gateway is its own provider.")
        return call_of(inbound)

    async def _known(self, call: Call) -> Answer | None:
        """Return an answer that needs no call; on the way to it claim, rates and step are taken."""
        if self._once is not None:
            repeated = await self._once.begin(stream=call.stream)
            if repeated is not None:
                self.steps.append("the answer to the same Idempotency-Key")
                return repeated
        if self.inbound.caller.guardrails:
            self.call = call = await self._guarded(call)
        rates = await self._take_rates(call)
        watching = watches_budget(self.runtime.snapshot.current.configuration, call.model)
        if self.inbound.controls.run is not None or call.size > LOOKED_AT or watching:
            await self._look_closer(call, watching=watching)
        if self.reuse is None:
            return None
        self.plan = self._plan(call)
        reused = await self.reuse.begin(call, self.plan)
        if reused is not None:
            self.steps.append("the answer to the same request")
            reused.headers += headers.rate_headers(rates)
        return reused

    async def _guarded(self, call: Call) -> Call:
        """Return the call without what may not be asked. Raises ContentBlockedError."""
        self.lookers = lookers_at(self.inbound.caller, "request")
        return await guarded_call(self.inbound, call, self.lookers)

    async def _take_rates(self, call: Call) -> Decision:
        caller = self.inbound.caller
        tokens = bounds.estimate(call.size) + (call.max_output_tokens or 0) * call.choices
        self.rates = rates = await self.runtime.limits.admit(
            caller.tenant_id, str(self.inbound.request_id), caller.rates, tokens
        )
        if not rates.allowed:
            raise rate_error(rates)
        return rates

    async def _look_closer(self, call: Call, *, watching: bool) -> None:
        """Do what few requests need: count the step of a run, measure, look at budgets."""
        if self.inbound.controls.run is not None:
            self._run_until = await take_step(self.runtime, self.inbound)
        if call.size > LOOKED_AT:
            self._at_least = await surely(self.runtime, self.inbound, call)
        if watching:
            self._budget_used = await budget_used(self.runtime, self.inbound, call)

    async def _first_answer(self, call: Call) -> Attempt:
        """Return the attempt that answers. Raises the last one's fault where none does."""
        self.plan = self._plan(call)
        return await first_answer(self, call, self.plan)

    def attempt_for(self, call: Call, target: Target, number: int) -> Attempt:
        """Return an attempt that has not begun."""
        return Attempt(self.runtime, self.inbound, call, target, number)

    async def open(self, attempt: Attempt, *, last: bool) -> Attempt:
        """Open an attempt; where its provider is to be cut, a caller that leaves is noticed."""
        if attempt.provider.on_disconnect != "abort":
            return await self._open(attempt, last=last)
        watch = asyncio.create_task(self._watch_caller(), name="caller watch")
        try:
            return await self._open(attempt, last=last)
        finally:
            watch.cancel()

    async def _open(self, attempt: Attempt, *, last: bool) -> Attempt:
        """Open an attempt; one that fails is ended here, and listed unless nothing was held."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - this is a coroutine
        self.current, self._opening[attempt] = attempt, task
        attempt.timeouts = timeouts_at(attempt.deployment, self.waits)
        try:
            await attempt.open(self.deadline(attempt.target), last=last)
        except BaseException as error:
            del self._opening[attempt]
            if attempt.hold is not None:
                self.attempts.append(attempt)
                self._keep_refusal(attempt, error)
            if self.stopped is not None:
                await self._stopped_opening(self.stopped, attempt, error)
            await attempt.end(_fault(error), left=isinstance(error, CancelledError))
            raise
        del self._opening[attempt]
        self.attempts.append(attempt)
        return attempt

    def deadline(self, target: Target) -> float:
        """Return until when a target may take: the least of all limits."""
        total = timeouts_at(target.deployment, self.waits).total
        return min(self.inbound.started + total, self._run_until)

    # --- the way back -------------------------------------------------------------------------

    async def _stream(self, attempt: Attempt) -> AsyncIterator[bytes]:
        """Yield the answer; a caller that left costs what the provider bills, so it is read on."""
        last = attempt.head
        try:
            if last:
                self._hear(last)
                yield last
            async for chunk in attempt.rest():
                last = chunk
                self._hear(chunk)
                yield chunk
            self._keep(attempt)
            await self._end(attempt, None)
            self._keep_for_others(attempt)
        except GatewayError as cause:
            self.error = error = self.stopped or cause
            await self._end_early(attempt, error)
            await self._drop_claim()
            yield self.inbound.door.render_stream_error(
                error, request_id=str(self.inbound.request_id), after=last
            )
            raise Unfinished from None
        yield attempt.tail

    def look_for_caller(self) -> None:
        """Notice a caller that hung up while it waited for its answer to begin."""
        if self.inbound.has_left():
            self._gone()

    async def _watch_caller(self) -> None:
        while not self.left:
            await asyncio.sleep(LOOK_S)
            self.look_for_caller()

    def _gone(self) -> None:
        """Read on to what the provider bills, or cut it; the caller is no longer there."""
        if self.left:
            return
        self.left = True
        error = CallerLeftError("The caller hung up.")
        if self._cuts():
            self.stop(error)
            return
        self.runtime.reading_on += 1
        self._read_on = asyncio.get_running_loop().call_later(READ_ON_S, self.stop, error)

    def _cuts(self) -> bool:
        """Say whether an answer that nobody waits for any more ends at once."""
        attempt = self.current
        if attempt is None or attempt.whole or (self.reuse is not None and self.reuse.shared):
            return False
        full = self.runtime.reading_on >= MOST_READ_ON
        return full or attempt.provider.on_disconnect == "abort"

    async def _end(self, attempt: Attempt, error: GatewayError | None) -> None:
        self.look_for_caller()
        await attempt.end(error, left=self.left)

    # --- stopped from outside -----------------------------------------------------------------

    @property
    def request_id(self) -> UUID:
        return self.inbound.request_id

    @property
    def started(self) -> float:
        return self.inbound.started

    def describe(self, now: float) -> InFlight:
        return running(self, now)

    @property
    def caller(self) -> Caller:
        return self.inbound.caller

    @property
    def run(self) -> str | None:
        return self.inbound.controls.run

    @property
    def serving(self) -> int | None:
        """The deployment that is called, once one is."""
        return self.current.deployment.id if self.current else None

    @property
    def holds(self) -> tuple[Hold, ...]:
        """The holds of the attempts that run."""
        running = {*self.attempts, *self._opening}
        return tuple(one.hold for one in running if one.hold is not None and one.running)

    def stop(self, error: GatewayError) -> None:
        """End the request with this error at the next opportunity, which is now where it waits."""
        if self.stopped is not None:
            return
        self.stopped = error
        for task in self._opening.values():
            task.cancel()
        if self._opening:
            return
        if self.current is not None and self.current.running:
            self.current.abort()
        elif self._asker is not None:
            self._asker.cancel()  # it waits for something else than a provider

    async def _stopped_opening(
        self, why: GatewayError, attempt: Attempt, error: BaseException
    ) -> NoReturn:
        """End an attempt that was stopped before it answered. Raises why."""
        task = asyncio.current_task()
        if isinstance(error, CancelledError) and task is not None:
            task.uncancel()
        await attempt.end(None, left=True)
        raise why from None

    async def _end_early(self, attempt: Attempt, error: GatewayError) -> None:
        """End an attempt that broke; one that was stopped costs what one costs that was left."""
        if error is self.stopped:
            await attempt.end(None, left=True)
        else:
            await self._end(attempt, error)

    async def close(self) -> None:
        """Give back what is still held and write the record; the scope calls it, once."""
        stops(self.runtime).leave(self)
        for attempt in self.attempts:
            await attempt.end(None, left=True)
        await self._drop_claim()
        if self._read_on is not None:
            self._read_on.cancel()
            self.runtime.reading_on -= 1
        if self.reuse is not None:
            self.reuse.close()
        if self.rates is not None and self.rates.ticket is not None:
            await self._give_back_rates()
        if not self._recorded:
            self._recorded = True
            if self.contents is not None:
                self.contents.call = self.call
            self.runtime.recorder.record(call_record(self), self.contents)

    async def _give_back_rates(self) -> None:
        assert self.rates is not None  # noqa: S101 - asked by the only caller
        limits = self.runtime.limits
        if self.error is not None and not self.attempts:
            await limits.refund(self.rates.ticket)  # refused before anything was tried
            return
        used = sum(a.bill.usage.input + a.bill.usage.output for a in self.attempts if a.bill)
        await limits.settle(self.rates.ticket, used)

    @property
    def told_rates(self) -> Decision | None:
        """Return how the limits stand: the caller's, and those of the model asked last."""
        model = self.current.rates if self.current is not None else None
        return self.rates if model is None else tighter(self.rates, model)

    @property
    def usage(self) -> Usage:
        """What the answer used: that of the last attempt."""
        last = self.attempts[-1] if self.attempts else None
        return last.bill.usage if last and last.bill else Usage()

    @property
    def cost_nano(self) -> int:
        return sum(attempt.bill.amount_nano for attempt in self.attempts if attempt.bill)

    # --- once for an Idempotency-Key ----------------------------------------------------------

    def _hear(self, piece: bytes) -> None:
        if self._once is not None:
            self._once.hear(piece)
        if self.reuse is not None:
            self.reuse.hear(piece)

    def _keep_for_others(self, attempt: Attempt) -> None:
        """Let the same request of this tenant have this answer."""
        if self.reuse is not None and self.call is not None:
            last = attempt.tail if self.call.stream else attempt.head + attempt.tail
            lasting = self.fallback is None
            self.reuse.answered(attempt, self.call, last, self.cost_nano, lasting=lasting)

    def _keep(self, attempt: Attempt) -> None:
        """Have the whole answer kept with the entry of its attempt."""
        once = self._once
        if once is None or not attempt.facts.complete:
            return
        last = attempt.tail if attempt.call.stream else attempt.head + attempt.tail
        attempt.keeping = lambda: once.answered(headers.of_kept(self, attempt), last)

    def _keep_refusal(self, attempt: Attempt, error: BaseException) -> None:
        """Have the provider's refusal of the request itself kept: it is the same everywhere."""
        once = self._once
        if (
            once is None
            or not isinstance(error, CallerError)
            or error.rejection in attempt.elsewhere
        ):
            return

        def keeping() -> Kept:
            self._detail(error)
            return once.refused(error)

        attempt.keeping = keeping

    async def _drop_claim(self) -> None:
        """Let the same key run anew, unless its answer is kept."""
        if self._once is not None and not any(a.keeping and a.settled for a in self.attempts):
            await self._once.drop()

    # --- what is decided on -------------------------------------------------------------------

    def _plan(self, call: Call) -> Plan:
        if self.plan is not None:
            return self.plan
        configuration = self.runtime.snapshot.current.configuration
        view = view_for(self.runtime, self.inbound, call, self.runtime.turn(call.model))
        return plan(self.asking(call), configuration, view, self.runtime.rng)

    def asking(self, call: Call) -> Ask:
        """Return what is asked of the router."""
        return asking_for(self.inbound, call, self._at_least, self._budget_used)

    def _detail(self, error: GatewayError) -> None:
        if self.attempts:
            error.detail = {**error.detail, "attempts": self._attempt_details()}

    def _attempt_details(self) -> list[dict[str, object]]:
        return [
            {
                "provider": attempt.provider.name,
                "status": attempt.status,
                "category": attempt.error.category if attempt.error else None,
            }
            for attempt in self.attempts
        ]


def _fault(error: BaseException) -> GatewayError | None:
    """Return what an attempt ended with; None where the caller's own task was cancelled."""
    if isinstance(error, GatewayError):
        return error
    if isinstance(error, CancelledError):
        return None
    return ServerFaultError("Something went wrong on our side.")
