"""Begin a batch: charged all that it may cost until its results are there.

It is begun once: a provider that may have begun it is not asked again, nor another one.
"""

import msgspec
from django.db import Error
from typing_extensions import override

from llm_gateway.errors import (
    GatewayError,
    InvalidRequestError,
    LedgerUnavailableError,
    NoTargetError,
)
from llm_gateway.pricing import Line
from llm_gateway.routing.router import Plan
from llm_gateway.service import bounds
from llm_gateway.service.attempt import Attempt, CircuitOpen
from llm_gateway.service.batches import WAY
from llm_gateway.service.exchange import Exchange
from llm_gateway.service.inbound import Inbound
from llm_gateway.service.keeper import Owner
from llm_gateway.service.runtime import Runtime
from llm_gateway.types import Call, Target, Usage
from tenants.money import types as money

UNIT = "batch"


class BatchExchange(Exchange):
    """A request that begins a batch."""

    def __init__(self, runtime: Runtime, inbound: Inbound) -> None:
        super().__init__(runtime, inbound)
        self.reuse = None  # the same words twice are two batches

    @override
    async def _first_answer(self, call: Call) -> Attempt:
        """Return the attempt that began it: the first target's, whatever becomes of that."""
        call = self.call or call
        self.plan = found = self._plan(call)
        attempt = self.attempt_for(call, found.attempts[0], 1)
        try:
            return await self.open(attempt, last=True)
        except CircuitOpen as closed:
            raise NoTargetError(str(closed), retry_after_s=closed.verdict.retry_after_s) from None

    @override
    def _plan(self, call: Call) -> Plan:
        return in_words_of(call, super()._plan(call))

    @override
    def attempt_for(self, call: Call, target: Target, number: int) -> Attempt:
        return BatchAttempt(self.runtime, self.inbound, call, target, number)

    @override
    async def _end(self, attempt: Attempt, error: GatewayError | None) -> None:
        """End the attempt; who keeps the batch is known before its caller is."""
        await super()._end(attempt, error)
        if error is None:
            await self._note(attempt)

    def _owner(self, attempt: Attempt) -> Owner:
        """Return who keeps the batch."""
        key = attempt.target.key
        return Owner(
            parent_id=str(attempt.facts.id),
            provider_id=attempt.provider.id,
            key_id=key.id if key else None,
            model=attempt.deployment.name,
            owed_by=self.inbound.request_id,
        )

    async def _note(self, attempt: Attempt) -> None:
        owner = self._owner(attempt)
        try:
            await self.runtime.keeper.keep(
                self.inbound.caller.tenant_id, [(owner.parent_id, owner)]
            )
        except Error:
            raise LedgerUnavailableError(
                f"The batch {owner.parent_id} was begun and charged, and nobody could note who"
                " keeps it.",
                retry_after_s=2,
            ) from None


def in_words_of(call: Call, found: Plan) -> Plan:
    """Return the plan with those targets alone that take batches in the words of the call.

    Raises InvalidRequestError.
    """
    spoken = tuple(
        one for one in found.attempts if one.deployment.provider.adapters.get(WAY) == call.dialect
    )
    if spoken:
        return Plan(spoken, found.dropped)
    raise InvalidRequestError(
        f"{call.model!r} takes batches in the words of another provider.", param="model"
    )


class BatchAttempt(Attempt):
    """One call that begins a batch; what that will have used, its answer cannot tell."""

    @override
    async def _settle(self, hold: money.Hold, error: GatewayError | None, *, left: bool) -> None:
        if error is not None:
            await super()._settle(hold, error, left=left)
            return
        amount_nano = hold.request.amount_nano
        line = Line(unit=UNIT, units=1, per=1, price_nano=amount_nano, amount_nano=amount_nano)
        usage = Usage(estimated=True)
        self.bill = bounds.Bill(usage=usage, amount_nano=amount_nano, lines=(line,))
        self.outcome = "cancelled" if left else "settled"
        settlement = money.Settlement(
            outcome=self.outcome,
            amount_nano=amount_nano,
            lines=msgspec.to_builtins(self.bill.lines),
            estimated=True,
        )
        await self._write(hold, settlement)
