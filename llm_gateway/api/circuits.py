"""Let operators see every circuit and decide about one by hand (faults.md §5)."""

import os
from datetime import timedelta
from typing import Any

from asgiref.sync import sync_to_async
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from msgspec import to_builtins
from rest_framework.request import Request
from rest_framework.response import Response

from llm_gateway.api.access import Operators
from llm_gateway.api.views import GatewayView, parameters, whole_number
from llm_gateway.errors import InvalidRequestError, NotFoundError
from llm_gateway.models import CircuitChange, Model
from llm_gateway.service import process
from llm_gateway.service.circuit_orders import LONGEST, OrderError, give_order
from llm_gateway.service.circuit_view import circuits_now, last_changes


class OperatorView(GatewayView):
    permission_classes = (Operators,)
    operator: str


class Circuits(OperatorView):
    @extend_schema(exclude=True)  # the document describes what keys may call
    async def get(self, request: Request) -> Response:
        parameters(request)
        runtime = await process.opened()
        changes = await sync_to_async(last_changes)()
        return Response(
            {
                "process": os.getpid(),
                "data": [to_builtins(one) for one in circuits_now(runtime)],
                "changes": [_change(one) for one in changes],
            }
        )


class OneCircuit(OperatorView):
    @extend_schema(exclude=True)
    async def post(self, request: Request, deployment: int) -> Response:
        # In the query: nobody without a key makes us read a body.
        given = parameters(request, "action", "seconds")
        action, seconds = given.get("action", ""), _seconds(given)
        now = timezone.now()
        until = None if seconds is None else now + timedelta(seconds=seconds)

        def give() -> None:
            model = Model.objects.filter(pk=deployment).first()
            if model is None:
                raise NotFoundError("There is no such deployment.")
            give_order(model, action, self.operator, now=now, until=until)

        try:
            await sync_to_async(give)()
        except OrderError as error:
            raise InvalidRequestError(str(error)) from None
        told = {"deployment": deployment, "action": action, "until": until and until.isoformat()}
        return Response(told, status=202)


def _seconds(given: dict[str, str]) -> int | None:
    """Return how long a forced state is to last. Raises InvalidRequestError."""
    if "seconds" not in given:
        return None
    return whole_number(given, "seconds", 0, int(LONGEST.total_seconds()))


def _change(row: CircuitChange) -> dict[str, Any]:
    return {
        "at": row.at.isoformat(),
        "deployment": row.deployment_id,
        "provider": row.provider,
        "model": row.model,
        "before": row.before,
        "after": row.after,
        "reason": row.reason,
        "error": row.error,
        "source": row.source,
        "process": row.process,
    }
