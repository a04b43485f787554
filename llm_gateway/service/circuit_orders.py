"""Decide about a circuit by hand: rows that every process reads with the configuration.

So an order holds in the whole fleet within half a second, with Redis and without, and after a
restart for as long as it was given. Of each deployment the last one counts.
"""

from datetime import datetime, timedelta
from math import inf

from django.db import transaction

from llm_gateway.models import CircuitOrder, Model
from llm_gateway.resilience.breaker import Order
from llm_gateway.snapshot import GivenOrder
from tenants import audit

LONGEST = timedelta(days=31)
# An older reset has nothing left to say to a process that reads it for the first time.
RESET_HOLDS_S = 60.0


class OrderError(Exception):
    """An order that cannot be given; the text names the field."""


def give_order(
    model: Model, action: str, by: str, *, now: datetime, until: datetime | None = None
) -> CircuitOrder:
    """Write an order and its audit event. Raises OrderError."""
    _check(action, now, until)
    with transaction.atomic():
        model.circuit_orders.all().delete()
        order = CircuitOrder(model=model, action=action, until=until, given_by=by[:254])
        order.save()
        audit.record(by, f"circuit {action}", model, None, {"until": until and until.isoformat()})
    return order


def order_of(given: GivenOrder, ahead_s: float) -> Order:
    """Return an order on a process' own clock, which is so far ahead of the wall's."""
    until = inf if given.until is None else given.until + ahead_s
    return Order(given.id, given.action, given.by, until)


def _check(action: str, now: datetime, until: datetime | None) -> None:
    if action not in CircuitOrder.Action.values:
        known = ", ".join(CircuitOrder.Action.values)
        raise OrderError(f"'action' must be one of {known}.")
    if action == CircuitOrder.Action.RESET:
        if until is not None:
            raise OrderError("'seconds' has no meaning for a reset.")
        return
    if until is None or not now < until <= now + LONGEST:
        raise OrderError(f"'seconds' must be from 1 to {int(LONGEST.total_seconds())}.")
