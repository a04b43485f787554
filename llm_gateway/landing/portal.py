"""What somebody of a tenant sees at `/`: their keys, what those used, budgets, raises asked for.

A member or a viewer sees the keys they hold; an admin or an owner all of the tenant.
"""

from datetime import datetime, timedelta
from typing import Any

from django.db.models import Q, QuerySet, Sum
from msgspec import Struct

from llm_gateway.insight.meters import meters
from llm_gateway.models import UsageHour
from tenants.models import ApiKey, Budget, RaiseRequest
from tenants.seats import Seat
from tenants.types import short_usd

DAYS = (("today", 1), ("7 days", 7), ("30 days", 30))
LATEST = 20


class Used(Struct, frozen=True, kw_only=True):
    """What was used within some days."""

    title: str
    requests: str
    tokens: str
    cost: str


def portal(seat: Seat, now: datetime) -> dict[str, Any]:
    """Return what the page shows. Reads the database."""
    return {
        "keys": list(keys_of(seat).select_related("project", "holder")[:200]),
        "used": [_used(seat, title, now - timedelta(days=days)) for title, days in DAYS],
        "used_models": _by_model(seat, now - timedelta(days=DAYS[-1][1])),
        "meters": meters(seat.tenant_id or 0, budgets_of(seat), now),
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
        requests=f"{row['all_requests']:,}",
        tokens=f"{row['all_read'] + row['all_written']:,}",
        cost=short_usd(row["all_cost"]),
    )


def _asked_by(seat: Seat) -> Q:
    return Q() if seat.reaches("admin") else Q(member_id=seat.member_id)
