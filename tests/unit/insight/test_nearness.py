"""Tenants and budgets come in the order of how near their limits they are, on both databases."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from llm_gateway.insight.nearness import (
    Place,
    nearest_budgets,
    nearest_of,
    nearest_tenants,
    parse_place,
)
from tenants.models import Budget, RaiseRequest, Tenant
from tenants.money.models import Bucket
from tenants.money.periods import period_key, span
from tenants.types import NANO

NOW = datetime(2026, 11, 11, 12, tzinfo=UTC)
ZONE = "America/Argentina/Rio_Gallegos"  # an underscore stands for anything in a pattern
MOST = 2**62


def kept(alias: str, tenant: Tenant, limit: int | None, **fields: Any) -> Budget:
    name = f"budget {Budget.all_tenants_unsafe.using(alias).count()}"
    rows = Budget.all_tenants_unsafe.using(alias)
    return rows.create(tenant=tenant, name=name, limit_nano=limit, **fields)


def fill(budget: Budget, nano: int, subject: str = "", **of: Any) -> None:
    kind, zone = of.get("kind", budget.period), of.get("zone", budget.tenant.time_zone)
    within = span(of.get("at", NOW), kind, zone)
    Bucket.all_tenants_unsafe.using(budget._state.db).create(
        tenant_id=budget.tenant_id,
        budget_id=budget.pk,
        subject=subject,
        period_key=period_key(kind, zone, within.start),
        starts_at=within.start,
        ends_at=within.end,
        used_nano=nano - 1,
        held_nano=1,
    )


def test_tenants_come_by_the_nearest_of_their_budgets_page_by_page(alias: str) -> None:
    make = Tenant.objects.using(alias).create
    names = ("half", "most", "none", "also half")
    half, most, none, also = (make(name=name, time_zone=ZONE) for name in names)
    fill(kept(alias, half, 8 * NANO), 4 * NANO)
    fill(kept(alias, half, 8 * NANO), NANO)
    nearest = kept(alias, most, MOST)
    fill(nearest, MOST // 4 * 3)
    fill(kept(alias, also, 2 * NANO, per="end_user"), NANO, "ada")
    RaiseRequest.all_tenants_unsafe.using(alias).create(
        tenant=most, budget=nearest, amount_nano=1, until=NOW, created_at=NOW
    )
    seen, after = [], None
    while found := nearest_tenants(NOW, after=after, limit=1, using=alias):
        (one,) = found
        seen.append((one.name, one.near, one.waiting))
        after = parse_place(str(Place(one.near, one.pk)))
    assert seen == [
        ("most", 750_000, 1),
        ("half", 500_000, 0),
        ("also half", 500_000, 0),
        ("none", -1, 0),
    ]
    told = nearest_of([half, most, none], NOW, using=alias)
    assert {pk: one.near for pk, one in told.items()} == {half.pk: 500_000, most.pk: 750_000}


def test_only_what_is_used_of_the_limit_in_force_in_its_running_period_counts(alias: str) -> None:
    tenant = Tenant.objects.using(alias).create(name="acme", time_zone=ZONE)
    lately = NOW + timedelta(hours=1)
    wanted = {
        kept(alias, tenant, NANO, raise_nano=3 * NANO, raise_until=lately).pk: 250_000,
        kept(alias, tenant, NANO, raise_nano=3 * NANO, raise_until=NOW).pk: 1_000_000,
        kept(alias, tenant, NANO, period="total", per="run").pk: -1,
        kept(alias, tenant, None).pk: -1,
    }
    for budget in Budget.all_tenants_unsafe.using(alias):
        fill(budget, NANO)
    wanted[kept(alias, tenant, 0).pk] = 1_000_000
    changed = kept(alias, tenant, NANO)
    wanted[changed.pk] = 100_000
    fill(changed, NANO // 10)
    fill(changed, NANO, kind="day")  # it was a budget of a day this morning
    fill(changed, NANO, zone="UTC")
    fill(changed, NANO, at=NOW - timedelta(days=40))
    found = nearest_budgets(tenant.pk, NOW, limit=99, using=alias)
    assert {one.pk: one.near for one in found} == wanted
    assert [one.near for one in found] == sorted(wanted.values(), reverse=True)


@pytest.mark.parametrize("text", ["", "x", "1.", ".1", "1.2.3", "9" * 50 + ".1", "1.-2", "٣.1"])
def test_what_is_no_place_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="after: no page"):
        parse_place(text)
