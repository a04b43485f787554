"""Show what runs of one's own tenant now, and stop one of it."""

from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from llm_gateway.api import schemas
from llm_gateway.api.views import GatewayView, parameters
from llm_gateway.errors import NotFoundError
from llm_gateway.service.inflight import InFlight
from llm_gateway.service.looking import look, stop_request
from tenants.types import usd


class InFlightRow(serializers.Serializer[None]):
    id = serializers.UUIDField(help_text="As in x-request-id.")
    process = serializers.CharField()
    tenant = serializers.CharField()
    project = serializers.CharField(allow_null=True)
    key = serializers.CharField()
    endpoint = serializers.CharField()
    dialect = serializers.CharField(help_text="Empty while the body is on its way.")
    stream = serializers.BooleanField(allow_null=True)
    state = serializers.ChoiceField(["arriving", "waiting", "answering"])
    model = serializers.CharField()
    provider = serializers.CharField()
    attempt = serializers.IntegerField(help_text="Its number, 0 before the first.")
    age_s = serializers.FloatField()
    output_tokens = serializers.IntegerField(help_text="Until now, counted here.")
    cost_usd = serializers.CharField(help_text="Until now, as if it were stopped.")


class InFlightRows(serializers.Serializer[None]):
    data = InFlightRow(many=True, help_text="The oldest first.")  # type: ignore[assignment] # a field
    silent = serializers.ListField(
        child=serializers.CharField(), help_text="Processes that did not answer in time."
    )
    left_off = serializers.IntegerField(help_text="How many more run in processes that are full.")


class Stopped(serializers.Serializer[None]):
    id = serializers.UUIDField()
    stopped = serializers.BooleanField()


class Running(GatewayView):
    @extend_schema(
        operation_id="inflight",
        summary="What runs now, in all processes",
        tags=["usage"],
        responses={200: InFlightRows, "4XX": schemas.PROBLEM},
    )
    async def get(self, request: Request) -> Response:
        parameters(request)
        seen = (await look()).of(self.caller.tenant_id)
        rows = [_row(process, one) for process, one in seen.requests]
        return Response({"data": rows, "silent": seen.silent, "left_off": seen.left_off})


class OneRunning(GatewayView):
    @extend_schema(
        operation_id="stop_inflight",
        summary="Stop a request that runs",
        description="In force within two seconds; settled as what a caller left.",
        tags=["usage"],
        request=None,
        responses={200: Stopped, "4XX": schemas.PROBLEM},
    )
    async def delete(self, request: Request, id: UUID) -> Response:  # noqa: A002 - as it is routed
        del request
        caller = self.caller
        if not await stop_request(id, caller.key_public_id, caller.tenant_id):
            raise NotFoundError("There is no such request that runs.")
        return Response({"id": str(id), "stopped": True})


def _row(process: str, one: InFlight) -> dict[str, Any]:
    return {
        "id": str(one.id),
        "process": process,
        "tenant": one.tenant,
        "project": one.project,
        "key": one.key,
        "endpoint": one.endpoint,
        "dialect": one.dialect,
        "stream": one.stream,
        "state": one.state,
        "model": one.model,
        "provider": one.provider,
        "attempt": one.attempt,
        "age_s": round(one.age_s, 3),
        "output_tokens": one.output_tokens,
        "cost_usd": usd(one.cost_nano),
    }
