"""Find models without a price, or with none for something that was used.

A hard budget refuses them; without one they are served for nothing, or for less than they cost.
Called ones come with what they were called without it; a correction of it takes them off the list.
"""

from collections import defaultdict
from collections.abc import Iterable
from datetime import date, datetime
from typing import Any

from django.db.models import Count, Exists, Max, OuterRef, QuerySet
from msgspec import Struct

from llm_gateway import models, pricing
from llm_gateway.snapshot import price_value
from llm_gateway.types import Price
from tenants.money.models import Entry

# Of how many attempts, the latest first, it is said what they used.
LOOKED_AT = 1000


class Unpriced(Struct, frozen=True):
    """A model that has no price now, or was called when it had none.

    `units` are what attempts used beside what has a price; without any, nothing has one.
    """

    model: models.Model
    priced_now: bool
    attempts: int = 0
    last: datetime | None = None
    units: tuple[str, ...] = ()


def unpriced(today: date) -> list[Unpriced]:
    """Return them, most called first."""
    called = {row["deployment_id"]: row for row in _called()}
    used = _units()
    found = []
    for model in models.Model.objects.select_related("provider__tenant").prefetch_related("prices"):
        price = pricing.price_at(map(price_value, model.prices.all()), today)
        units = tuple(sorted(used.get(model.pk, ())))
        priced = price is not None and _prices(price, units)
        row = called.get(model.pk)
        if price is not None and row and priced and _costs_nothing(price, units):
            continue  # there is nothing to correct
        if row or (model.enabled and not priced):
            attempts, last = (row["attempts"], row["last"]) if row else (0, None)
            found.append(Unpriced(model, priced, attempts, last, units))
    return sorted(found, key=lambda one: (-one.attempts, one.model.name))


def without_price(today: date) -> int:
    """Return how many models that are switched on have no price now; reads no entries."""
    enabled = models.Model.objects.filter(enabled=True).prefetch_related("prices")
    found = (pricing.price_at(map(price_value, one.prices.all()), today) for one in enabled)
    return sum(price is None or not pricing.has_lines(price) for price in found)


def _prices(price: Price, units: Iterable[str]) -> bool:
    return pricing.has_lines(price) and all(pricing.is_known(price, unit) for unit in units)


def _costs_nothing(price: Price, units: Iterable[str]) -> bool:
    """Say whether what was used without a price is free by this one."""
    lines = [line for unit in units for line in pricing.UNITS[unit][0]]
    return not any(getattr(price, line) for line in lines) if units else pricing.is_free(price)


def _called() -> Any:  # noqa: ANN401 - rows of an aggregation
    return (
        _attempts()
        .values("deployment_id")
        .annotate(attempts=Count("pk"), last=Max("created_at"))
        .order_by()
    )


def _units() -> dict[int, set[str]]:
    """Return what attempts of each deployment used that had no price."""
    found: defaultdict[int, set[str]] = defaultdict(set)
    latest = _attempts().order_by("-created_at").values_list("deployment_id", "lines")
    for deployment_id, lines in latest[:LOOKED_AT]:
        missing = (line["unit"] for line in lines if line["price_nano"] is None)
        found[deployment_id or 0].update(missing)
    return found


def _attempts() -> QuerySet[Entry]:
    """Return the attempts of which not all had a price, and that nobody corrected since."""
    right = Entry.all_tenants_unsafe.filter(
        request_id=OuterRef("request_id"),
        attempt_no=OuterRef("attempt_no"),
        kind__in=(Entry.Kind.CORRECTION, Entry.Kind.ADJUSTMENT),
        unpriced=False,
    )
    attempts = Entry.all_tenants_unsafe.filter(unpriced=True, kind=Entry.Kind.ATTEMPT)
    return attempts.exclude(outcome="failed").filter(~Exists(right))
