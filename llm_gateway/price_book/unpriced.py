"""Find models without a price: a hard budget refuses them, without one they are served for nothing.

Called ones come with what they were called without one; a correction of it takes them off the list.
"""

from datetime import date, datetime
from typing import Any

from django.db.models import Count, Exists, Max, OuterRef
from msgspec import Struct

from llm_gateway import models, pricing
from llm_gateway.snapshot import price_value
from tenants.money.models import Entry


class Unpriced(Struct, frozen=True):
    """A model that has no price now, or was called when it had none."""

    model: models.Model
    priced_now: bool
    attempts: int = 0
    last: datetime | None = None


def unpriced(today: date) -> list[Unpriced]:
    """Return them, most called first."""
    called = {row["deployment_id"]: row for row in _called()}
    found = []
    for model in models.Model.objects.select_related("provider__tenant").prefetch_related("prices"):
        price = pricing.price_at(map(price_value, model.prices.all()), today)
        priced = price is not None and pricing.has_lines(price)
        row = called.get(model.pk)
        if row or (model.enabled and not priced):
            attempts, last = (row["attempts"], row["last"]) if row else (0, None)
            found.append(Unpriced(model, priced, attempts, last))
    return sorted(found, key=lambda one: (-one.attempts, one.model.name))


def _called() -> Any:  # noqa: ANN401 - rows of an aggregation
    corrected = Entry.all_tenants_unsafe.filter(
        request_id=OuterRef("request_id"),
        attempt_no=OuterRef("attempt_no"),
        kind=Entry.Kind.CORRECTION,
    )
    attempts = Entry.all_tenants_unsafe.filter(unpriced=True, kind=Entry.Kind.ATTEMPT)
    return (
        attempts.exclude(outcome="failed")
        .filter(~Exists(corrected))
        .values("deployment_id")
        .annotate(attempts=Count("pk"), last=Max("created_at"))
        .order_by()
    )
