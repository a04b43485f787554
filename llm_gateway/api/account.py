"""Tell a key who it is: what it may call, its limits, and how full its budgets are."""

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from asgiref.sync import sync_to_async
from django.db import DEFAULT_DB_ALIAS
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from llm_gateway.api import schemas
from llm_gateway.api.views import GatewayView
from llm_gateway.insight.budgets import BudgetNow, budgets_now, forecasts
from llm_gateway.service import process
from llm_gateway.service.visible import callable_names
from tenants.types import BudgetRule, Caller, RateRule, usd


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


def budget_states(
    caller: Caller, now: datetime, *, using: str = DEFAULT_DB_ALIAS
) -> list[dict[str, Any]]:
    """Return each budget that binds a caller as it stands. Reads the database."""
    budgets = budgets_now(caller, now, using=using)
    found = forecasts(caller.tenant_id, budgets, now, using=using)
    return [_state(budget, one.at) for budget, one in zip(budgets, found, strict=True)]


def _state(budget: BudgetNow, forecast_at: datetime | None) -> dict[str, Any]:
    rule, limit = budget.rule, budget.limit_nano
    spent = budget.used_nano + budget.held_nano
    return {
        "name": rule.name,
        "scope": rule.scope,
        "period": rule.period,
        "model": rule.model,
        "per": rule.per or None,
        "subject": budget.subject or None,
        "hard": rule.hard,
        "limit": None if limit is None else usd(limit),
        "used": usd(budget.used_nano),
        "used_percent": round(100 * budget.used_nano / limit, 2) if limit else None,
        "held": usd(budget.held_nano),
        "remaining": None if limit is None else usd(limit - spent),
        "renews_at": _local(budget.period.end, rule),
        "forecast_at": _local(forecast_at, rule),
    }


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
