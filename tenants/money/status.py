"""Read how full budgets are now; changes nothing."""

from collections.abc import Iterable
from datetime import datetime

from msgspec import Struct

from tenants.money.models import Bucket
from tenants.money.periods import period_key, span
from tenants.money.types import Bound
from tenants.types import BudgetRule, Span


class BudgetStatus(Struct, frozen=True, kw_only=True):
    """A budget in its running period. `limit_nano` is the rule's, without a temporary raise."""

    rule: BudgetRule
    subject: str
    period: Span
    used_nano: int
    held_nano: int

    @property
    def remaining_nano(self) -> int | None:
        if self.rule.limit_nano is None:
            return None
        return self.rule.limit_nano - self.used_nano - self.held_nano


def budget_status(tenant_id: int, bounds: Iterable[Bound], now: datetime) -> list[BudgetStatus]:
    """Return the state of each budget of the tenant; what has no bucket yet has used nothing."""
    wanted = []
    for rule, subject in bounds:
        period = span(now, rule.period, rule.zone)
        wanted.append((rule, subject, period, period_key(rule.period, rule.zone, period.start)))
    rows = Bucket.objects.of(tenant_id).filter(
        budget_id__in=[rule.id for rule, *_ in wanted], period_key__in=[key for *_, key in wanted]
    )
    figures = {
        (row.budget_id, row.subject, row.period_key): (row.used_nano, row.held_nano) for row in rows
    }
    status = []
    for rule, subject, period, key in wanted:
        used, held = figures.get((rule.id, subject, key), (0, 0))
        status.append(
            BudgetStatus(rule=rule, subject=subject, period=period, used_nano=used, held_nano=held)
        )
    return status
