"""Answer the portal's page of advice, and follow with a click what can be taken back."""

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_safe

from llm_gateway.configuration.following import FollowError
from llm_gateway.landing.views import form, of_a_tenant
from llm_gateway.service.advising import advice_page, obey
from tenants.models import Tenant
from tenants.seats import Seat


@require_safe
def advice(request: HttpRequest) -> HttpResponse:
    """Show what would have saved money in the last 7 days."""
    return _shown(request, of_a_tenant(request))


@form
def follow(request: HttpRequest) -> HttpResponse:
    """Follow one of them, or take back what was followed."""
    seat = of_a_tenant(request)
    try:
        obey(seat, _tenant(seat), request.POST, timezone.now())
    except PermissionError:
        raise PermissionDenied from None
    except FollowError as error:
        return _shown(request, seat, trouble=str(error), status=400)
    return redirect("portal-advice")


def _tenant(seat: Seat) -> Tenant:
    return Tenant.objects.get(pk=seat.tenant_id or 0)


def _shown(
    request: HttpRequest, seat: Seat, *, trouble: str = "", status: int = 200
) -> HttpResponse:
    context = advice_page(seat, _tenant(seat), timezone.now()) | {"trouble": trouble}
    return render(request, "portal/advice.html", context, status=status)
