"""What can be asked of the ledger in one group."""

import math
from datetime import datetime
from uuid import UUID

from msgspec import Struct

from tenants.money.claims import Claim, Kept
from tenants.money.rows import EntryRow, HoldRow
from tenants.money.runs import Step
from tenants.money.types import Charges, Hold, HoldRequest, Settlement
from tenants.types import BudgetRule, Period

# Budget, kind of period, zone, subject: which bucket it is follows from the instant.
Place = tuple[int, Period, str, str]

# Unit of the line by which a correction's lines sum to its amount.
CHARGED_BEFORE = "charged_before"


class Admit(Struct):
    """Take a hold."""

    id: UUID
    request: HoldRequest


class Settle(Struct):
    """End an attempt: entry in, hold out, and the answer kept under its idempotency key."""

    hold: Hold
    settlement: Settlement
    kept: Kept | None = None


class Release(Struct):
    """Give back a hold whose attempt never started."""

    hold_id: UUID


class Mark(Struct):
    """Say that the provider may have billed an attempt of which nobody saw the end."""

    hold_id: UUID
    seen_output: int


class Note(Struct):
    """Write an entry that needs no money, such as an answer from the cache."""

    entry: EntryRow


class Expire(Struct):
    """End an attempt whose process or deadline is gone."""

    hold: HoldRow
    charges: Charges


class HoldAgain(Struct):
    """Hold for a running attempt what nobody has charged for it, if its hold was swept."""

    hold: Hold


class Correct(Struct):
    """Make what an attempt was charged in all what `entry` says, by one more entry of its kind."""

    entry: EntryRow


class TakeClaim(Struct):
    """Claim an idempotency key, or be told what stands under it."""

    claim: Claim


class DropClaim(Struct):
    """Let the next request under the key run anew, unless an answer is kept there."""

    claim: Claim


class TakeStep(Struct):
    """Count a step of an agent run, or be told why there is none left."""

    step: Step


Op = (
    Admit
    | Settle
    | Release
    | Mark
    | Note
    | Expire
    | HoldAgain
    | Correct
    | TakeClaim
    | DropClaim
    | TakeStep
)


def undoing(op: Op) -> Op | None:
    """Return what takes back an operation that nobody waits for any more; None for the others."""
    match op:
        case Admit():
            return Release(op.id)
        case TakeClaim():
            return DropClaim(op.claim)
        case _:
            return None


def place(bound: tuple[BudgetRule, str]) -> Place:
    rule, subject = bound
    return rule.id, rule.period, rule.zone, subject


def bound_places(request: HoldRequest) -> list[Place]:
    """Return which places the request needs room in; nothing that is free needs any."""
    if request.zero_price:
        return []
    return [(rule.id, rule.period, rule.zone, subject) for rule, subject in request.buckets]


def expired_settlement(hold: HoldRow, charges: Charges) -> Settlement:
    """Return what an expired hold is charged; never more than was held."""
    uncertain = hold.state == "uncertain"
    amount = hold.amount_nano
    if (charges.uncertain if uncertain else charges.orphan) == "input":
        output = math.ceil(hold.seen_output * hold.output_nano_per_million / 1_000_000)
        amount = min(amount, hold.input_nano + (output if uncertain else 0))
    return Settlement(
        outcome="uncertain" if uncertain else "orphan",
        amount_nano=amount,
        estimated=True,
        usage={"input_token": hold.input_estimate, "output_token": hold.seen_output},
    )


class Past(Struct, frozen=True):
    """An entry of an attempt that is already written."""

    seq: int
    outcome: str
    amount_nano: int


class BucketState(Struct, frozen=True, kw_only=True):
    """A bucket as locked, with what its budget says now. `raise_nano` counts at this instant."""

    id: int
    starts_at: datetime
    ends_at: datetime | None
    used_nano: int
    held_nano: int
    limit_nano: int | None
    hard: bool
    raise_nano: int
    thresholds_ppm: tuple[int, ...]
    alerted_ppm: int
