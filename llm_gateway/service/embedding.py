"""Carry an embeddings request in as many calls as its inputs need, each with its own hold.

Every batch goes down the plan on its own. All of them stay with one public name of the plan:
vectors of several models do not compare.
"""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from itertools import count

from msgspec.structs import replace
from typing_extensions import override

from llm_gateway.adapters.base import EmbeddingsAdapter
from llm_gateway.errors import BudgetError, GatewayError, RateLimitError, UpstreamError
from llm_gateway.routing.router import Plan
from llm_gateway.service.attempt import Attempt
from llm_gateway.service.bounds import counted
from llm_gateway.service.exchange import Exchange
from llm_gateway.service.sharing import SharedAttempt
from llm_gateway.types import Call, Quirks, Target, Usage

# Of one request, so that it leaves others room at the provider and its answers fit into memory.
MOST_AT_ONCE = 16


class EmbeddingExchange(Exchange):
    """A request for vectors; one that fits into a single call goes the way of all others."""

    _batches: tuple["_Batch", ...] = ()
    _latest: Attempt | None = None  # the batch that was answered last: the one still open

    @override
    async def _first_answer(self, call: Call) -> Attempt:
        if call.items == 1:
            return await super()._first_answer(call)
        self.plan = plan = self._plan(call)
        calls = self._door.split(call, _tightest(plan))
        if len(calls) == 1:
            return await super()._first_answer(call)
        names = list(dict.fromkeys(target.deployment.name for target in plan.attempts))
        for name in names[:-1]:
            with suppress(UpstreamError, BudgetError, RateLimitError):
                return await self._all(call, calls, _narrowed(plan, name))
            if self.stopped is not None:
                raise self.stopped
        return await self._all(call, calls, _narrowed(plan, names[-1]))

    @override
    def attempt_for(self, call: Call, target: Target, number: int) -> Attempt:
        return attempt_of(self, call, target, number)

    @override
    def stop(self, error: GatewayError) -> None:
        super().stop(error)
        for batch in self._batches:
            batch.stop(error)

    @property
    @override
    def serving(self) -> int | None:
        called = (batch.serving for batch in self._batches)
        return next((one for one in called if one is not None), super().serving)

    @property
    @override
    def usage(self) -> Usage:
        """The tokens of all batches that were answered, which are those of the answer."""
        bills = [attempt.bill for attempt in self.attempts if attempt.bill and not attempt.error]
        return Usage(
            input=sum(bill.usage.input for bill in bills),
            estimated=any(bill.usage.estimated for bill in bills),
        )

    @property
    def _door(self) -> EmbeddingsAdapter:
        door: EmbeddingsAdapter = self.inbound.door
        return door

    async def _all(self, call: Call, calls: list[Call], plan: Plan) -> Attempt:
        """Return the attempt that was answered last, with the whole answer; the others are settled.

        Raises BudgetError before the first where they do not fit together; and what a batch failed
        by: those that ran beside it are ended, and what they cost stays.
        """
        first = plan.attempts[0]
        rehearsal = _Rehearsal(self.runtime, self.inbound, call, first, 0)
        await rehearsal.check_budget(self.deadline(first))
        tried, provider = len(self.attempts), plan.attempts[0].deployment.provider
        numbers, until = count(tried + 1), self._run_until
        self._batches = batches = tuple(_Batch(self, one, plan, numbers, until) for one in calls)
        fault: GatewayError | None = None
        try:
            async with asyncio.TaskGroup() as tasks:
                work = iter(batches)
                for _ in range(min(MOST_AT_ONCE, provider.max_concurrent_requests, len(batches))):
                    tasks.create_task(self._work(work))
        except* GatewayError as faults:
            fault = next(_leaves(faults))
        finally:
            begun = [attempt for batch in batches for attempt in batch.attempts]
            self.attempts[tried:] = sorted(begun, key=lambda attempt: attempt.number)
            self.skipped += [one for batch in batches for one in batch.skipped]
            self.steps += [step for batch in batches for step in batch.steps]
        if fault is not None:
            raise fault
        return self._joined()

    async def _work(self, batches: Iterator["_Batch"]) -> None:
        """Have batches answered until none is left, or nobody who waits for them."""
        for batch in batches:
            self.look_for_caller()
            if self.left and self._latest is not None:
                return
            attempt = await batch.answered()
            before, self._latest = self._latest, attempt
            if before is not None:
                await before.end(None)

    def _joined(self) -> Attempt:
        """Return the last attempt with the whole answer; with none where its caller has left."""
        assert self._latest is not None  # noqa: S101 - at least one batch was answered
        bodies = [batch.body for batch in self._batches]
        self._latest.head = self._latest.tail = b""
        if all(bodies):
            usage = Usage(input=sum(batch.used for batch in self._batches))
            self._latest.tail = self._door.join(bodies, usage)
        else:
            self._latest.facts.complete = False
        return self._latest


class _Rehearsal(Attempt):
    """All batches as one attempt that is never made: nobody pays for half of an answer."""

    async def check_budget(self, deadline: float) -> None:
        """Raise BudgetError where they do not fit together; nothing stays held."""
        self.outgoing = self._render()
        if self.hard:
            await self.runtime.ledger.release(await self._admit(deadline))


class _Batch(Exchange):
    """One batch: an exchange of its own within the request, which alone is limited and recorded."""

    def __init__(
        self, whole: Exchange, call: Call, plan: Plan, numbers: Iterator[int], until: float
    ) -> None:
        super().__init__(whole.runtime, replace(whole.inbound, idempotency=None))
        self._run_until = until
        self.call, self.plan = call, plan
        self.body = b""
        self.used = 0
        self._numbers = numbers
        self.reuse = None

    async def answered(self) -> Attempt:
        assert self.call is not None  # noqa: S101 - given when it was made
        attempt = await self._first_answer(self.call)
        self.body = attempt.head + attempt.tail
        self.used = (attempt.facts.usage or counted(attempt.facts, attempt.asked)).input
        return attempt

    @override
    def attempt_for(self, call: Call, target: Target, number: int) -> Attempt:
        del number  # of all batches together
        return attempt_of(self, call, target, next(self._numbers))


def _narrowed(plan: Plan, name: str) -> Plan:
    """Return the plan with the targets of one public name alone."""
    fitting = tuple(target for target in plan.attempts if target.deployment.name == name)
    return Plan(fitting, plan.dropped)


def _tightest(plan: Plan) -> Quirks:
    """Return what every target of a plan takes at once."""
    quirks = [target.deployment.provider.quirks for target in plan.attempts]
    return Quirks(
        embeddings_batch=min(one.embeddings_batch for one in quirks),
        embeddings_batch_bytes=min(one.embeddings_batch_bytes for one in quirks),
    )


def _leaves(group: BaseExceptionGroup[GatewayError]) -> Iterator[GatewayError]:
    """Yield the errors themselves: what is gathered may be gathered again."""
    for one in group.exceptions:
        if isinstance(one, BaseExceptionGroup):
            yield from _leaves(one)
        else:
            yield one


def attempt_of(exchange: Exchange, call: Call, target: Target, number: int) -> Attempt:
    """Return an attempt; a small one may share its call where the deployment is set to."""
    batching = target.deployment.batching
    small = batching is not None and call.items < batching.inputs
    kind = SharedAttempt if small else Attempt
    return kind(exchange.runtime, exchange.inbound, call, target, number)
