"""Make the overview: what the request log says of a range, as tiles, charts and tables."""

import json
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from msgspec import Struct

from llm_gateway.admin.offered import model_names
from llm_gateway.admin.statistics import (
    RANGES,
    Overview,
    Range,
    Share,
    Totals,
    overview,
    percentile,
    window_of,
)
from llm_gateway.models import Model, Provider, RequestLog
from llm_gateway.snippets import curl
from tenants.admin.columns import NOTHING, duration, money
from tenants.models import ApiKey, Tenant
from tenants.seats import seat_of
from tenants.types import NANO

DEFAULT = "24h"
_BLUE, _RED, _GREY = "var(--color-primary-600)", "var(--color-red-500)", "var(--color-base-400)"
_RED_HEX = "#ef4444"


class Tile(Struct, frozen=True, kw_only=True):
    """A total and how it compares with the period before."""

    title: str
    value: str
    change: str
    good: bool | None
    href: str


class Series(Struct, frozen=True, kw_only=True):
    """One line or bar of a chart, with how its numbers are read in the table."""

    label: str
    values: list[float | None]
    colour: str
    show: Callable[[float], str]


class Chart(Struct, frozen=True, kw_only=True):
    """A chart and the table under it: the same numbers."""

    title: str
    kind: str
    data: str
    options: str
    table: dict[str, Any]


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Fill the console's index page (`UNFOLD["DASHBOARD_CALLBACK"]`)."""
    shape = RANGES.get(request.GET.get("range", ""), RANGES[DEFAULT])
    seat = seat_of(request)
    assert seat is not None  # noqa: S101 - the console admits nobody else
    tenant = request.GET.get("tenant", "") if seat.operator else seat.tenant
    model = request.GET.get("model", "")
    now = timezone.now()
    chosen = {"tenant": tenant, "model": model}
    context |= {
        "ranges": [
            {"title": r.title, "href": _query(range=r.name, **chosen), "on": r is shape}
            for r in RANGES.values()
        ],
        "range": shape.name,
        "chosen": chosen,
        "tenant_names": Tenant.objects.values_list("name", flat=True) if seat.operator else [],
        "model_names": model_names(seat),
        "steps": _first_steps(request)
        if seat.operator and not RequestLog.objects.exists()
        else None,
    }
    if context["steps"] is None:
        context |= _numbers(overview(shape, now, tenant=tenant, model=model), shape, now, chosen)
    return context


def _numbers(seen: Overview, shape: Range, now: datetime, chosen: dict[str, str]) -> dict[str, Any]:
    log = _Log(shape, now, chosen)
    return {
        "tiles": _tiles(seen.totals, seen.before, log),
        "charts": _charts(seen.buckets, shape),
        "lists": [
            _list("Models", seen.models, "model", log),
            _list("Tenants", seen.tenants, "tenant_name", log),
            _errors(seen.faults, seen.totals, log),
        ],
    }


class _Log:
    """Addresses of the request log with the same range and choice."""

    def __init__(self, shape: Range, now: datetime, chosen: dict[str, str]) -> None:
        start = window_of(shape, now).start
        self._base = reverse("admin:llm_gateway_requestlog_changelist")
        self._query = {
            "created_at_from_0": f"{start:%Y-%m-%d}",
            "created_at_from_1": f"{start:%H:%M:%S}",
            "tenant_name": chosen["tenant"],
            "model": chosen["model"],
        }

    def where(self, **more: str) -> str:
        query = {name: value for name, value in (self._query | more).items() if value}
        return f"{self._base}?{urlencode(query)}"


# --- tiles -----------------------------------------------------------------------------------


def _tiles(now: Totals, before: Totals, log: _Log) -> list[Tile]:
    p50, p95 = percentile(now.latency, 0.5), percentile(now.latency, 0.95)
    first = percentile(now.first_token, 0.5)
    return [
        _tile("Requests", f"{now.requests:,}", now.requests, before.requests, log.where()),
        _tile("Cost", money(now.cost_nano), now.cost_nano, before.cost_nano, log.where()),
        _tile(
            "Failed",
            f"{now.error_share:.2%}",
            now.error_share,
            before.error_share,
            log.where(outcome="failed"),
            less_is_better=True,
        ),
        _tile(
            "Tokens in / out",
            f"{_short(now.input_tokens)} / {_short(now.output_tokens)}",
            now.input_tokens + now.output_tokens,
            before.input_tokens + before.output_tokens,
            log.where(),
        ),
        _tile(
            "Latency p50 / p95",
            f"{duration(p50)} / {duration(p95)}",
            p95 or 0,
            percentile(before.latency, 0.95) or 0,
            log.where(o="-9"),
            less_is_better=True,
        ),
        _tile(
            "First token p50",
            duration(first),
            first or 0,
            percentile(before.first_token, 0.5) or 0,
            log.where(o="-10"),
            less_is_better=True,
        ),
        _tile(
            "Given again / saved",
            f"{now.cache_hits:,} / {money(now.saved_nano)}",
            now.cache_hits,
            before.cache_hits,
            log.where(cache="hit"),
        ),
    ]


def _tile(
    title: str,
    value: str,
    now: float,
    before: float,
    href: str,
    *,
    less_is_better: bool | None = None,
) -> Tile:
    if not before:
        return Tile(title=title, value=value, change="", good=None, href=href)
    change = (now - before) / before
    good = None if less_is_better is None or abs(change) < 0.01 else (change < 0) == less_is_better  # noqa: PLR2004 - a per cent
    return Tile(title=title, value=value, change=f"{change:+.0%}", good=good, href=href)


def _short(count: float) -> str:
    for unit, size in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= size:
            return f"{count / size:.1f}{unit}"
    return f"{count:.0f}"


# --- charts ----------------------------------------------------------------------------------


def _charts(buckets: list[tuple[datetime, Totals]], shape: Range) -> list[Chart]:
    labels = [start.strftime(shape.clock) for start, _ in buckets]
    totals = [total for _, total in buckets]
    return [
        _chart(
            "Requests",
            "bar",
            labels,
            [
                _series("answered", [t.requests - t.errors for t in totals], _BLUE, _whole),
                _series("failed", [t.errors for t in totals], _RED_HEX, _whole),
            ],
        ),
        _chart(
            "Cost in USD",
            "bar",
            labels,
            [_series("cost", [t.cost_nano / NANO for t in totals], _BLUE, _dollars)],
        ),
        _chart(
            "Latency in ms",
            "line",
            labels,
            [
                _series("p50", [percentile(t.latency, 0.5) for t in totals], _BLUE, duration),
                _series("p95", [percentile(t.latency, 0.95) for t in totals], "#f59e0b", duration),
            ],
        ),
        _chart(
            "First token in ms",
            "line",
            labels,
            [
                _series("p50", [percentile(t.first_token, 0.5) for t in totals], _BLUE, duration),
                _series(
                    "p95", [percentile(t.first_token, 0.95) for t in totals], "#f59e0b", duration
                ),
            ],
        ),
    ]


def _series(
    label: str, values: Iterable[float | None], colour: str, show: Callable[[float], str]
) -> Series:
    return Series(label=label, values=list(values), colour=colour, show=show)


def _whole(value: float) -> str:
    return f"{value:,.0f}"


def _dollars(value: float) -> str:
    return money(round(value * NANO))


def _chart(title: str, kind: str, labels: list[str], series: list[Series]) -> Chart:
    rows = [
        [label, *(NOTHING if (v := one.values[i]) is None else one.show(v) for one in series)]
        for i, label in enumerate(labels)
        if any(one.values[i] for one in series)
    ]
    return Chart(
        title=title,
        kind=kind,
        data=json.dumps({"labels": labels, "datasets": [_dataset(one, kind) for one in series]}),
        options=json.dumps(_options(kind, legend=len(series) > 1)),
        table={"headers": ["from (UTC)", *(one.label for one in series)], "rows": rows[::-1]},
    )


def _dataset(series: Series, kind: str) -> dict[str, Any]:
    rounded = [None if value is None else round(value, 6) for value in series.values]
    look: dict[str, Any] = {"backgroundColor": series.colour, "borderColor": series.colour}
    if kind == "line":
        look |= {"borderWidth": 2, "pointRadius": 1.5, "tension": 0.3, "spanGaps": True}
    return {"label": series.label, "data": rounded, **look}


def _options(kind: str, *, legend: bool) -> dict[str, Any]:
    stacked = kind == "bar"
    ticks = {"color": "#9ca3af", "maxTicksLimit": 8, "maxRotation": 0}
    return {
        "animation": False,
        "responsive": True,
        "maintainAspectRatio": False,
        "interaction": {"mode": "index", "intersect": False},
        "plugins": {
            "legend": {
                "display": legend,
                "align": "end",
                "labels": {"boxWidth": 10, "boxHeight": 10, "color": "#9ca3af"},
            }
        },
        "scales": {
            "x": {"stacked": stacked, "grid": {"display": False}, "ticks": ticks},
            "y": {
                "stacked": stacked,
                "beginAtZero": True,
                "border": {"display": False},
                "grid": {"color": "rgba(128, 128, 128, 0.2)"},
                "ticks": ticks | {"maxTicksLimit": 5},
            },
        },
    }


# --- lists -----------------------------------------------------------------------------------


def _list(title: str, shares: list[Share], column: str, log: _Log) -> dict[str, Any]:
    rows = [
        [
            _link(share.name, log.where(**{column: share.name})),
            f"{share.requests:,}",
            f"{share.errors / share.requests:.1%}",
            money(share.cost_nano),
        ]
        for share in shares
    ]
    headers = [title[:-1].lower(), "requests", "failed", "cost"]
    return {"title": title, "table": {"headers": headers, "rows": rows}}


def _errors(shares: list[Share], totals: Totals, log: _Log) -> dict[str, Any]:
    rows = [
        [
            _link(share.name, log.where(code=share.name)),
            f"{share.requests:,}",
            f"{share.requests / totals.requests:.1%}",
        ]
        for share in shares
    ]
    return {"title": "Errors", "table": {"headers": ["error", "requests", "of all"], "rows": rows}}


def _link(text: str, href: str) -> SafeString:
    return format_html('<a class="text-link" href="{}">{}</a>', href, text)


def _query(**values: str) -> str:
    return "?" + urlencode({name: value for name, value in values.items() if value})


# --- before the first request ----------------------------------------------------------------


def _first_steps(request: HttpRequest) -> dict[str, Any]:
    """Return what is left to do before the first request, in order."""
    add = {
        name: reverse(f"admin:{name}_add")
        for name in (
            "llm_gateway_provider",
            "llm_gateway_model",
            "tenants_tenant",
            "tenants_apikey",
        )
    }
    model = Model.objects.filter(enabled=True).order_by("pk").first()
    base = request.build_absolute_uri("/").rstrip("/")
    return {
        "list": [
            ("Add a provider", Provider.objects.exists(), add["llm_gateway_provider"]),
            ("Add a model, or discover them", model is not None, add["llm_gateway_model"]),
            ("Create a tenant", Tenant.objects.exists(), add["tenants_tenant"]),
            (
                "Create an API key",
                ApiKey.all_tenants_unsafe.filter(revoked_at=None).exists(),
                add["tenants_apikey"],
            ),
        ],
        "curl": curl(base, "$MOBIUS_KEY", model.name if model else "MODEL"),
    }
