"""Read the request log of one's own tenant: newest first, by keyset, and one request in full."""

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from asgiref.sync import sync_to_async
from django.db.models import QuerySet
from django.utils.dateparse import parse_datetime
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from llm_gateway.api import schemas
from llm_gateway.api.views import GatewayView, parameters, whole_number
from llm_gateway.errors import InvalidRequestError, NotFoundError
from llm_gateway.insight import payloads
from llm_gateway.models import RequestLog
from tenants.secrets import SecretError
from tenants.types import Caller, usd

PAGE, LONGEST_PAGE = 50, 200
# What people and models said is for who manages a tenant; a key for usage alone sees figures.
PAYLOAD_SCOPE = "manage"
_HEAVY = ("lines", "decision")


class Requests(GatewayView):
    @extend_schema(
        operation_id="requests",
        summary="The request log, newest first",
        tags=["usage"],
        parameters=[
            OpenApiParameter("model", str, description="The model that answered or was asked for."),
            OpenApiParameter("status", int, description="HTTP status of the answer."),
            OpenApiParameter("from", datetime, description="ISO 8601 with offset, inclusive."),
            OpenApiParameter("to", datetime, description="ISO 8601 with offset, exclusive."),
            OpenApiParameter("limit", int, description=f"Up to {LONGEST_PAGE}, default {PAGE}."),
            OpenApiParameter("cursor", str, description="`next` of the page before."),
        ],
        responses={200: schemas.RequestRows, "4XX": schemas.PROBLEM},
    )
    async def get(self, request: Request) -> Response:
        given = parameters(request, "model", "status", "from", "to", "limit", "cursor")
        size = max(1, whole_number(given, "limit", PAGE, LONGEST_PAGE))
        rows = _filtered(self.caller.tenant_id, given).defer(*_HEAVY)
        found = [row async for row in rows[: size + 1]]
        more = len(found) > size
        return Response(
            {
                "data": [_row(row) for row in found[:size]],
                "next": str(found[size - 1].pk) if more else None,
            }
        )


class OneRequest(GatewayView):
    @extend_schema(
        operation_id="request",
        summary="One request with its decisions, attempts and lines of cost",
        description="With the scope `manage` also its payload, where the tenant keeps contents.",
        tags=["usage"],
        responses={200: schemas.RequestDecision, "4XX": schemas.PROBLEM},
    )
    async def get(self, request: Request, id: UUID) -> Response:  # noqa: A002 - as it is routed
        del request
        caller = self.caller
        row = await RequestLog.objects.filter(tenant_id=caller.tenant_id, pk=id).afirst()
        if row is None:
            raise NotFoundError("There is no such request.")
        told = _decision(row)
        if PAYLOAD_SCOPE in caller.scopes:
            told["payload"] = await sync_to_async(_payload)(caller, id)
        return Response(told)


def _payload(caller: Caller, request_id: UUID) -> dict[str, Any] | None:
    """Return what is kept of a request as it is told outside; None where nothing is."""
    actor = caller.key_public_id or caller.key
    try:
        found = payloads.read(caller.tenant_id, request_id, actor)
    except SecretError:
        return None
    told: dict[str, Any] | None = msgspec.to_builtins(found)
    return told


def _filtered(tenant_id: int, given: dict[str, str]) -> QuerySet[RequestLog]:
    rows = RequestLog.objects.filter(tenant_id=tenant_id).order_by("-id")
    if "model" in given:
        rows = rows.filter(model=given["model"]) | rows.filter(requested_model=given["model"])
    if "status" in given:
        rows = rows.filter(status=whole_number(given, "status", 0, 999))
    if "from" in given:
        rows = rows.filter(created_at__gte=_instant(given, "from"))
    if "to" in given:
        rows = rows.filter(created_at__lt=_instant(given, "to"))
    if "cursor" in given:
        rows = rows.filter(pk__lt=_cursor(given["cursor"]))
    return rows


def _instant(given: dict[str, str], name: str) -> datetime:
    try:
        # A plus sign in a query is a space unless it was encoded.
        instant = parse_datetime(given[name].replace(" ", "+"))
    except ValueError:
        instant = None
    if instant is None or instant.tzinfo is None:
        raise InvalidRequestError(
            f"'{name}' must be a time with offset such as 2026-01-31T00:00:00Z.", param=name
        )
    return instant


def _cursor(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise InvalidRequestError("'cursor' is none of ours.", param="cursor") from None


def _row(row: RequestLog) -> dict[str, Any]:
    return {
        "id": str(row.pk),
        "created_at": row.created_at.isoformat(),
        "endpoint": row.endpoint,
        "dialect": row.dialect,
        "key": row.key_name,
        "project": row.project_name,
        "requested_model": row.requested_model,
        "model": row.model,
        "provider": row.provider,
        "stream": row.stream,
        "status": row.status,
        "outcome": row.outcome,
        "code": row.code,
        "usage": {
            "prompt_tokens": row.input_tokens,
            "completion_tokens": row.output_tokens,
            "total_tokens": row.input_tokens + row.output_tokens,
            "cached_tokens": row.cached_tokens,
            "reasoning_tokens": row.reasoning_tokens,
        },
        "estimated": row.estimated,
        "cost_usd": usd(row.cost_nano),
        "cache": row.cache,
        "duration_ms": row.duration_ms,
        "first_token_ms": row.first_token_ms,
        "attempts": row.attempt_count,
    }


def _decision(row: RequestLog) -> dict[str, Any]:
    return {
        **_row(row),
        "error": row.error,
        "finish_reason": row.finish_reason,
        "end_user": row.end_user,
        "tags": row.tags,
        "lines": [_priced(line) for line in row.lines],
        **row.decision,
        "attempts": [_priced(one) for one in row.decision["attempts"]],
    }


def _priced(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record with its nano-dollars as decimal strings; null is a price nobody knows."""
    told = {name: value for name, value in record.items() if not name.endswith("_nano")}
    nano = {name: value for name, value in record.items() if name.endswith("_nano")}
    return told | {
        f"{name.removesuffix('_nano')}_usd": None if value is None else usd(value)
        for name, value in nano.items()
    }
