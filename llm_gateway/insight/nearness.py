"""Sort budgets and tenants by how near their limits they are, the nearest first, page by page.

Nearness is what is used and held of the limit in force, in millionths, of the fullest bucket of
the running period. It sorts and says nothing of money: amounts are read with `budgets`.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.db import DEFAULT_DB_ALIAS
from django.db.models import (
    BigIntegerField,
    Case,
    Count,
    F,
    FloatField,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    Value,
    When,
)
from django.db.models.functions import Cast, Coalesce, Concat, Round
from msgspec import Struct
from typing_extensions import override

from tenants.models import Budget, RaiseRequest, Tenant
from tenants.money.models import Bucket

WHOLE = 1_000_000  # all of a limit
NO_LIMIT = -1  # behind all that have one


class Place(Struct, frozen=True):
    """Where a page of a list ended: what is behind it is not as near, or has a higher id."""

    near: int
    pk: int

    @override
    def __str__(self) -> str:
        return f"{self.near}.{self.pk}"


def parse_place(text: str) -> Place:
    """Return the place that a cursor names. Raises ValueError for one that is none."""
    near, _, pk = text.partition(".")
    digits = near.removeprefix("-")
    if not (digits.isdecimal() and pk.isdecimal() and len(text) < 40 and text.isascii()):  # noqa: PLR2004 - two columns
        raise ValueError("after: no page of this list ends there")
    return Place(int(near), int(pk))


def nearest_budgets(
    tenant_id: int,
    now: datetime,
    *,
    after: Place | None = None,
    limit: int,
    using: str = DEFAULT_DB_ALIAS,
) -> list[Any]:
    """Return a tenant's budgets, those that only count last; each has its `near`."""
    rows = with_nearness(Budget.objects.of(tenant_id).using(using), now)
    return _page(rows.select_related("tenant", "project", "api_key"), after, limit)


def nearest_tenants(
    now: datetime, *, after: Place | None = None, limit: int, using: str = DEFAULT_DB_ALIAS
) -> list[Any]:
    """Return tenants by the nearest of their budgets; each has `near` and `waiting` raises."""
    own = with_nearness(Budget.all_tenants_unsafe.filter(tenant_id=OuterRef("pk")), now)
    asked = RaiseRequest.all_tenants_unsafe.filter(tenant_id=OuterRef("pk"), state="open")
    counted = asked.order_by().values("tenant_id").annotate(n=Count("pk")).values("n")
    rows = Tenant.objects.using(using).annotate(
        near=Coalesce(Subquery(own.order_by("-near").values("near")[:1]), NO_LIMIT),
        waiting=Coalesce(Subquery(counted), 0),
    )
    return _page(rows, after, limit)


def nearest_of(
    tenants: Iterable[Tenant], now: datetime, *, using: str = DEFAULT_DB_ALIAS
) -> dict[int, Any]:
    """Return by a tenant's id the budget nearest its limit, of those that have one with a limit."""
    ids = [tenant.pk for tenant in tenants]
    rows = with_nearness(Budget.all_tenants_unsafe.using(using).filter(tenant_id__in=ids), now)
    # The nearest is the last that is put there.
    return {one.tenant_id: one for one in rows.exclude(near=NO_LIMIT).order_by("near", "-pk")}


def with_nearness(budgets: QuerySet[Budget], now: datetime) -> QuerySet[Any]:
    """Annotate `near`; the ceiling of each run is none of the tenant's limits."""
    key = Concat(OuterRef("period"), Value(" "), OuterRef("tenant__time_zone"), Value(" "))
    running = Bucket.all_tenants_unsafe.filter(
        Q(ends_at=None) | Q(ends_at__gt=now),
        budget_id=OuterRef("pk"),
        starts_at__lte=now,
        # Of another period or zone, as the budget once was, there may be one that runs as well.
        period_key__startswith=key,
    )
    spent = running.annotate(spent=F("used_nano") + F("held_nano")).order_by("-spent")
    raised = Case(When(raise_until__gt=now, then=F("raise_nano")), default=Value(0))
    share = Cast("spent_nano", FloatField()) / Cast("limit_now", FloatField())
    return budgets.annotate(
        spent_nano=Coalesce(Subquery(spent.values("spent")[:1]), 0, output_field=BigIntegerField()),
        limit_now=Cast(F("limit_nano") + raised, BigIntegerField()),
        near=Case(
            When(Q(limit_now=None) | Q(per="run"), then=Value(NO_LIMIT)),
            When(limit_now__lte=0, then=Value(WHOLE)),
            default=Cast(Round(share * WHOLE), BigIntegerField()),
            output_field=BigIntegerField(),
        ),
    )


def _page(rows: QuerySet[Any], after: Place | None, limit: int) -> list[Any]:
    if after is not None:
        behind = Q(near__lt=after.near) | Q(near=after.near, pk__gt=after.pk)
        rows = rows.filter(behind)
    return list(rows.order_by("-near", "pk")[:limit])
