"""Make the overview: what the roll-ups say of a range, as tiles, charts and tables."""

from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from msgspec import Struct

from llm_gateway.admin.asked_range import PRESETS, Page, page_of
from llm_gateway.admin.charts import AMBER, BLUE, GREEN, RED, Chart, chart, series, table
from llm_gateway.admin.first_steps import first_steps
from llm_gateway.admin.offered import model_names
from llm_gateway.insight.overview import (
    DAY,
    DIMENSIONS,
    HOUR,
    TAG,
    Fault,
    Overview,
    Share,
    Totals,
    overview,
)
from llm_gateway.models import UsageHour
from tenants.admin.columns import duration, money
from tenants.models import Tenant
from tenants.seats import Seat, seat_of
from tenants.types import NANO

# What the log's list calls what the overview is narrowed to.
_OF_LOG = {
    "tenant": "tenant_name",
    "project": "project_name",
    "key": "key_name",
    "model": "model",
    "provider": "provider",
}


class Tile(Struct, frozen=True, kw_only=True):
    """A total and how it compares with the range before."""

    title: str
    value: str
    change: str
    good: bool | None
    href: str


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Fill the console's index page (`UNFOLD["DASHBOARD_CALLBACK"]`)."""
    seat = seat_of(request)
    assert seat is not None  # noqa: S101 - the console admits nobody else
    page = page_of(request.GET, seat, timezone.now())
    context |= {
        "page": page,
        "ranges": [
            {
                "title": preset.title,
                "href": page.address(range=preset.name, **dict.fromkeys(page.days, "")),
                "on": preset.name == page.preset,
            }
            for preset in PRESETS.values()
        ],
        "tenant_names": Tenant.objects.values_list("name", flat=True) if seat.operator else [],
        "model_names": model_names(seat),
        # What cannot be chosen from a list is chosen by its row, and let go here.
        "narrowed": [
            {"name": name, "value": value, "href": page.address(**{name: ""})}
            for name, value in page.chosen.items()
            if name not in {"tenant", "model"}
        ],
        "steps": first_steps(request)
        if seat.operator and not UsageHour.all_tenants_unsafe.exists()
        else None,
    }
    if context["steps"] is None:
        context |= _numbers(overview(page.asked), page, seat)
    return context


def _numbers(seen: Overview, page: Page, seat: Seat) -> dict[str, Any]:
    labels = _labels(seen, page.asked.window.step)
    charts = _charts(seen, labels)
    return {
        "tiles": _tiles(seen.totals, seen.before, page),
        "charts": charts,
        "numbers": table(labels, charts),
        "dimensions": [
            {"title": name, "href": page.address(by=name), "on": name == page.asked.by}
            for name in DIMENSIONS
            if seat.operator or name != "tenant"
        ],
        "shares": _shares(seen, page),
        "faults": _faults(seen.faults, seen.totals, page),
    }


def _log_href(page: Page, **more: str) -> str:
    """Return the address of the log's rows that were counted; of a tag there is none."""
    if TAG in page.chosen:
        return ""
    window = page.asked.window
    until = window.end - timedelta(microseconds=1)  # the list's own is included
    query = {
        "created_at_from_0": f"{window.start:%Y-%m-%d}",
        "created_at_from_1": f"{window.start:%H:%M:%S}",
        **{_OF_LOG[name]: value for name, value in page.chosen.items()},
        **more,
    }
    if page.days:
        query |= {"created_at_to_0": f"{until:%Y-%m-%d}", "created_at_to_1": f"{until:%H:%M:%S.%f}"}
    return f"{reverse('admin:llm_gateway_requestlog_changelist')}?{urlencode(query)}"


# --- tiles -----------------------------------------------------------------------------------


def _tiles(now: Totals, before: Totals, page: Page) -> list[Tile]:
    slow, slow_before = now.latency_ms(0.95), before.latency_ms(0.95)
    late, late_before = now.first_token_ms(0.95), before.first_token_ms(0.95)
    return [
        _tile("Requests", f"{now.requests:,}", now.requests, before.requests, href=_log_href(page)),
        _tile("Cost", money(now.cost_nano), now.cost_nano, before.cost_nano, href=_log_href(page)),
        _tile(
            "Failed",
            f"{now.failed_share:.2%}",
            now.failed_share,
            before.failed_share,
            href=_log_href(page, outcome="failed"),
            less_is_better=True,
        ),
        _tile(
            "Tokens in / out",
            f"{_short(now.input_tokens)} / {_short(now.output_tokens)}",
            now.input_tokens + now.output_tokens,
            before.input_tokens + before.output_tokens,
            href=_log_href(page),
        ),
        _tile(
            "Latency p50 / p95",
            f"{duration(now.latency_ms(0.5))} / {duration(slow)}",
            slow or 0,
            slow_before or 0,
            href=_log_href(page, o="-9"),
            less_is_better=True,
        ),
        _tile(
            "First token p50 / p95",
            f"{duration(now.first_token_ms(0.5))} / {duration(late)}",
            late or 0,
            late_before or 0,
            href=_log_href(page, o="-10"),
            less_is_better=True,
        ),
        _tile(
            "Given again / saved",
            f"{now.cache_hits:,} / {money(now.saved_nano)}",
            now.cache_hits,
            before.cache_hits,
            href=_log_href(page, cache="hit"),
        ),
    ]


def _tile(
    title: str,
    value: str,
    now: float,
    before: float,
    *,
    href: str,
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


def _labels(seen: Overview, step: timedelta) -> list[str]:
    within_a_day = len(seen.steps) * step <= DAY
    clock = "%H:%M" if step == HOUR and within_a_day else "%d %b %H:%M" if step < DAY else "%d %b"
    return [start.strftime(clock) for start, _ in seen.steps]


def _charts(seen: Overview, labels: list[str]) -> list[Chart]:
    steps = [totals for _, totals in seen.steps]
    return [
        chart(
            "Requests",
            "bar",
            labels,
            series("not failed", [t.requests - t.failed for t in steps], BLUE, _whole),
            series("failed", [t.failed for t in steps], RED, _whole),
        ),
        chart(
            "Cost in USD",
            "bar",
            labels,
            series("spent", [t.cost_nano / NANO for t in steps], BLUE, _dollars),
            series("saved by the cache", [t.saved_nano / NANO for t in steps], GREEN, _dollars),
        ),
        chart(
            "Tokens",
            "bar",
            labels,
            series("in", [t.input_tokens for t in steps], BLUE, _short),
            series("out", [t.output_tokens for t in steps], AMBER, _short),
        ),
        chart(
            "Latency in ms",
            "line",
            labels,
            series("p50", [t.latency_ms(0.5) for t in steps], BLUE, duration),
            series("p95", [t.latency_ms(0.95) for t in steps], AMBER, duration),
        ),
        chart(
            "First token in ms",
            "line",
            labels,
            series("p50", [t.first_token_ms(0.5) for t in steps], BLUE, duration),
            series("p95", [t.first_token_ms(0.95) for t in steps], AMBER, duration),
        ),
    ]


def _whole(value: float) -> str:
    return f"{value:,.0f}"


def _dollars(value: float) -> str:
    return money(round(value * NANO))


# --- tables ----------------------------------------------------------------------------------


def _shares(seen: Overview, page: Page) -> dict[str, Any]:
    by = page.asked.by
    rows = [[_share_name(share, page), *_measured(share.totals)] for share in seen.shares]
    if seen.others is not None and seen.others.requests:
        rows.append(["all others", *_measured(seen.others)])
    measures = ("requests", "failed", "tokens in / out", "cost", "saved")
    times = ("first p50 / p95", "latency p50 / p95")
    return {"headers": [by, *measures, *times], "rows": rows}


def _share_name(share: Share, page: Page) -> SafeString | str:
    by = page.asked.by
    if not share.name:
        return f"no {by}"
    all_tenants = page.asked.tenant_id is None and share.tenant and by != "tenant"
    tenant = {"tenant": share.tenant} if all_tenants else {}
    text = f"{share.tenant} / {share.name}" if all_tenants else share.name
    return _link(text, page.address(**tenant, **{by: share.name}))


def _measured(totals: Totals) -> list[str]:
    return [
        f"{totals.requests:,}",
        f"{totals.failed_share:.1%}",
        f"{_short(totals.input_tokens)} / {_short(totals.output_tokens)}",
        money(totals.cost_nano),
        money(totals.saved_nano),
        f"{duration(totals.first_token_ms(0.5))} / {duration(totals.first_token_ms(0.95))}",
        f"{duration(totals.latency_ms(0.5))} / {duration(totals.latency_ms(0.95))}",
    ]


def _faults(faults: list[Fault], totals: Totals, page: Page) -> dict[str, Any]:
    rows = [
        [
            _link(one.code, href) if (href := _log_href(page, code=one.code)) else one.code,
            f"{one.requests:,}",
            f"{one.requests / totals.requests:.1%}",
        ]
        for one in faults
    ]
    return {"headers": ["error", "requests", "of all"], "rows": rows}


def _link(text: str, href: str) -> SafeString:
    return format_html('<a class="text-link" href="{}">{}</a>', href, text)
