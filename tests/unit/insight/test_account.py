"""What a key is told of its budgets is what the forecasts say of them, to the second."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from llm_gateway.api.account import budget_states
from llm_gateway.insight.budgets import budgets_now, forecasts
from llm_gateway.recorder.journal import Journal
from tenants.models import Budget, Tenant
from tenants.money.models import Bucket
from tenants.money.periods import period_key, span
from tenants.types import NANO, BudgetRule, Caller
from tests.unit.request_log import call

NOW = datetime(2026, 11, 11, 12, tzinfo=UTC)
ZONE = "Asia/Kathmandu"


def kept(alias: str, name: str, limit: int | None, **fields: Any) -> BudgetRule:
    row = Budget.all_tenants_unsafe.using(alias).create(
        tenant_id=1, name=name, limit_nano=limit, period="month", **fields
    )
    return BudgetRule(
        id=row.pk,
        name=name,
        scope="tenant",
        owner_id=1,
        period="month",
        zone=ZONE,
        limit_nano=limit,
        hard=True,
        mode="strict",
        per=row.per,
    )


def spent(alias: str, rule: BudgetRule, used: int, held: int = 0, subject: str = "") -> None:
    period = span(NOW, rule.period, rule.zone)
    Bucket.all_tenants_unsafe.using(alias).create(
        tenant_id=1,
        budget_id=rule.id,
        subject=subject,
        period_key=period_key(rule.period, rule.zone, period.start),
        starts_at=period.start,
        ends_at=period.end,
        used_nano=used,
        held_nano=held,
    )


def test_budgets_are_told_with_raise_percent_fullest_subject_and_forecast(
    alias: str, journal: Journal
) -> None:
    Tenant.objects.using(alias).create(pk=1, name="acme", time_zone=ZONE)
    hour = timedelta(hours=1)
    raised = {"raise_nano": 20 * NANO, "raise_until": NOW + hour}
    rules = (
        kept(alias, "raised", 100 * NANO, **raised),
        kept(alias, "each", 8 * NANO, per="end_user"),
        kept(alias, "counts", None),
        kept(alias, "unused", NANO),
    )
    spent(alias, rules[0], used=60 * NANO, held=NANO)
    spent(alias, rules[1], used=NANO, subject="ada")
    spent(alias, rules[1], used=2 * NANO, subject="bob")
    spent(alias, rules[2], used=3 * NANO)
    days = [NOW - timedelta(days=day, minutes=1) for day in range(28)]
    journal.write([call(created_at=at, cost_nano=5 * NANO) for at in days])
    caller = Caller(
        tenant_id=1, tenant="acme", key_id=1, key="dev", key_public_id="x", budgets=rules
    )

    told = {one["name"]: one for one in budget_states(caller, NOW, using=alias)}
    budgets = budgets_now(caller, NOW, using=alias)
    for rule, found in zip(rules, forecasts(1, budgets, NOW, using=alias), strict=True):
        at = told[rule.name]["forecast_at"]
        assert (None if at is None else datetime.fromisoformat(at)) == found.at
    first, each, counts, unused = told.values()
    assert first["forecast_at"] == "2026-11-23T17:45:00+05:45"  # 60 of 120 left, 5 a day
    assert (first["limit"], first["used_percent"]) == ("120.000000000", 50.0)
    assert Decimal(first["remaining"]) == 59
    assert (each["per"], each["subject"], each["used_percent"]) == ("end_user", "bob", 25.0)
    assert (counts["limit"], counts["used_percent"], counts["forecast_at"]) == (None, None, None)
    assert (unused["used"], unused["used_percent"]) == ("0.000000000", 0.0)
    assert {one["renews_at"] for one in told.values()} == {"2026-12-01T00:00:00+05:45"}
