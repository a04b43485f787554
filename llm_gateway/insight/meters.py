"""Show budgets as meters: the one way that the portal and the console tell how full a bucket is."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from msgspec import Struct

from llm_gateway.insight.budgets import BudgetNow, forecasts, rules_now
from llm_gateway.insight.forecast import Forecast
from tenants.auth import rule_of
from tenants.models import Budget, Owned
from tenants.raises import raise_in_force
from tenants.types import short_usd

OWNERS = ("tenant", "project", "api_key")
# Where a budget has no soft thresholds of its own.
_SOON, _AT_LAST = 0.8, 0.95


class Mark(Struct, frozen=True):
    """A soft threshold, and whether what is used has passed it."""

    percent: str
    passed: bool


class Meter(Struct, frozen=True, kw_only=True):
    """A bucket in its running period; amounts are US dollars, `share` is of the limit.

    `reached` is when it will be at this `rate` a day; None is not before it renews. `raised` is
    what of the limit ends at `raised_until`.
    """

    id: int
    name: str
    subject: str
    scope: str
    binds: str
    hard: bool
    limit: str
    raised: str
    raised_until: datetime | None
    used: str
    held: str
    remaining: str
    share: float
    low: float
    high: float
    marks: Sequence[Mark]
    renews: datetime | None
    raisable: bool
    reached: datetime | None
    rate: str

    @property
    def percent(self) -> str:
        return f"{self.share:.0%}"

    @property
    def full(self) -> bool:
        return self.raisable and self.share >= 1


def meters(
    tenant_id: int, budgets: Iterable[Budget], now: datetime, *, most: int = 1
) -> list[Meter]:
    """Return a meter for each bucket, in the order of the budgets; of one with several up to most.

    Budgets come with their OWNERS. Reads the database.
    """
    known = {budget.pk: budget for budget in budgets}
    rules = [rule_of(one, one.tenant) for one in known.values()]
    stand = rules_now(tenant_id, rules, now, most=most)
    found = forecasts(tenant_id, stand, now)
    return [
        _meter(known[one.rule.id], one, each, now) for one, each in zip(stand, found, strict=True)
    ]


def owner_of(rule: Owned) -> str:
    return str(rule.api_key or rule.project or rule.tenant)


def _meter(budget: Budget, stands: BudgetNow, reached: Forecast, now: datetime) -> Meter:
    spent, limit = stands.used_nano + stands.held_nano, stands.limit_nano
    raised = raise_in_force(budget, now)
    soft = sorted(map(float, budget.thresholds))
    shares = soft or [_SOON, _AT_LAST]
    return Meter(
        id=budget.pk,
        name=f"{budget.name}, each {budget.per}" if budget.per else budget.name,
        subject=stands.subject,
        scope=budget.scope.replace("api_key", "API key"),
        binds=owner_of(budget),
        hard=budget.hard,
        limit="" if limit is None else short_usd(limit),
        raised=short_usd(raised) if raised else "",
        raised_until=budget.raise_until if raised else None,
        used=short_usd(stands.used_nano),
        held=short_usd(stands.held_nano),
        remaining="" if limit is None else short_usd(max(0, limit - spent)),
        share=stands.used_share,
        low=shares[0],
        high=shares[-1],
        marks=[Mark(f"{one:.0%}", stands.used_share >= one) for one in soft],
        renews=stands.period.end,
        raisable=limit is not None,
        reached=reached.at,
        rate=short_usd(reached.rate_nano) if reached.rate_nano else "",
    )
