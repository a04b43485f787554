"""Raise a budget for a while: the ledger's guard counts it from the next request until its end.

Nothing has to take a raise back.
"""

from datetime import datetime

from tenants import audit
from tenants.models import Budget
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
    if budget.limit_nano is None:
        raise ValueError("This budget has no limit that could be raised.")
    if until <= now:
        raise ValueError("The end of a raise has to lie ahead.")
    if not 0 <= amount_nano <= MAX_NANO - budget.limit_nano:
        raise ValueError("The raise is more than can be kept.")
    before = audit.fields_of(budget)
    budget.raise_nano, budget.raise_until = amount_nano, until
    budget.save(update_fields=["raise_nano", "raise_until", "updated_at"])
    audit.record(actor, "raised", budget, before, audit.fields_of(budget))
