"""Tell a key who it is: what it may call, its limits, and how full its budgets are."""

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from asgiref.sync import sync_to_async
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from llm_gateway.api import schemas
from llm_gateway.api.views import GatewayView
from llm_gateway.service import process
from llm_gateway.service.visible import callable_names
from tenants.models import Budget
from tenants.money.models import Bucket
from tenants.money.periods import period_key, span
from tenants.types import BudgetRule, Caller, RateRule, Span, usd


class Me(GatewayView):
    @extend_schema(
        operation_id="me",
        summary="Who this key is, what it may call and spend",
        tags=["usage"],
        responses={200: schemas.Me, "4XX": schemas.PROBLEM},
    )
    async def get(self, request: Request) -> Response:
        del request
        runtime = await process.opened()
        now = datetime.fromtimestamp(runtime.wall_clock(), UTC)
        caller = self.caller
        return Response(
            {
                "tenant": caller.tenant,
                "project": caller.project,
                "key": _key(caller),
                "models": callable_names(runtime.snapshot.current.configuration, caller),
                "rate_limits": [_rate(rule) for rule in caller.rates],
                "budgets": await sync_to_async(budget_states)(caller, now),
            }
        )


def budget_states(caller: Caller, now: datetime) -> list[dict[str, Any]]:
    """Return each budget that binds a caller as it stands. Reads the database."""
    spans = {rule.id: span(now, rule.period, rule.zone) for rule in caller.budgets}
    fullest = _fullest_buckets(caller, spans)
    limits = _limits(caller, now)
    return [
        _state(rule, limits.get(rule.id), fullest.get(rule.id), spans[rule.id], now)
        for rule in caller.budgets
    ]


def _fullest_buckets(caller: Caller, spans: dict[int, Span]) -> dict[int, Bucket]:
    """Return the bucket of this period for each budget; of one with several, the fullest."""
    keys = {
        rule.id: period_key(rule.period, rule.zone, spans[rule.id].start) for rule in caller.budgets
    }
    found: dict[int, Bucket] = {}
    rows = Bucket.objects.of(caller.tenant_id).filter(
        budget_id__in=keys, period_key__in=set(keys.values())
    )
    for row in rows:
        best = found.get(row.budget_id)
        if row.period_key == keys[row.budget_id] and (best is None or _full(row) > _full(best)):
            found[row.budget_id] = row
    return found


def _full(bucket: Bucket) -> int:
    return bucket.used_nano + bucket.held_nano


def _limits(caller: Caller, now: datetime) -> dict[int, int | None]:
    """Return the limits as they are in the database now, raises that hold included."""
    ids = [rule.id for rule in caller.budgets]
    return {
        row.pk: row.limit_nano
        if row.limit_nano is None or row.raise_until is None or row.raise_until <= now
        else row.limit_nano + row.raise_nano
        for row in Budget.objects.of(caller.tenant_id).filter(pk__in=ids)
    }


def _state(
    rule: BudgetRule, limit: int | None, bucket: Bucket | None, period: Span, now: datetime
) -> dict[str, Any]:
    used, held = (bucket.used_nano, bucket.held_nano) if bucket else (0, 0)
    return {
        "name": rule.name,
        "scope": rule.scope,
        "period": rule.period,
        "model": rule.model,
        "per": rule.per or None,
        "hard": rule.hard,
        "limit": None if limit is None else usd(limit),
        "used": usd(used),
        "held": usd(held),
        "remaining": None if limit is None else usd(limit - used - held),
        "renews_at": _local(period.end, rule),
        "forecast_at": _local(_forecast(limit, used, period, now), rule),
    }


def _forecast(limit: int | None, used: int, period: Span, now: datetime) -> datetime | None:
    """Return when the limit is reached at this period's rate; None where that is not in it.

    A period without an end has no beginning to measure a rate from either.
    """
    if limit is None or used <= 0 or period.end is None:
        return None
    if used >= limit:
        return now
    reached = period.start + (now - period.start) * (limit / used)
    return reached if reached < period.end else None


def _local(instant: datetime | None, rule: BudgetRule) -> str | None:
    return (
        None
        if instant is None
        else instant.astimezone(ZoneInfo(rule.zone)).isoformat(timespec="seconds")
    )


def _key(caller: Caller) -> dict[str, Any]:
    expires = caller.expires_at
    return {
        "name": caller.key,
        "id": caller.key_public_id,
        "scopes": sorted(caller.scopes),
        "expires_at": None
        if expires is None
        else datetime.fromtimestamp(expires, caller.zone).isoformat(timespec="seconds"),
    }


def _rate(rule: RateRule) -> dict[str, Any]:
    return {
        "scope": rule.scope,
        "requests_per_minute": rule.requests_per_minute,
        "tokens_per_minute": rule.tokens_per_minute,
        "concurrency": rule.concurrency,
    }
