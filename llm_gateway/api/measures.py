"""Say how each provider did for this tenant lately, and which circuits are open (R38)."""

from collections import defaultdict
from typing import Any

from asgiref.sync import sync_to_async
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from llm_gateway.api import schemas
from llm_gateway.api.views import GatewayView, parameters, whole_number
from llm_gateway.metrics import provider_metrics
from llm_gateway.service import process
from llm_gateway.service.runtime import Runtime
from llm_gateway.service.visible import callable_deployments
from tenants.types import Caller

HOUR_S, LONGEST_S = 3600, 31 * 86_400


class Metrics(GatewayView):
    @extend_schema(
        operation_id="metrics",
        summary="Requests, success, times, tokens and cost by provider",
        description="Of this tenant's own requests; `requests` counts upstream attempts.",
        tags=["usage"],
        parameters=[
            OpenApiParameter("provider", str),
            OpenApiParameter("window", int, description="Seconds back from now; default 3600."),
        ],
        responses={200: schemas.Metrics, "4XX": schemas.PROBLEM},
    )
    async def get(self, request: Request) -> Response:
        given = parameters(request, "provider", "window")
        window = whole_number(given, "window", HOUR_S, LONGEST_S)
        rows = await sync_to_async(provider_metrics)(
            window, given.get("provider"), tenant_id=self.caller.tenant_id
        )
        circuits = _circuits(await process.opened(), self.caller)
        data = [{**row, "circuits": circuits[row["provider"]]} for row in rows]
        return Response({"window_s": window, "data": data})


def _circuits(runtime: Runtime, caller: Caller) -> dict[str, dict[str, Any]]:
    circuits: defaultdict[str, dict[str, Any]] = defaultdict(dict)
    for one in callable_deployments(runtime.snapshot.current.configuration, caller):
        circuits[one.provider.name][one.name] = runtime.board.state(one).state
    return circuits
