"""Tell a tenant what it used, when its budgets will be reached and what would save money."""

import binascii
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from asgiref.sync import sync_to_async
from django.http import HttpResponse
from django.utils.dateparse import parse_datetime
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from llm_gateway.api import insight_schemas, schemas
from llm_gateway.api.views import GatewayView, parameters, whole_number
from llm_gateway.errors import InvalidRequestError
from llm_gateway.insight.advice import Advice, advise
from llm_gateway.insight.budgets import BudgetNow, budgets_now, forecasts
from llm_gateway.insight.export import FOCUS_GROUPS, focus_csv, keyed, measures, usage_csv
from llm_gateway.insight.forecast import Forecast
from llm_gateway.insight.observed import observe
from llm_gateway.insight.usage import GROUPS, Question, UsageRow, cursor_of, is_group, usage
from llm_gateway.service import process
from llm_gateway.service.visible import callable_deployments
from tenants.types import BudgetRule, Caller, usd

PAGE, LONGEST_PAGE, LONGEST_FILE = 100, 1000, 100_000
MOST_GROUPS = 6
DEFAULT_DAYS = 30
METHOD = (
    "Spend a day (an hour for budgets of an hour or a day) over the last 28 days (7 days of hours)"
    " with mean m and standard deviation s: the budget is reached where m·t is what is left of it;"
    " earliest and latest are where m·t ± 1.28·s·√t is, a range of 80 %. Without a complete day:"
    " the rate of the period to date, without a range. Null: not before the budget renews."
)
_SPAN = [
    OpenApiParameter("from", str, description="A date of the tenant's zone, or ISO 8601 on the"
                     " full hour with offset; inclusive. Default: 30 days with today."),
    OpenApiParameter("to", str, description="Likewise, exclusive. Default: the end of today."),
]  # fmt: skip
_GROUPED = [
    OpenApiParameter(
        "group_by", str, description=f"Of {', '.join(GROUPS)} and tag.NAME, commas between."
    ),
    *_SPAN,
]
_CSV = {(200, "text/csv"): OpenApiTypes.STR, "4XX": schemas.PROBLEM}


class Usage(GatewayView):
    @extend_schema(
        operation_id="usage",
        summary="Requests, tokens and cost by day, model, key, project, provider or tag",
        description="Days are those of the tenant's zone; an hour of UTC counts to the day in which"
        " it begins.",
        tags=["usage"],
        parameters=[
            *_GROUPED,
            OpenApiParameter("limit", int, description=f"Up to {LONGEST_PAGE}, default {PAGE}."),
            OpenApiParameter("cursor", str, description="`next` of the page before."),
        ],
        responses={200: insight_schemas.UsagePage, "4XX": schemas.PROBLEM},
    )
    async def get(self, request: Request) -> Response:
        given = parameters(request, "group_by", "from", "to", "limit", "cursor")
        size = max(1, whole_number(given, "limit", PAGE, LONGEST_PAGE))
        question = await _question(self.caller, given, _groups(given))
        after = _after(given)
        try:
            rows = await sync_to_async(usage)(question, limit=size + 1, after=after)
        except ValueError:
            raise _no_cursor() from None
        more = len(rows) > size
        return Response(
            {
                "from": _local(question.start, question.zone),
                "to": _local(question.end, question.zone),
                "rows": [_row(question, row) for row in rows[:size]],
                "next": _cursor(rows[size - 1]) if more else None,
            }
        )


class UsageFile(GatewayView):
    @extend_schema(
        operation_id="usage_csv",
        summary="The same as CSV, whole",
        tags=["usage"],
        parameters=_GROUPED,
        responses=_CSV,
    )
    async def get(self, request: Request) -> HttpResponse:
        given = parameters(request, "group_by", "from", "to")
        question = await _question(self.caller, given, _groups(given))
        return _file("usage.csv", usage_csv(question.groups, await _all(question)))


class FocusFile(GatewayView):
    @extend_schema(
        operation_id="usage_focus_csv",
        summary="Usage as CSV in the columns of FOCUS 1.0",
        tags=["usage"],
        parameters=_SPAN,
        responses=_CSV,
    )
    async def get(self, request: Request) -> HttpResponse:
        question = await _question(self.caller, parameters(request, "from", "to"), FOCUS_GROUPS)
        tenant = (self.caller.tenant_id, self.caller.tenant)
        return _file("usage.focus.csv", focus_csv(tenant, question.zone, await _all(question)))


class Forecasts(GatewayView):
    @extend_schema(
        operation_id="forecast",
        summary="When each budget will be reached at this rate",
        description=METHOD,
        tags=["usage"],
        responses={200: insight_schemas.Forecasts, "4XX": schemas.PROBLEM},
    )
    async def get(self, request: Request) -> Response:
        parameters(request)
        data = await sync_to_async(_forecasts)(self.caller, await _now())
        return Response({"method": METHOD, "data": data})


class Recommendations(GatewayView):
    @extend_schema(
        operation_id="recommendations",
        summary="What would have saved money in the last 7 days",
        tags=["usage"],
        responses={200: insight_schemas.Recommendations, "4XX": schemas.PROBLEM},
    )
    async def get(self, request: Request) -> Response:
        parameters(request)
        runtime, now, caller = await process.opened(), await _now(), self.caller
        observed = await sync_to_async(observe)(caller.tenant_id, now)
        callable_ = callable_deployments(runtime.snapshot.current.configuration, caller)
        found = advise(observed, callable_, now.date())
        return Response(
            {
                "from": _local(observed.since, caller.time_zone),
                "to": _local(observed.until, caller.time_zone),
                "saving_usd": usd(sum(one.saving_nano for one in found)),
                "data": [_recommendation(one) for one in found],
            }
        )


# --- what is asked -------------------------------------------------------------------------------


async def _now() -> datetime:
    runtime = await process.opened()
    return datetime.fromtimestamp(runtime.wall_clock(), UTC)


def _groups(given: dict[str, str]) -> tuple[str, ...]:
    groups = tuple(given.get("group_by", "day").split(","))
    if len(groups) > MOST_GROUPS or len(set(groups)) < len(groups):
        raise InvalidRequestError(
            f"'group_by' names up to {MOST_GROUPS} different groups.", param="group_by"
        )
    for group in groups:
        if not is_group(group):
            raise InvalidRequestError(
                f"'group_by' knows {', '.join(GROUPS)} and tag.NAME, not {group[:64]!r}.",
                param="group_by",
            )
    return groups


async def _question(caller: Caller, given: dict[str, str], groups: tuple[str, ...]) -> Question:
    zone = caller.zone
    today = (await _now()).astimezone(zone).date()
    start = _instant(given, "from", zone) or _midnight(
        today - timedelta(days=DEFAULT_DAYS - 1), zone
    )
    end = _instant(given, "to", zone) or _midnight(today + timedelta(days=1), zone)
    if start >= end:
        raise InvalidRequestError("'from' must lie before 'to'.", param="from")
    return Question(
        tenant_id=caller.tenant_id, zone=caller.time_zone, groups=groups, start=start, end=end
    )


def _instant(given: dict[str, str], name: str, zone: ZoneInfo) -> datetime | None:
    if name not in given:
        return None
    # A plus sign in a query is a space unless it was encoded.
    text = given[name].replace(" ", "+")
    try:
        return _midnight(date.fromisoformat(text), zone)
    except ValueError:
        pass
    try:
        instant = parse_datetime(text)
    except ValueError:
        instant = None
    if instant is None or instant.tzinfo is None or instant.timestamp() % 3600:
        raise InvalidRequestError(
            f"'{name}' must be a date such as 2026-01-31, or a full hour with offset such as"
            " 2026-01-31T00:00:00Z: usage is kept by the hour.",
            param=name,
        )
    return instant.astimezone(UTC)


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time(0), zone).astimezone(UTC)


def _after(given: dict[str, str]) -> list[str] | None:
    if "cursor" not in given:
        return None
    try:
        keys = json.loads(urlsafe_b64decode(given["cursor"]))
    except (ValueError, binascii.Error):
        raise _no_cursor() from None
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise _no_cursor()
    return keys


def _no_cursor() -> InvalidRequestError:
    return InvalidRequestError("'cursor' is none of ours.", param="cursor")


# --- what is told --------------------------------------------------------------------------------


def _cursor(row: UsageRow) -> str:
    return urlsafe_b64encode(json.dumps(cursor_of(row)).encode()).decode()


def _row(question: Question, row: UsageRow) -> dict[str, Any]:
    return {**keyed(question.groups, row), **measures(row)}


async def _all(question: Question) -> list[UsageRow]:
    rows = await sync_to_async(usage)(question, limit=LONGEST_FILE + 1)
    if len(rows) > LONGEST_FILE:
        raise InvalidRequestError(
            f"That is more than {LONGEST_FILE} rows: ask for fewer days or groups.", param="from"
        )
    return rows


def _file(name: str, text: str) -> HttpResponse:
    disposition = f'attachment; filename="{name}"'
    return HttpResponse(
        text,
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": disposition},
    )


def _forecasts(caller: Caller, now: datetime) -> list[dict[str, Any]]:
    budgets = budgets_now(caller, now)
    found = forecasts(caller.tenant_id, budgets, now)
    return [_forecast(budget, one) for budget, one in zip(budgets, found, strict=True)]


def _forecast(budget: BudgetNow, found: Forecast) -> dict[str, Any]:
    rule, limit = budget.rule, budget.limit_nano
    return {
        "name": rule.name,
        "scope": rule.scope,
        "period": rule.period,
        "model": rule.model,
        "per": rule.per or None,
        "subject": budget.subject,
        "limit": None if limit is None else usd(limit),
        "used": usd(budget.used_nano),
        "renews_at": _of(rule, budget.period.end),
        "at": _of(rule, found.at),
        "earliest": _of(rule, found.earliest),
        "latest": _of(rule, found.latest),
        "usd_per_day": usd(found.rate_nano),
        "method": found.method,
        "steps": found.steps,
    }


def _of(rule: BudgetRule, instant: datetime | None) -> str | None:
    return None if instant is None else _local(instant, rule.zone)


def _local(instant: datetime, zone: str) -> str:
    return instant.astimezone(ZoneInfo(zone)).isoformat(timespec="seconds")


def _recommendation(one: Advice) -> dict[str, Any]:
    return {
        "kind": one.kind,
        "subject": one.subject,
        "advice": one.advice,
        "saving_usd": usd(one.saving_nano),
        "computed": one.computed,
        "figures": one.figures,
    }
