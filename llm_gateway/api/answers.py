"""Show what the response cache does for a tenant, and let a tenant clear its answers."""

from datetime import timedelta

from asgiref.sync import sync_to_async
from django.db import transaction
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from llm_gateway.api import schemas
from llm_gateway.api.views import GatewayView
from llm_gateway.insight.usage import cache_used
from tenants.audit import fields_of, record
from tenants.models import Tenant
from tenants.types import Caller, usd

WINDOW = timedelta(days=30)


class Cache(GatewayView):
    @extend_schema(
        operation_id="cache",
        summary="How answers are given again, and what that saved",
        description="Of the last 30 days, over all processes; `/api/v1/usage` tells it by day,"
        " model and more.",
        tags=["cache"],
        responses={200: schemas.Cache, "4XX": schemas.PROBLEM},
    )
    async def get(self, request: Request) -> Response:
        del request
        caller, since = self.caller, timezone.now() - WINDOW
        used = await sync_to_async(cache_used)(caller.tenant_id, since)
        return Response(
            {
                "enabled": bool(caller.cache_seconds),
                "ttl_s": caller.cache_seconds,
                "single_flight": caller.single_flight,
                "used": {
                    "since": since,
                    "requests": used.requests,
                    "hits": used.hits,
                    "saved_usd": usd(used.saved_nano),
                },
            }
        )

    @extend_schema(
        operation_id="clear_cache",
        summary="Give none of the answers kept until now again",
        description="In force in every process within two seconds.",
        tags=["cache"],
        request=None,
        responses={204: None, "4XX": schemas.PROBLEM},
    )
    async def delete(self, request: Request) -> Response:
        del request
        await sync_to_async(clear)(self.caller)
        return Response(status=204)


def clear(caller: Caller) -> None:
    """Name the tenant's answers anew from now on: the old ones are never asked for again."""
    with transaction.atomic():
        tenant = Tenant.objects.select_for_update().get(pk=caller.tenant_id)
        before = fields_of(tenant)
        tenant.cache_generation += 1
        tenant.save(update_fields=["cache_generation", "updated_at"])
        record(caller.key_public_id, "cache cleared", tenant, before, fields_of(tenant))
