"""Take one client request from rates to record: the only path that spends.

rates → plan → attempts (each: circuit, hold, call) → answer → settle → record. Whole and streamed
answers differ only in who waits for what. The end of an answer waits for the ledger's commit.
"""

import asyncio
import math
from asyncio import CancelledError
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, NoReturn

from llm_gateway.errors import (
    BudgetError,
    CallerError,
    GatewayError,
    LoopError,
    NoTargetError,
    RateLimitError,
    ServerFaultError,
    ShutdownError,
    ThrottledError,
    UnavailableError,
    UnexpressibleError,
)
from llm_gateway.resilience.retry import Situation, next_step, rest_step
from llm_gateway.routing.candidates import Dropped
from llm_gateway.routing.health import View, rest_key, soonest
from llm_gateway.routing.router import Plan, plan, remaining
from llm_gateway.service import bounds, headers
from llm_gateway.service.attempt import Attempt, CircuitOpen
from llm_gateway.service.body import parse_body
from llm_gateway.service.inbound import Answer, Inbound, Unfinished
from llm_gateway.service.once import once
from llm_gateway.service.planning import asking_for, view_for
from llm_gateway.service.rates import rate_error
from llm_gateway.service.record import call_record
from llm_gateway.service.runs import take_step
from llm_gateway.service.runtime import Runtime
from llm_gateway.service.stops import stops
from llm_gateway.types import Call, Target
from tenants.money.claims import Kept

if TYPE_CHECKING:
    from tenants.limits import Decision

DRAIN_S = 120.0
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
        self.left_at = math.inf
        self._once = once(runtime, inbound)
        self._recorded = False
        self._stopped: GatewayError | None = None
        self._run_until = math.inf
        self._current: Attempt | None = None
        self._opening: asyncio.Task[Any] | None = None  # where an attempt is being opened

    # --- the way there ------------------------------------------------------------------------

    async def answer(self) -> Answer:
        """Return the answer: whole, or a stream whose first token is here.

        Raises GatewayError; what was taken until then is given back when the scope closes.
        """
        stops(self.runtime).join(self)
        try:
            self.call = call = self._parse()
            if self._once is not None:
                repeated = await self._once.begin(stream=call.stream)
                if repeated is not None:
                    self.steps.append("the answer to the same Idempotency-Key")
                    return repeated
            await self._take_rates(call)
            if self.inbound.controls.run is not None:
                self._run_until = await take_step(self.runtime, self.inbound)
            attempt = await self._first_answer(call)
            if not call.stream:
                self._keep(attempt)
                await self._end(attempt, None)
        except GatewayError as error:
            self.error = error
            await self._drop_claim()
            self._detail(error)
            told = headers.of_error(error, self.inbound.request_id, self.rates)
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

    def _parse(self) -> Call:
        inbound = self.inbound
        if self.runtime.draining:
            raise ShutdownError("The server is shutting down.", retry_after_s=1)
        if inbound.controls.hops >= MAX_HOPS:
            raise LoopError("The gateway is its own provider.")
        body, size = inbound.body, len(inbound.body)
        if isinstance(body, bytes):
            body = parse_body(body)
        else:
            size = headers.size_of(body)
        call: Call = inbound.door.parse_call(body, size=size)
        return call

    async def _take_rates(self, call: Call) -> None:
        caller = self.inbound.caller
        tokens = bounds.estimate(call.size) + (call.max_output_tokens or 0) * call.choices
        self.rates = await self.runtime.limits.admit(
            caller.tenant_id, str(self.inbound.request_id), caller.rates, tokens
        )
        if not self.rates.allowed:
            raise rate_error(self.rates)

    async def _first_answer(self, call: Call) -> Attempt:
        """Go down the plan until a target answers. Raises the last one's fault."""
        self.plan = self._plan(call)
        left, repeats = list(self.plan.attempts), 0
        failures: list[GatewayError] = []
        await self._rest_first(left)
        while left:
            if self._stopped is not None:
                raise self._stopped
            target = left.pop(0)
            outcome = await self._try(call, target, last=not left)
            if isinstance(outcome, Attempt):
                return outcome
            if outcome is None:
                continue
            failures.append(outcome)
            left = remaining(left, target, outcome)
            step = next_step(self._situation(failures, left, target, repeats), self.runtime.rng)
            self.steps.append(step.reason)
            self._look_for_caller()
            if step.action == "stop" or self.left:
                break
            self.runtime.retry_budget = self.runtime.retry_budget.further()
            if step.action == "repeat":
                repeats += 1
                await asyncio.sleep(step.wait_s)
                left = [soonest([target, *self.plan.attempts], self._view(call))[0]]
        if failures:
            raise self._with_time(failures[-1])
        raise self.refusal or self._nothing_open()

    async def _try(
        self, call: Call, target: Target, *, last: bool
    ) -> Attempt | GatewayError | None:
        """Return an open attempt, what it failed by, or None for a target that is passed over."""
        attempt = Attempt(self.runtime, self.inbound, call, target, len(self.attempts) + 1)
        try:
            return await self._open(attempt, last=last)
        except CircuitOpen as passed:
            self.skipped.append(Dropped(target.name, "condition", str(passed)))
            return None
        except (BudgetError, RateLimitError, UnexpressibleError) as error:
            # Of this target alone: a cheaper or freer one may do, another may have the word.
            self.refusal = error
            self.skipped.append(Dropped(target.name, "condition", error.message))
            return None
        except GatewayError as error:
            return error

    async def _open(self, attempt: Attempt, *, last: bool) -> Attempt:
        """Open an attempt; one that fails is ended here, and listed unless nothing was held."""
        self._current, self._opening = attempt, asyncio.current_task()
        try:
            await attempt.open(self._deadline(attempt.target), last=last)
        except BaseException as error:
            self._opening = None
            if attempt.hold is not None:
                self.attempts.append(attempt)
                self._keep_refusal(attempt, error)
            if self._stopped is not None:
                await self._stopped_opening(attempt, error)
            await attempt.end(_fault(error), left=isinstance(error, CancelledError))
            raise
        self._opening = None
        self.attempts.append(attempt)
        return attempt

    # --- the way back -------------------------------------------------------------------------

    async def _stream(self, attempt: Attempt) -> AsyncIterator[bytes]:
        """Yield the answer; a caller that left costs what the provider bills, so it is read on."""
        try:
            if attempt.head:
                self._hear(attempt.head)
                yield attempt.head
            async for chunk in attempt.rest():
                if self.left_at + DRAIN_S < self.runtime.clock():
                    break
                self._hear(chunk)
                yield chunk
            self._keep(attempt)
            await self._end(attempt, None)
        except GatewayError as cause:
            self.error = error = self._stopped or cause
            await self._end_early(attempt, error)
            await self._drop_claim()
            yield self.inbound.door.render_stream_error(
                error, request_id=str(self.inbound.request_id)
            )
            raise Unfinished from None
        yield attempt.tail

    def _look_for_caller(self) -> None:
        """Notice a caller that hung up while it waited for its answer to begin."""
        if self.inbound.has_left():
            self._gone()

    def _gone(self) -> None:
        self.left_at = min(self.left_at, self.runtime.clock())

    async def _end(self, attempt: Attempt, error: GatewayError | None) -> None:
        self._look_for_caller()
        await attempt.end(error, left=self.left)

    # --- stopped from outside -----------------------------------------------------------------

    @property
    def serving(self) -> int | None:
        """The deployment that is called, once one is."""
        return self._current.deployment.id if self._current else None

    def stop(self, error: GatewayError) -> None:
        """End the request with this error at the next opportunity, which is now where it waits."""
        if self._stopped is not None:
            return
        self._stopped = error
        if self._opening is not None:
            self._opening.cancel()
        elif self._current is not None:
            self._current.abort()

    async def _stopped_opening(self, attempt: Attempt, error: BaseException) -> NoReturn:
        """End an attempt that was stopped before it answered. Raises why."""
        task = asyncio.current_task()
        if isinstance(error, CancelledError) and task is not None:
            task.uncancel()
        await attempt.end(None, left=True)
        assert self._stopped is not None  # noqa: S101 - asked by the only caller
        raise self._stopped from None

    async def _end_early(self, attempt: Attempt, error: GatewayError) -> None:
        """End an attempt that broke; one that was stopped costs what one costs that was left."""
        if error is self._stopped:
            await attempt.end(None, left=True)
        else:
            await self._end(attempt, error)

    async def close(self) -> None:
        """Give back what is still held and write the record; the scope calls it, once."""
        stops(self.runtime).leave(self)
        for attempt in self.attempts:
            await attempt.end(None, left=True)
        await self._drop_claim()
        if self.rates is not None and self.rates.ticket is not None:
            await self._give_back_rates()
        if not self._recorded:
            self._recorded = True
            self.runtime.recorder.record(call_record(self))

    async def _give_back_rates(self) -> None:
        assert self.rates is not None  # noqa: S101 - asked by the only caller
        limits = self.runtime.limits
        if self.error is not None and not self.attempts:
            await limits.refund(self.rates.ticket)  # refused before anything was tried
            return
        used = sum(a.bill.usage.input + a.bill.usage.output for a in self.attempts if a.bill)
        await limits.settle(self.rates.ticket, used)

    @property
    def left(self) -> bool:
        """Say whether the caller went away before the end."""
        return self.left_at < math.inf

    @property
    def cost_nano(self) -> int:
        return sum(attempt.bill.amount_nano for attempt in self.attempts if attempt.bill)

    # --- once for an Idempotency-Key ----------------------------------------------------------

    def _hear(self, piece: bytes) -> None:
        if self._once is not None:
            self._once.hear(piece)

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
        if once is None or not isinstance(error, CallerError):
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
        configuration = self.runtime.snapshot.current.configuration
        ask = asking_for(self.inbound, call)
        view = view_for(self.runtime, self.inbound, call, self.runtime.turn(call.model))
        return plan(ask, configuration, view, self.runtime.rng)

    def _view(self, call: Call) -> View:
        return view_for(self.runtime, self.inbound, call)

    async def _rest_first(self, targets: list[Target]) -> None:
        """Wait for the first target where all of them rest. Raises ThrottledError if too long."""
        self.runtime.retry_budget = self.runtime.retry_budget.first()
        # The plan puts what rests last. A broken key or name is tried all the same when nothing
        # else is left: only a rate limit says when to come back.
        now, rests = self.runtime.clock(), self.runtime.board.rests
        wait = rests.get(rest_key(targets[0], "pair"), now) - now
        if wait <= 0:
            return
        step = rest_step(wait, self._deadline(targets[0]) - self.runtime.clock(), self.runtime.rng)
        self.steps.append(step.reason)
        if step.action == "stop":
            raise ThrottledError("Every provider is rate limited.", retry_after_s=wait)
        await asyncio.sleep(step.wait_s)

    def _deadline(self, target: Target) -> float:
        total = target.deployment.provider.timeouts.total
        asked = self.inbound.controls.timeout_s
        limit = self.inbound.started + (total if asked is None else min(total, asked))
        return min(limit, self._run_until)

    def _situation(
        self, failures: list[GatewayError], left: list[Target], target: Target, repeats: int
    ) -> Situation:
        board = self.runtime.board
        health = board.health.get(target.deployment.id)
        return Situation(
            failures=failures,
            targets_left=len(left),
            # Of who is next: a provider that is given less time than the next uses up only its own.
            deadline_left_s=self._deadline(left[0] if left else target) - self.runtime.clock(),
            budget=self.runtime.retry_budget,
            policy=target.deployment.provider.retry,
            repeats=repeats,
            error_rate=health.error_rate if health else 0.0,
            repeat_success=health.repeat_success if health else None,
        )

    def _with_time(self, error: GatewayError) -> GatewayError:
        """Let a caller come back when the first target does, whatever the last provider said."""
        if isinstance(error, ThrottledError | UnavailableError) and self.plan is not None:
            assert self.call is not None  # noqa: S101 - planned for it
            error.retry_after_s = soonest(self.plan.attempts, self._view(self.call))[1] or None
        return error

    def _nothing_open(self) -> NoTargetError:
        """Return the error for a plan whose every circuit refuses."""
        assert self.plan is not None  # noqa: S101 - planned before
        waits = [self.runtime.board.retry_after_s(t.deployment) for t in self.plan.attempts]
        known = [wait for wait in waits if wait is not None]
        return NoTargetError(
            "Every provider of this model is resting after failures.",
            retry_after_s=max(1.0, min(known, default=1.0)),
        )

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
