"""Show the playground: models asked side by side, with a key that whoever is signed in may use.

The page asks over the WebSocket, as any client does: limits, budgets and the log are the key's.
"""

from typing import Any
from uuid import UUID

import msgspec
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.views.decorators.http import require_safe

from llm_gateway.insight import payloads
from llm_gateway.insight.replay import ReplayError, replay
from llm_gateway.models import Model, Provider, RequestLog, Route
from tenants.auth import keys_of_seat
from tenants.models import Tenant
from tenants.seats import Seat, seat_of
from tenants.secrets import SecretError

MOST_KEYS = 500


def may_try(request: HttpRequest) -> bool:
    """Say whether this person may ask models: a viewer looks on."""
    seat = seat_of(request)
    return seat is not None and seat.reaches("member")


@require_safe
def playground(request: HttpRequest) -> HttpResponse:
    seat = seat_of(request)
    if seat is None or not may_try(request):
        raise PermissionDenied
    keys = keys_of_seat(seat).filter(scopes__icontains="inference").select_related("tenant")
    context = {
        **admin.site.each_context(request),
        "title": "Playground",
        "keys": keys.order_by("tenant__name", "name")[:MOST_KEYS],
        "names": _names(seat),
        "chosen": request.GET.getlist("model"),
        "replay": _replay(seat, request.GET["request"]) if "request" in request.GET else None,
    }
    return TemplateResponse(request, "admin/console/playground.html", context)


def _replay(seat: Seat, request_id: str) -> dict[str, Any]:
    """Return what to fill the page with, or a `problem`; a look at a payload is in the audit.

    Raises Http404 for a request that this person does not see.
    """
    log = _log_of(seat, request_id)
    tenant = Tenant.objects.filter(pk=log.tenant_id or 0).first()
    if tenant is None or not payloads.may_read(seat, tenant):
        raise PermissionDenied
    try:
        found = payloads.read(tenant.pk, log.pk, seat.person)
        if found is None:
            return {"problem": "Nothing is kept of that request."}
        told: dict[str, Any] = msgspec.to_builtins(replay(found, log.requested_model))
    except SecretError:
        return {"problem": "It was sealed with a master key that is gone."}
    except ReplayError as error:
        return {"problem": f"That request cannot be asked again here. {error}"}
    return told


def _log_of(seat: Seat, request_id: str) -> RequestLog:
    rows = RequestLog.objects.all()
    if not seat.operator:
        rows = rows.filter(tenant_id=seat.tenant_id or 0)
    try:
        return get_object_or_404(rows, pk=UUID(request_id))
    except ValueError:
        raise Http404 from None


def _names(seat: Seat) -> list[str]:
    """Return what may be chosen; what is really answered the key decides."""
    models = Model.objects.filter(enabled=True)
    if not seat.operator:
        foreign = Provider.objects.exclude(tenant=None).exclude(tenant=seat.tenant_id)
        models = models.exclude(provider__in=foreign)
    routes = Route.objects.filter(enabled=True).values_list("name", flat=True)
    return sorted({*models.values_list("name", flat=True), *routes})
