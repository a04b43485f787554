"""Hold again what runs in a process that was frozen or cut off for longer than its lease.

Others have swept its holds by then: each attempt was charged and what it may still spend is free
for all. Who fits goes on as if nothing had been; who does not is ended, settled.
"""

import asyncio
import logging
from collections.abc import Iterable
from typing import Protocol

from llm_gateway.errors import BudgetError, GatewayError
from llm_gateway.service.settling import refusal_detail
from tenants.money.ledger import Ledger
from tenants.money.types import Hold, LedgerUnavailableError, Refusal

AGAIN_S = 0.5

log = logging.getLogger(__name__)


class Holding(Protocol):
    """A request with the holds of its attempts that run."""

    @property
    def holds(self) -> tuple[Hold, ...]: ...

    def stop(self, error: GatewayError) -> None: ...


async def hold_again(ledger: Ledger, running: Iterable[Holding]) -> None:
    """Hold again for all of them at once: it is one group of the ledger."""
    await asyncio.gather(*(_again(ledger, one, hold) for one in running for hold in one.holds))


async def _again(ledger: Ledger, one: Holding, hold: Hold) -> None:
    # A hold without buckets was never written: the database was away.
    while hold.bucket_ids is not None and any(each is hold for each in one.holds):
        try:
            answer = await ledger.hold_again(hold)
        except LedgerUnavailableError:
            await asyncio.sleep(AGAIN_S)
            continue
        if isinstance(answer, Refusal):
            log.warning("ended: its hold was swept and does not fit any more")
            one.stop(BudgetError(answer.message, detail=refusal_detail(answer)))
        return
