"""Answer `/` and the forms of the portal. No script, nothing from elsewhere."""

from collections.abc import Callable
from typing import Any

from asgiref.sync import sync_to_async
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from llm_gateway.access import seated
from llm_gateway.landing.forms import RaiseForm
from llm_gateway.landing.portal import budgets_of, keys_of, portal
from llm_gateway.models import Model, Provider, RequestLog, Route
from llm_gateway.service import process
from llm_gateway.service.catalogue import Wanted, models
from llm_gateway.snippets import snippets
from tenants import audit, keys
from tenants.auth import load_caller_of_seat
from tenants.models import ApiKey, Tenant
from tenants.raises import ask_for_raise
from tenants.seats import CHOSEN, Seat, memberships, seat_of
from tenants.signin.places import wanted
from tenants.signin.rules import is_operator


@require_safe
async def landing(request: HttpRequest) -> HttpResponse:
    seat = await sync_to_async(seat_of)(request)
    if seat is None or seat.tenant_id is None:
        return await sync_to_async(_welcome)(request)
    caller = await sync_to_async(load_caller_of_seat)(seat)
    assert caller is not None  # noqa: S101 - a seat of a tenant that is switched on
    callable_models = models(await process.opened(), caller, Wanted())
    return await sync_to_async(_shown)(request, seat, {"models": callable_models})


def _shown(
    request: HttpRequest, seat: Seat, more: dict[str, Any], *, status: int = 200
) -> HttpResponse:
    context = {
        "seat": seat,
        "seats": memberships(request.user),  # type: ignore[arg-type] # who has a seat is a user
        "snippets": snippets(_base(request), "YOUR_KEY", "MODEL"),
        "form": RaiseForm(),
        "may_ask": seat.reaches("member"),
        **portal(seat, timezone.now()),
        **more,
    }
    return render(request, "portal/portal.html", context, status=status)


def _welcome(request: HttpRequest) -> HttpResponse:
    context = {
        "base": _base(request),
        "snippets": snippets(_base(request), "YOUR_KEY", "MODEL"),
        "counts": _counts() if is_operator(request.user) else None,
    }
    return render(request, "landing.html", context)


def _base(request: HttpRequest) -> str:
    return request.build_absolute_uri("/").rstrip("/")


def _counts() -> list[tuple[str, int]]:
    """Return the state of the installation, for its operators only."""
    return [
        ("providers", Provider.objects.filter(enabled=True).count()),
        ("models", Model.objects.filter(enabled=True).count()),
        ("routes", Route.objects.filter(enabled=True).count()),
        ("tenants", Tenant.objects.filter(active=True).count()),
        ("API keys", ApiKey.all_tenants_unsafe.filter(revoked_at=None).count()),
        ("requests logged", RequestLog.objects.count()),
    ]


# --- what is done in the portal ---------------------------------------------------------------


def form(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Mark a view as the target of a form."""
    posted = require_POST(view)
    posted.answers = "POST"  # type: ignore[attr-defined] # read by what walks the routes
    return posted


def of_a_tenant(request: HttpRequest) -> Seat:
    """Return where who asks sits. Raises PermissionDenied by the routed view's row."""
    seat, match = seat_of(request), request.resolver_match
    if seat is None or seat.tenant_id is None or match is None:
        raise PermissionDenied
    route = "/" + match.route.replace("<str:", "{").replace("<int:", "{").replace(">", "}")
    method = "POST" if request.method == "POST" else "GET"
    if not seated("http", method, route, seat.role, operator=False):
        raise PermissionDenied
    return seat


@form
def choose_tenant(request: HttpRequest) -> HttpResponse:
    """Look at another of one's own tenants."""
    of_a_tenant(request)
    own = {str(member.tenant_id): member.tenant_id for member in memberships(request.user)}  # type: ignore[arg-type] # who has a seat is a user
    chosen = own.get(request.POST.get("tenant", ""))
    if chosen is None:
        raise Http404
    request.session[CHOSEN] = chosen
    return redirect("landing")


@form
def renew_key(request: HttpRequest, name: str) -> HttpResponse:
    """Give a key of one's own a new value, and show it this once."""
    seat = of_a_tenant(request)
    key = keys_of(seat).filter(public_id=name, revoked_at=None).first()
    if key is None:
        raise Http404
    before = audit.fields_of(key)
    value = keys.issue(key)
    key.save(update_fields=keys.ISSUED)
    audit.record(seat.person, "rotated", key, before, audit.fields_of(key))
    shown = snippets(_base(request), value, (key.allowed_models or ["MODEL"])[0])
    return render(request, "portal/renewed.html", {"key": key, "value": value, "snippets": shown})


@form
def ask_raise(request: HttpRequest) -> HttpResponse:
    """Ask for more money for a while; whoever may decide sees it in the console."""
    seat = of_a_tenant(request)
    asked = RaiseForm(request.POST)
    if not asked.is_valid():
        return _shown(request, seat, {"form": asked}, status=400)
    said = asked.cleaned_data
    budget = next((one for one in budgets_of(seat) if one.pk == said["budget"]), None)
    if budget is None:
        raise Http404
    try:
        ask_for_raise(
            budget,
            said["amount"],
            said["until"],
            said["reason"],
            seat=seat,
            now=timezone.now(),
        )
    except ValueError as error:
        asked.add_error(None, str(error))
        return _shown(request, seat, {"form": asked}, status=400)
    return redirect(wanted(request) or "landing")
