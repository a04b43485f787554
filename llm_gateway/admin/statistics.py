"""Sum up the request log; every number is an aggregate of the database, never of loaded rows.

Percentiles come from histograms with steps of 5 %, so that they can be had from one pass and
merged over buckets, on SQLite as on PostgreSQL.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from django.db.models import BigIntegerField, Count, F, Func, Q, QuerySet, Sum
from django.db.models.functions import Cast, Floor, Greatest, Ln
from msgspec import Struct
from typing_extensions import override

from llm_gateway.insight.rollup import CACHE_HITS
from llm_gateway.models import RequestLog

STEP = 1.05
_TOP = 8
_SUMS = (
    *("requests", "errors", "cost_nano", "input_tokens", "output_tokens"),
    *("cache_hits", "saved_nano"),
)


class Range(Struct, frozen=True, kw_only=True):
    """A span of time up to now, cut into equal buckets."""

    name: str
    title: str
    span: timedelta
    bucket: timedelta
    clock: str


RANGES = {
    shape.name: shape
    for shape in (
        Range(
            name="1h",
            title="1 hour",
            span=timedelta(hours=1),
            bucket=timedelta(minutes=2),
            clock="%H:%M",
        ),
        Range(
            name="24h",
            title="24 hours",
            span=timedelta(days=1),
            bucket=timedelta(minutes=30),
            clock="%H:%M",
        ),
        Range(
            name="7d",
            title="7 days",
            span=timedelta(days=7),
            bucket=timedelta(hours=4),
            clock="%a %H:%M",
        ),
        Range(
            name="30d",
            title="30 days",
            span=timedelta(days=30),
            bucket=timedelta(days=1),
            clock="%d %b",
        ),
    )
}


class Window(Struct, frozen=True):
    """A half-open span of time."""

    start: datetime
    end: datetime

    @property
    def before(self) -> "Window":
        return Window(self.start - (self.end - self.start), self.start)


class Totals(Struct, kw_only=True):
    """What happened in a window or in one bucket of it."""

    requests: int = 0
    errors: int = 0
    cost_nano: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_hits: int = 0
    saved_nano: int = 0
    latency: dict[int, int] = {}  # histogram: step → requests
    first_token: dict[int, int] = {}

    def add(self, row: Mapping[str, Any]) -> None:
        """Add a group of requests whose latency is of the same step."""
        for name in _SUMS:
            setattr(self, name, getattr(self, name) + row[name])
        _count(self.latency, row["bin"], row["requests"])

    def merge(self, other: "Totals") -> None:
        for name in _SUMS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for step, count in other.latency.items():
            _count(self.latency, step, count)
        for step, count in other.first_token.items():
            _count(self.first_token, step, count)

    @property
    def error_share(self) -> float:
        return self.errors / self.requests if self.requests else 0.0


class Share(Struct, kw_only=True):
    """What one tenant, model or error has of a window."""

    name: str
    requests: int = 0
    errors: int = 0
    cost_nano: int = 0

    def add(self, row: Mapping[str, Any]) -> None:
        for name in ("requests", "errors", "cost_nano"):
            setattr(self, name, getattr(self, name) + row[name])


class Overview(Struct, frozen=True, kw_only=True):
    """All that the overview page shows."""

    totals: Totals
    before: Totals
    buckets: list[tuple[datetime, Totals]]
    tenants: list[Share]
    models: list[Share]
    faults: list[Share]


class _Epoch(Func):
    """Whole seconds since 1970 of a time, counted from zero for each bucket of `size`."""

    output_field = BigIntegerField()

    def __init__(self, expression: str, size: int, **extra: Any) -> None:
        super().__init__(F(expression), **extra)
        self.extra["size"] = size

    @override
    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        template = "(CAST(strftime('%%%%s', %(expressions)s) AS INTEGER) / %(size)s)"
        return super().as_sql(compiler, connection, template=template, **context)

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        template = "(FLOOR(EXTRACT(EPOCH FROM %(expressions)s) / %(size)s)::bigint)"
        return super().as_sql(compiler, connection, template=template, **context)


def overview(shape: Range, now: datetime, *, tenant: str = "", model: str = "") -> Overview:
    """Sum up the last `shape.span` and the one before it."""
    window = window_of(shape, now)
    chosen = _chosen(tenant, model)
    rows = chosen.filter(created_at__gte=window.start, created_at__lt=window.end)
    buckets = _buckets(rows, shape, window)
    shares = _shares(rows)
    return Overview(
        totals=_merged(buckets),
        before=_before(chosen, window.before),
        buckets=buckets,
        tenants=shares["tenant_name"],
        models=shares["model"],
        faults=shares["code"],
    )


def window_of(shape: Range, now: datetime) -> Window:
    """Return the span that ends with the bucket that `now` lies in."""
    size = int(shape.bucket.total_seconds())
    end = datetime.fromtimestamp((int(now.timestamp()) // size + 1) * size, tz=now.tzinfo)
    return Window(end - shape.span, end)


def percentile(histogram: Mapping[int, int], share: float) -> float | None:
    """Return milliseconds that this share of the counted values did not exceed, within 5 %."""
    wanted = math.ceil(share * sum(histogram.values()))
    seen = 0
    for step in sorted(histogram):
        seen += histogram[step]
        if seen >= wanted > 0:
            return float(STEP ** (step + 0.5))
    return None


def _count(histogram: dict[int, int], step: int, more: int) -> None:
    histogram[step] = histogram.get(step, 0) + more


def _chosen(tenant: str, model: str) -> QuerySet[RequestLog]:
    rows = RequestLog.objects.order_by()
    if tenant:
        rows = rows.filter(tenant_name=tenant)
    return rows.filter(model=model) if model else rows


def _bin(field: str) -> Cast:
    return Cast(Floor(Ln(Greatest(F(field), 1.0)) / math.log(STEP)), BigIntegerField())


def _sums() -> dict[str, Any]:
    return {
        "requests": Count("pk"),
        "errors": Count("pk", filter=Q(outcome="failed")),
        "cost_nano": Sum("cost_nano"),
        "input_tokens": Sum("input_tokens"),
        "output_tokens": Sum("output_tokens"),
        "cache_hits": Count("pk", filter=Q(cache__in=CACHE_HITS)),
        "saved_nano": Sum("saved_nano"),
    }


def _buckets(
    rows: QuerySet[RequestLog], shape: Range, window: Window
) -> list[tuple[datetime, Totals]]:
    size = int(shape.bucket.total_seconds())
    at = _Epoch("created_at", size)
    found: defaultdict[int, Totals] = defaultdict(Totals)
    for row in rows.values(at=at, bin=_bin("duration_ms")).annotate(**_sums()):
        found[row["at"]].add(row)
    first = rows.filter(first_token_ms__isnull=False).values(at=at, bin=_bin("first_token_ms"))
    for row in first.annotate(n=Count("pk")):
        found[row["at"]].first_token[row["bin"]] = row["n"]
    begin = int(window.start.timestamp()) // size
    count = int(shape.span / shape.bucket)
    return [(window.start + i * shape.bucket, found[begin + i]) for i in range(count)]


def _merged(buckets: Iterable[tuple[datetime, Totals]]) -> Totals:
    total = Totals()
    for _, bucket in buckets:
        total.merge(bucket)
    return total


def _before(chosen: QuerySet[RequestLog], window: Window) -> Totals:
    rows = chosen.filter(created_at__gte=window.start, created_at__lt=window.end)
    total = Totals()
    for row in rows.values(bin=_bin("duration_ms")).annotate(**_sums()):
        total.add(row)
    first = rows.filter(first_token_ms__isnull=False).values(bin=_bin("first_token_ms"))
    total.first_token = {row["bin"]: row["n"] for row in first.annotate(n=Count("pk"))}
    return total


def _shares(rows: QuerySet[RequestLog]) -> dict[str, list[Share]]:
    """Return the largest of each kind, from one pass over the log for all of them."""
    kinds = ("tenant_name", "model", "code")
    found: dict[str, dict[str, Share]] = {kind: {} for kind in kinds}
    for row in rows.values(*kinds).annotate(
        requests=Count("pk"),
        errors=Count("pk", filter=Q(outcome="failed")),
        cost_nano=Sum("cost_nano"),
    ):
        for kind in kinds:
            if name := row[kind]:
                found[kind].setdefault(name, Share(name=name)).add(row)
    return {
        kind: sorted(shares.values(), key=lambda share: (-share.requests, share.name))[:_TOP]
        for kind, shares in found.items()
    }
