"""What somebody of a tenant sees at `/`: their keys, what those used, budgets, raises asked for.

A member or a viewer sees the keys they hold; an admin or an owner all of the tenant.
"""

from datetime import datetime, timedelta
from typing import Any

from django.db.models import Q, QuerySet, Sum
from msgspec import Struct

from llm_gateway.insight.budgets import BudgetNow, forecasts, rules_now
from llm_gateway.insight.forecast import Forecast
from llm_gateway.models import UsageHour
from tenants.auth import rule_of
from tenants.models import ApiKey, Budget, RaiseRequest
from tenants.seats import Seat
from tenants.types import short_usd

DAYS = (("today", 1), ("7 days", 7), ("30 days", 30))
LATEST = 20


class Meter(Struct, frozen=True, kw_only=True):
    """A budget in its running period; amounts are US dollars, `share` is of the limit.

    `reached` is when it will be at this `rate` a day; None is not before it renews.
    """

    id: int
    name: str
    binds: str
    limit: str
    used: str
    held: str
    remaining: str
    share: float
    renews: datetime | None
    raisable: bool
    reached: datetime | None
    rate: str


class Used(Struct, frozen=True, kw_only=True):
    """What was used within some days."""

    title: str
    requests: int
    tokens: int
    cost: str


def portal(seat: Seat, now: datetime) -> dict[str, Any]:
    """Return what the page shows. Reads the database."""
    return {
        "keys": list(keys_of(seat).select_related("project", "holder")[:200]),
        "used": [_used(seat, title, now - timedelta(days=days)) for title, days in DAYS],
        "used_models": _by_model(seat, now - timedelta(days=DAYS[-1][1])),
        "meters": _meters(seat, now),
        "raises": RaiseRequest.objects.of(seat.tenant_id or 0).filter(_asked_by(seat))[:LATEST],
    }


def keys_of(seat: Seat) -> QuerySet[ApiKey]:
    """Return the keys that somebody may see and renew here."""
    found: QuerySet[ApiKey] = ApiKey.objects.of(seat.tenant_id or 0)
    return found if seat.reaches("admin") else found.filter(holder_id=seat.member_id)


def budgets_of(seat: Seat) -> QuerySet[Budget]:
    """Return the budgets that bind those keys, and with them the tenant's own."""
    found: QuerySet[Budget] = Budget.objects.of(seat.tenant_id or 0)
    if seat.reaches("admin"):
        return found
    own = keys_of(seat)
    projects = own.exclude(project=None).values("project_id")
    whole = Q(project=None, api_key=None)
    return found.filter(whole | Q(api_key__in=own.values("pk")) | Q(project_id__in=projects))


def _meters(seat: Seat, now: datetime) -> list[Meter]:
    budgets = list(budgets_of(seat).select_related("tenant", "project", "api_key"))
    stand = rules_now(seat.tenant_id or 0, [rule_of(one, one.tenant) for one in budgets], now)
    found = forecasts(seat.tenant_id or 0, stand, now)
    return [
        _meter(budget, standing, found[budget.pk])
        for budget, standing in zip(budgets, stand, strict=True)
    ]


def _meter(budget: Budget, now: BudgetNow, reached: Forecast) -> Meter:
    spent, limit = now.used_nano + now.held_nano, now.limit_nano
    return Meter(
        id=budget.pk,
        name=f"{budget.name}, each {budget.per}" if budget.per else budget.name,
        binds=str(budget.api_key or budget.project or budget.tenant),
        limit="" if limit is None else short_usd(limit),
        used=short_usd(now.used_nano),
        held=short_usd(now.held_nano),
        remaining="" if limit is None else short_usd(max(0, limit - spent)),
        share=min(1.0, now.used_share),
        renews=now.period.end,
        raisable=limit is not None,
        reached=reached.at,
        rate=short_usd(reached.rate_nano) if reached.rate_nano else "",
    )


def _usage(seat: Seat, since: datetime) -> QuerySet[UsageHour]:
    found: QuerySet[UsageHour] = UsageHour.objects.of(seat.tenant_id or 0).filter(hour__gte=since)
    if seat.reaches("admin"):
        return found
    return found.filter(api_key_id__in=keys_of(seat).values("pk"))


_SUMS: dict[str, Any] = {
    "all_requests": Sum("requests", default=0),
    "all_read": Sum("input_tokens", default=0),
    "all_written": Sum("output_tokens", default=0),
    "all_cost": Sum("cost_nano", default=0),
}


def _used(seat: Seat, title: str, since: datetime) -> Used:
    return _told(title, _usage(seat, since).aggregate(**_SUMS))


def _by_model(seat: Seat, since: datetime) -> list[Used]:
    rows: QuerySet[Any] = _usage(seat, since).values("model").annotate(**_SUMS)
    return [_told(row["model"] or "refused", row) for row in rows.order_by("-all_cost")[:LATEST]]


def _told(title: str, row: dict[str, Any]) -> Used:
    return Used(
        title=title,
        requests=row["all_requests"],
        tokens=row["all_read"] + row["all_written"],
        cost=short_usd(row["all_cost"]),
    )


def _asked_by(seat: Seat) -> Q:
    return Q() if seat.reaches("admin") else Q(member_id=seat.member_id)
