"""Raise a budget for a while: the ledger's guard counts it from the next request until its end.

Nothing has to take a raise back. Who may not raise one asks for it, and somebody who may decides.
"""

from datetime import datetime

from django.db import transaction

from tenants import audit
from tenants.models import Budget, RaiseRequest
from tenants.seats import Seat
from tenants.types import MAX_NANO


def limit_in_force(budget: Budget, now: datetime) -> int | None:
    """Return the limit with the raise that holds now; None where the budget only counts."""
    return None if budget.limit_nano is None else budget.limit_nano + raise_in_force(budget, now)


def raise_in_force(budget: Budget, now: datetime) -> int:
    """Return the raise that holds now, as the guard sees it: one without an end is none."""
    if budget.raise_until is None or budget.raise_until <= now:
        return 0
    return int(budget.raise_nano)


def raise_budget(
    budget: Budget, amount_nano: int, until: datetime, *, actor: str, now: datetime
) -> None:
    """Raise a budget by this much until then; 0 ends a raise. Raises ValueError with a sentence."""
    _check(budget, amount_nano, until, now)
    before = audit.fields_of(budget)
    budget.raise_nano, budget.raise_until = amount_nano, until
    budget.save(update_fields=["raise_nano", "raise_until", "updated_at"])
    audit.record(actor, "raised", budget, before, audit.fields_of(budget))


def ask_for_raise(
    budget: Budget,
    amount_nano: int,
    until: datetime,
    reason: str,
    *,
    seat: Seat,
    now: datetime,
) -> RaiseRequest:
    """Write down that somebody wants more. Raises ValueError with a sentence."""
    _check(budget, amount_nano, until, now)
    if not amount_nano:
        raise ValueError("Say how much more is needed.")
    asked: RaiseRequest = RaiseRequest.all_tenants_unsafe.create(
        tenant_id=budget.tenant_id,
        budget=budget,
        member_id=seat.member_id,
        asked_by=seat.person,
        amount_nano=amount_nano,
        until=until,
        reason=reason,
        created_at=now,
    )
    audit.record(seat.person, "asked", asked, None, audit.fields_of(asked))
    return asked


def decide(asked: RaiseRequest, *, approved: bool, actor: str, now: datetime) -> None:
    """Approve, which raises the budget, or refuse. Raises ValueError with a sentence."""
    with transaction.atomic():
        row = RaiseRequest.all_tenants_unsafe.select_for_update().get(pk=asked.pk)
        if row.state != RaiseRequest.State.OPEN:
            raise ValueError(f"{row.decided_by} has decided already: {row.state}.")
        if approved:
            raise_budget(row.budget, row.amount_nano, row.until, actor=actor, now=now)
        before = audit.fields_of(row)
        row.state = RaiseRequest.State.APPROVED if approved else RaiseRequest.State.REFUSED
        row.decided_at, row.decided_by = now, actor
        row.save(update_fields=["state", "decided_at", "decided_by"])
        audit.record(actor, row.state, row, before, audit.fields_of(row))


def _check(budget: Budget, amount_nano: int, until: datetime, now: datetime) -> None:
    if budget.limit_nano is None:
        raise ValueError("This budget has no limit that could be raised.")
    if until <= now:
        raise ValueError("The end of a raise has to lie ahead.")
    if not 0 <= amount_nano <= MAX_NANO - budget.limit_nano:
        raise ValueError("The raise is more than can be kept.")
