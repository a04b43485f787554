"""Sum up a range of time from the roll-ups: by time, by one thing at a time, and the range before.

The log itself is never read, so that a range takes as long over millions of requests as over few.
Requests of no tenant (of an unknown key) are in no roll-up. All times are UTC.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import DEFAULT_DB_ALIAS
from django.db.models import ExpressionWrapper, F, QuerySet, Sum, TextField
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import TruncDay
from msgspec import Struct

from llm_gateway.insight.histogram import percentile
from llm_gateway.insight.rollup import HISTOGRAMS
from llm_gateway.models import UsageHour
from tenants.fields import WholeNumberSum
from tenants.models import Tenant

TOP = 10
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
STEPS = (HOUR, 4 * HOUR, DAY, 7 * DAY, 28 * DAY)
MOST_STEPS = 100

# What requests are broken down by and narrowed to, and the columns that tell one from another.
TAG = "tag"
DIMENSIONS: Mapping[str, tuple[str, ...]] = {
    "model": ("model",),
    "tenant": ("tenant_id",),
    "project": ("tenant_id", "project_name"),
    "key": ("tenant_id", "key_name"),
    "provider": ("provider",),
    TAG: ("tags",),
}
NARROWED = {name: DIMENSIONS[name][-1] for name in ("project", "key", "model", "provider")}

_ADDED = (
    *("requests", "failed", "input_tokens", "output_tokens"),
    *("cost_nano", "cache_hits", "saved_nano"),
)
_SUMS: dict[str, Any] = {
    **{f"sum_{name}": Sum(name) for name in _ADDED},
    **{f"sum_{name}": WholeNumberSum(name) for name in HISTOGRAMS},
}


class Window(Struct, frozen=True):
    """A half-open span of time, cut into equal steps; the last one may be shorter."""

    start: datetime
    end: datetime

    @property
    def step(self) -> timedelta:
        """Return the shortest step of which not too many are needed."""
        span = self.end - self.start
        return next((one for one in STEPS if span <= one * MOST_STEPS), STEPS[-1])

    @property
    def before(self) -> "Window":
        return Window(self.start - (self.end - self.start), self.start)


class Totals(Struct, kw_only=True):
    """What happened in a window or a part of it. `latency` and `first_token` are histograms."""

    requests: int = 0
    failed: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_nano: int = 0
    cache_hits: int = 0
    saved_nano: int = 0
    latency: int = 0
    first_token: int = 0

    def add(self, other: "Totals", *, sign: int = 1) -> None:
        for name in (*_ADDED, *HISTOGRAMS):
            setattr(self, name, getattr(self, name) + sign * getattr(other, name))

    @property
    def failed_share(self) -> float:
        return self.failed / self.requests if self.requests else 0.0

    def latency_ms(self, share: float) -> float | None:
        return percentile(self.latency, share)

    def first_token_ms(self, share: float) -> float | None:
        return percentile(self.first_token, share)


class Share(Struct, frozen=True, kw_only=True):
    """What one model, tenant, … has of a window; `name` is empty for those that have none."""

    name: str
    tenant: str
    totals: Totals


class Fault(Struct, frozen=True):
    """How many requests ended with an error's code."""

    code: str
    requests: int


class Asked(Struct, frozen=True, kw_only=True):
    """Of whom and what: one tenant or (None) all, `chosen` by dimension, broken down `by` one.

    A chosen tag is written NAME=VALUE.
    """

    window: Window
    tenant_id: int | None = None
    chosen: Mapping[str, str] = {}
    by: str = "model"


class Overview(Struct, frozen=True, kw_only=True):
    """All that the page shows. `others` is what `shares` leave out; None of tags, which overlap."""

    totals: Totals
    before: Totals
    steps: list[tuple[datetime, Totals]]
    shares: list[Share]
    others: Totals | None
    faults: list[Fault]


def last(span: timedelta, now: datetime) -> Window:
    """Return the window of this length that ends with the step that `now` lies in."""
    size = Window(now - span, now).step.total_seconds()
    end = datetime.fromtimestamp((now.timestamp() // size + 1) * size, UTC)
    return Window(end - span, end)


def overview(asked: Asked, *, using: str = DEFAULT_DB_ALIAS) -> Overview:
    """Return what the roll-ups say. Reads the database in the calling thread."""
    rows = _narrowed(asked, using)
    inside = _within(rows, asked.window)
    before, steps = _by_time(rows, asked.window)
    totals = Totals()
    for _, step in steps:
        totals.add(step)
    shares = _by_tag(inside) if asked.by == TAG else _by_columns(inside, asked.by, using)
    return Overview(
        totals=totals,
        before=before,
        steps=steps,
        shares=shares,
        others=None if asked.by == TAG else _others(totals, shares),
        faults=_faults(inside),
    )


def _narrowed(asked: Asked, using: str) -> QuerySet[UsageHour]:
    rows: QuerySet[Any] = (
        UsageHour.all_tenants_unsafe.all()
        if asked.tenant_id is None
        else UsageHour.objects.of(asked.tenant_id)
    )
    rows = rows.using(using)
    for name, value in asked.chosen.items():
        if name == TAG:
            tag, _, wanted = value.partition("=")
            # As text: by itself the transform would compare with JSON.
            text = ExpressionWrapper(KeyTextTransform(tag, "tags"), TextField())
            rows = rows.annotate(chosen_tag=text).filter(chosen_tag=wanted)
        else:
            rows = rows.filter(**{NARROWED[name]: value})
    return rows


def _within(rows: QuerySet[UsageHour], window: Window) -> QuerySet[UsageHour]:
    return rows.filter(hour__gte=window.start, hour__lt=window.end)


def _by_time(
    rows: QuerySet[UsageHour], window: Window
) -> tuple[Totals, list[tuple[datetime, Totals]]]:
    """Return the window before as a whole and each step of this one, from one pass over both."""
    step = window.step
    starts = [window.start]
    while starts[-1] + step < window.end:
        starts.append(starts[-1] + step)
    steps = [(start, Totals()) for start in starts]
    before = Totals()
    both = _within(rows, Window(window.before.start, window.end))
    # A step of days begins at midnight, so that whole days are what the database may add up.
    at = F("hour") if step < DAY else TruncDay("hour", tzinfo=UTC)
    for row in both.values(at=at).annotate(**_SUMS):
        place = (row["at"] - window.start) // step
        (before if place < 0 else steps[place][1]).add(_totals(row))
    return before, steps


def _by_columns(rows: QuerySet[UsageHour], by: str, using: str) -> list[Share]:
    columns = DIMENSIONS[by]
    found = list(rows.values(*columns).annotate(**_SUMS).order_by("-sum_requests", *columns)[:TOP])
    ids = {row["tenant_id"] for row in found if "tenant_id" in row}
    named = Tenant.objects.using(using).in_bulk(ids)
    # The sums of a tenant outlive it.
    names = {id_: named[id_].name if id_ in named else f"#{id_}" for id_ in ids}
    return [
        Share(
            name=names[row["tenant_id"]] if by == "tenant" else row[columns[-1]],
            tenant=names.get(row.get("tenant_id"), ""),
            totals=_totals(row),
        )
        for row in found
    ]


def _by_tag(rows: QuerySet[UsageHour]) -> list[Share]:
    """Return the largest tags, each NAME=VALUE; a request of several counts in each."""
    found: dict[str, Totals] = {}
    for row in rows.values("tags").annotate(**_SUMS):
        totals = _totals(row)
        for tag in [f"{name}={value}" for name, value in row["tags"].items()] or [""]:
            found.setdefault(tag, Totals()).add(totals)
    largest = sorted(found.items(), key=lambda item: (-item[1].requests, item[0]))[:TOP]
    return [Share(name=tag, tenant="", totals=totals) for tag, totals in largest]


def _others(totals: Totals, shares: list[Share]) -> Totals:
    others = Totals()
    others.add(totals)
    for share in shares:
        others.add(share.totals, sign=-1)
    return others


def _faults(rows: QuerySet[UsageHour]) -> list[Fault]:
    found = rows.exclude(code="").values("code").annotate(sum_requests=Sum("requests"))
    largest = found.order_by("-sum_requests", "code")[:TOP]
    return [Fault(row["code"], row["sum_requests"]) for row in largest]


def _totals(row: Mapping[str, Any]) -> Totals:
    return Totals(**{name: row[f"sum_{name}"] for name in (*_ADDED, *HISTOGRAMS)})
