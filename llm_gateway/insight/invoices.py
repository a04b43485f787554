"""Keep what providers state and set it against the ledger, a row for each UTC day and model.

Ours are the attempts of the ledger at the provider's deployments; corrections count to their cost.
Models are compared by their upstream name without its date.
"""

from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.db import DEFAULT_DB_ALIAS, transaction
from django.db.models import BigIntegerField, Count, F, Max, Min, Q, Sum
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import Cast, Coalesce, TruncDate
from msgspec import Struct

from llm_gateway.insight.drift import Cause, Ours, Theirs, cause, drift, undated
from llm_gateway.insight.invoice_files import Stated
from llm_gateway.models import InvoiceLine, Model, Provider, UsageHour
from tenants.money.models import Entry

Place = tuple[date, str]
_STATED = ("requests", "input_tokens", "cached_tokens", "output_tokens", "cost_nano")


class Compared(Struct, frozen=True, kw_only=True):
    """One day of one model: both sides, how much more they state, and why that may be."""

    day: date
    model: str
    ours: Ours
    theirs: Theirs
    tokens_drift: float | None
    cost_drift: float | None
    cause: Cause


def keep(provider: Provider, stated: Iterable[Stated], *, using: str = DEFAULT_DB_ALIAS) -> int:
    """Keep the lines of one file; what it states takes the place of what was stated before."""
    lines = list(stated)
    with transaction.atomic(using=using):
        for one in lines:
            told = {name: getattr(one, name) for name in _STATED if getattr(one, name) is not None}
            if one.keys:
                told["keys"] = sorted(one.keys)
            InvoiceLine.objects.using(using).update_or_create(
                provider=provider, day=one.day, model=one.model[:128], defaults=told
            )
    return len(lines)


def compare(
    provider: Provider, start: date, end: date, *, using: str = DEFAULT_DB_ALIAS
) -> list[Compared]:
    """Return each day from `start` to before `end` and model that either side has, newest first."""
    ours = _ours(provider, start, end, using)
    theirs = _theirs(provider, start, end, using)
    places = sorted(
        ours.keys() | theirs.keys(), key=lambda place: (-place[0].toordinal(), place[1])
    )
    return [
        _compared(place, ours.get(place, Ours()), theirs.get(place, Theirs())) for place in places
    ]


def stating(*, using: str = DEFAULT_DB_ALIAS) -> list[Any]:
    """Return the providers of whom something was imported, with its `first` and `last` day."""
    rows = Provider.objects.using(using).filter(invoice_lines__isnull=False)
    spans = rows.annotate(first=Min("invoice_lines__day"), last=Max("invoice_lines__day"))
    return list(spans.order_by("name"))


def cost_drift(
    provider: Provider, start: date, end: date, *, using: str = DEFAULT_DB_ALIAS
) -> float | None:
    """Return how much more they state in all than the sums by hour have; None: it is no number.

    It is quick over any ledger. Which day and model it is, `compare` tells.
    """
    lines = InvoiceLine.objects.using(using).filter(provider=provider, day__gte=start, day__lt=end)
    theirs = lines.aggregate(cost=Sum("cost_nano"))["cost"]
    hours = UsageHour.all_tenants_unsafe.using(using).filter(
        provider=provider.name,
        hour__gte=datetime.combine(start, time(0), UTC),
        hour__lt=datetime.combine(end, time(0), UTC),
    )
    return drift(hours.aggregate(cost=Sum("cost_nano", default=0))["cost"], theirs)


def _compared(place: Place, ours: Ours, theirs: Theirs) -> Compared:
    return Compared(
        day=place[0],
        model=place[1],
        ours=ours,
        theirs=theirs,
        tokens_drift=drift(ours.tokens, theirs.tokens),
        cost_drift=drift(ours.cost_nano, theirs.cost_nano),
        cause=cause(ours, theirs),
    )


def _theirs(provider: Provider, start: date, end: date, using: str) -> dict[Place, Theirs]:
    found: dict[Place, Theirs] = {}
    lines = InvoiceLine.objects.using(using).filter(provider=provider, day__gte=start, day__lt=end)
    for line in lines:
        one = found.setdefault((line.day, undated(line.model)), Theirs())
        one.keys |= frozenset(line.keys)
        for name in _STATED:
            if (value := getattr(line, name)) is not None:
                setattr(one, name, (getattr(one, name) or 0) + value)
    return found


def _ours(provider: Provider, start: date, end: date, using: str) -> dict[Place, Ours]:
    models = Model.objects.using(using).filter(provider=provider)
    names = {model.pk: undated(model.upstream_name or model.name) for model in models}
    keys = provider.keys.using(using).count()
    found: dict[Place, Ours] = {}
    for row in _entries(list(names), start, end, using):
        place = (row["day"], names[row["deployment_id"]])
        one = found.setdefault(place, Ours(keys=keys))
        for name in ("requests", "input_tokens", "cached_tokens", "output_tokens", "cost_nano"):
            setattr(one, name, getattr(one, name) + (row[f"_{name}"] or 0))
        one.estimated += row["_estimated"] or 0
    return {place: one for place, one in found.items() if one.tokens or one.cost_nano}


def _entries(deployments: list[int], start: date, end: date, using: str) -> Iterable[Any]:
    entries = Entry.all_tenants_unsafe.using(using).filter(
        deployment_id__in=deployments,
        created_at__gte=datetime.combine(start, time(0), UTC),
        created_at__lt=datetime.combine(end, time(0), UTC),
        kind__in=(Entry.Kind.ATTEMPT, Entry.Kind.CORRECTION),
    )
    counted = entries.annotate(
        day=TruncDate("created_at", tzinfo=UTC),
        input=_used("input", "input_token"),
        output=_used("output", "output_token"),
        cached=_used("cache_read"),
    )
    attempt = Q(kind=Entry.Kind.ATTEMPT)
    guessed = attempt & Q(estimated=True)
    return counted.values("day", "deployment_id").annotate(
        _requests=Count("pk", filter=attempt),
        _input_tokens=Sum("input", filter=attempt),
        _output_tokens=Sum("output", filter=attempt),
        _cached_tokens=Sum("cached", filter=attempt),
        _estimated=Sum(F("input") + F("output"), filter=guessed),
        _cost_nano=Sum("amount_nano"),
    )


def _used(*names: str) -> Coalesce:
    """Return a count of an entry's usage, by the first of its names that is there."""
    counts = [Cast(KeyTextTransform(name, "usage"), BigIntegerField()) for name in names]
    return Coalesce(*counts, 0)


def last_days(days: int, today: date) -> tuple[date, date]:
    """Return the span of so many days that ends with today."""
    return today - timedelta(days=days - 1), today + timedelta(days=1)
