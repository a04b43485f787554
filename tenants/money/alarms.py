"""Say what is wrong with how an attempt was charged; pure.

It is charged all the same: an alarm stands beside the entry and changes nothing of it.
"""

from collections.abc import Iterator
from typing import Literal
from uuid import UUID

from msgspec import Struct

from tenants.money.applicable import plain_text
from tenants.money.types import HoldRequest, Settlement
from tenants.types import usd

AlarmKind = Literal["usage_invalid", "hold_exceeded", "cost_differs"]
KINDS: tuple[AlarmKind, ...] = ("usage_invalid", "hold_exceeded", "cost_differs")

# Where an entry keeps a usage that is none, and the line that is ours and no provider's.
INVALID, MARGIN = "invalid", "margin"
# A provider's own cost may differ from ours by a hundredth: it rounds otherwise.
TOLERATED = 100
_SAID_CHARACTERS = 300


class Alarm(Struct, frozen=True, kw_only=True):
    """One thing that is wrong with one attempt, and what was seen of it."""

    kind: AlarmKind
    said: str
    tenant_id: int
    model: str
    request_id: UUID
    attempt_no: int


def alarms_of(request: HoldRequest, settlement: Settlement) -> tuple[Alarm, ...]:
    """Return what is wrong about charging this settlement to the hold of that request."""
    return tuple(
        Alarm(
            kind=kind,
            said=plain_text(said)[:_SAID_CHARACTERS],
            tenant_id=request.tenant_id,
            model=request.model,
            request_id=request.request_id,
            attempt_no=request.attempt_no,
        )
        for kind, said in _found(request, settlement)
    )


def _found(request: HoldRequest, settlement: Settlement) -> Iterator[tuple[AlarmKind, str]]:
    if INVALID in settlement.usage:
        yield "usage_invalid", f"The provider reported as usage: {settlement.usage[INVALID]}"
    # Without a hard budget nobody sends the limit that the bound rests on.
    if request.hard and settlement.amount_nano > request.amount_nano:
        held, charged = usd(request.amount_nano), usd(settlement.amount_nano)
        yield "hold_exceeded", f"Charged {charged} USD, more than the {held} held for it."
    told, ours = settlement.provider_cost_nano, _listed_nano(settlement)
    if told is not None and abs(told - ours) * TOLERATED > max(told, ours):
        yield "cost_differs", f"The provider says {usd(told)} USD, our prices {usd(ours)}."


def _listed_nano(settlement: Settlement) -> int:
    """Return what was charged without our margin."""
    margins: Iterator[int] = (
        line["amount_nano"] for line in settlement.lines if line["unit"] == MARGIN
    )
    return settlement.amount_nano - sum(margins)
