"""Read a caller's budgets as they stand and the spend behind them, and forecast each."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from django.db import DEFAULT_DB_ALIAS
from django.db.models import F, Q, QuerySet, Sum, TextField, Value
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import Coalesce, TruncHour
from msgspec import Struct

from llm_gateway.insight.forecast import (
    HISTORY_STEPS,
    HOUR,
    Forecast,
    Spend,
    forecast,
    step_of,
)
from llm_gateway.models import UsageHour
from tenants.models import Budget
from tenants.money.models import Bucket
from tenants.money.periods import period_key, span
from tenants.types import BudgetRule, Caller, Span

_TAG = "tag."
_OWNERS = {"tenant": "tenant_id", "project": "project_id", "api_key": "api_key_id"}


class BudgetNow(Struct, frozen=True, kw_only=True):
    """A budget in its running period; of one with several buckets, the fullest, named `subject`.

    `limit_nano` is the one in force, a temporary raise included; None only counts.
    """

    rule: BudgetRule
    period: Span
    subject: str = ""
    limit_nano: int | None
    used_nano: int = 0
    held_nano: int = 0

    @property
    def used_share(self) -> float:
        """Return which part of the limit is used or held; of no limit none is, of none at all 1."""
        if self.limit_nano is None:
            return 0.0
        spent = self.used_nano + self.held_nano
        return spent / self.limit_nano if self.limit_nano > 0 else 1.0


def budgets_now(caller: Caller, now: datetime, *, using: str = DEFAULT_DB_ALIAS) -> list[BudgetNow]:
    """Return each budget that binds a caller. Reads the database in the calling thread."""
    return rules_now(caller.tenant_id, caller.budgets, now, using=using)


def rules_now(
    tenant_id: int,
    rules: Sequence[BudgetRule],
    now: datetime,
    *,
    most: int = 1,
    using: str = DEFAULT_DB_ALIAS,
) -> list[BudgetNow]:
    """Return budgets of a tenant as they stand, in their order.

    Of one with several buckets the fullest first, and up to `most` of them.
    """
    spans = {rule.id: span(now, rule.period, rule.zone) for rule in rules}
    keys = {rule.id: period_key(rule.period, rule.zone, spans[rule.id].start) for rule in rules}
    fullest = _fullest(Bucket.objects.of(tenant_id).using(using), rules, keys, most)
    limits = _limits(tenant_id, keys, now, using)
    return [
        BudgetNow(
            rule=rule,
            period=spans[rule.id],
            limit_nano=limits.get(rule.id, rule.limit_nano),
            **bucket,
        )
        for rule in rules
        for bucket in fullest.get(rule.id) or [{}]
    ]


def buckets_now(
    tenant_id: int,
    bound: Iterable[tuple[BudgetRule, str]],
    now: datetime,
    *,
    using: str = DEFAULT_DB_ALIAS,
) -> list[BudgetNow]:
    """Return the very buckets that bind an attempt, as `applicable` names them."""
    bound = list(bound)
    spans = {rule.id: span(now, rule.period, rule.zone) for rule, _ in bound}
    keys = {rule.id: period_key(rule.period, rule.zone, spans[rule.id].start) for rule, _ in bound}
    rows = (
        Bucket.objects.of(tenant_id)
        .using(using)
        .filter(
            budget_id__in=keys,
            period_key__in=set(keys.values()),
            subject__in={of for _, of in bound},
        )
    )
    found = {(row.budget_id, row.subject, row.period_key): row for row in rows}
    limits = _limits(tenant_id, keys, now, using)
    budgets = []
    for rule, subject in bound:
        row = found.get((rule.id, subject, keys[rule.id]))
        budgets.append(
            BudgetNow(
                rule=rule,
                period=spans[rule.id],
                subject=subject,
                limit_nano=limits.get(rule.id, rule.limit_nano),
                used_nano=row.used_nano if row else 0,
                held_nano=row.held_nano if row else 0,
            )
        )
    return budgets


def forecasts(
    tenant_id: int, budgets: Iterable[BudgetNow], now: datetime, *, using: str = DEFAULT_DB_ALIAS
) -> list[Forecast]:
    """Return the forecast of each budget, in their order. Reads the roll-ups, never the log."""
    return [
        forecast(
            Spend(
                limit_nano=budget.limit_nano,
                used_nano=budget.used_nano,
                period=budget.period,
                step=step_of(budget.rule.period),
                history=_history(tenant_id, budget, now, using),
            ),
            now,
        )
        for budget in budgets
    ]


def _fullest(
    buckets: QuerySet[Bucket], rules: Sequence[BudgetRule], keys: dict[int, str], most: int
) -> dict[int, list[dict[str, Any]]]:
    """Return the counters of each budget's buckets, read in one go but for those with several."""
    columns = ("subject", "used_nano", "held_nano")
    single = [rule.id for rule in rules if not rule.per]
    rows = buckets.filter(budget_id__in=single, period_key__in=set(keys.values()), subject="")
    found = {
        row["budget_id"]: [{name: row[name] for name in columns}]
        for row in rows.values("budget_id", "period_key", *columns)
        if row["period_key"] == keys[row["budget_id"]]
    }
    for rule in rules:
        if rule.per:
            own = buckets.filter(budget_id=rule.id, period_key=keys[rule.id])
            fullest = own.order_by(-(F("used_nano") + F("held_nano")), "subject")
            found[rule.id] = list(fullest.values(*columns)[:most])
    return found


def _limits(tenant_id: int, ids: Iterable[int], now: datetime, using: str) -> dict[int, int | None]:
    return {
        row.pk: row.limit_nano
        if row.limit_nano is None or row.raise_until is None or row.raise_until <= now
        else row.limit_nano + row.raise_nano
        for row in Budget.objects.of(tenant_id).using(using).filter(pk__in=list(ids))
    }


def _history(tenant_id: int, budget: BudgetNow, now: datetime, using: str) -> list[int]:
    """Return spend of each complete step before now, oldest first.

    Steps are counted back from the last full hour. The roll-ups know no end users and no runs:
    budgets for each of those have no history.
    """
    rule = budget.rule
    if rule.per and not rule.per.startswith(_TAG):
        return []
    step = step_of(rule.period)
    steps = HISTORY_STEPS[step]
    end = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    rows = UsageHour.objects.of(tenant_id).using(using)
    rows = rows.filter(hour__gte=end - steps * step, hour__lt=end)
    by_hour = _bound(rows, budget).annotate(at=TruncHour("hour", tzinfo=UTC)).values_list("at")
    spent = [0] * steps
    for hour, nano in by_hour.annotate(Sum("cost_nano")).order_by("at"):
        spent[steps - 1 - (end - HOUR - hour) // step] += nano
    return spent


def _bound(rows: QuerySet[Any], budget: BudgetNow) -> QuerySet[Any]:
    """Return the rows whose cost is booked in this budget's bucket."""
    rule = budget.rule
    rows = rows.filter(**{_OWNERS[rule.scope]: rule.owner_id})
    if rule.model:
        rows = rows.filter(Q(model=rule.model) | Q(requested_model=rule.model))
    if rule.per:
        named = KeyTextTransform(rule.per.removeprefix(_TAG), "tags")
        value = Coalesce(named, Value(""), output_field=TextField())
        rows = rows.alias(subject=value).filter(subject=budget.subject)
    return rows
