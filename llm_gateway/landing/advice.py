"""Answer the portal's page of advice, and follow with a click what can be taken back."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_safe

from llm_gateway.configuration.states import keep_state
from llm_gateway.insight.advice import advise
from llm_gateway.insight.observed import observe
from llm_gateway.landing.views import form, of_a_tenant
from llm_gateway.service import process
from llm_gateway.service.visible import callable_deployments
from llm_gateway.types import Deployment
from tenants import audit
from tenants.auth import load_caller_of_seat
from tenants.models import Tenant
from tenants.rights import field_of, reaches
from tenants.seats import Seat
from tenants.types import short_usd

CACHE = "cache_answers"
HOUR_S = 3600


@require_safe
def advice(request: HttpRequest) -> HttpResponse:
    """Show what would have saved money in the last 7 days."""
    seat, now = of_a_tenant(request), timezone.now()
    observed = observe(seat.tenant_id or 0, now)
    found = advise(observed, _deployments(seat), now.date())
    context = {
        "seat": seat,
        "since": observed.since,
        "found": [(one, short_usd(one.saving_nano)) for one in found],
        "sum": short_usd(sum(one.saving_nano for one in found)),
        # Of all advice it alone changes nothing that cannot be taken back.
        "follows": CACHE if reaches(seat.role, field_of("Tenant", "cache").write) else "",
    }
    return render(request, "portal/advice.html", context)


def _deployments(seat: Seat) -> list[Deployment]:
    """Return what the tenant may call; nothing in a process that serves no callers."""
    runtime, caller = process.current(), load_caller_of_seat(seat)
    if runtime is None or caller is None:
        return []
    return callable_deployments(runtime.snapshot.current.configuration, caller)


@form
def keep_answers(request: HttpRequest) -> HttpResponse:
    """Switch the tenant's cache on; the state before is kept, to be rolled back to."""
    seat = of_a_tenant(request)
    tenant = Tenant.objects.get(pk=seat.tenant_id or 0)
    if not tenant.cache.get("enabled"):
        keep_state()
        before = audit.fields_of(tenant)
        tenant.cache = {**tenant.cache, "enabled": True, "ttl": HOUR_S}
        tenant.save(update_fields=["cache", "updated_at"])
        audit.record(seat.person, "updated", tenant, before, audit.fields_of(tenant))
    return redirect("portal-advice")
