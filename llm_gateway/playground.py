"""Show the playground: models asked side by side, with a key that whoever is signed in may use.

The page asks over the WebSocket, as any client does: limits, budgets and the log are the key's.
"""

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.views.decorators.http import require_safe

from llm_gateway.models import Model, Provider, Route
from tenants.auth import keys_of_seat
from tenants.seats import Seat, seat_of

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
    }
    return TemplateResponse(request, "admin/console/playground.html", context)


def _names(seat: Seat) -> list[str]:
    """Return what may be chosen; what is really answered the key decides."""
    models = Model.objects.filter(enabled=True)
    if not seat.operator:
        foreign = Provider.objects.exclude(tenant=None).exclude(tenant=seat.tenant_id)
        models = models.exclude(provider__in=foreign)
    routes = Route.objects.filter(enabled=True).values_list("name", flat=True)
    return sorted({*models.values_list("name", flat=True), *routes})
