"""Answer `/`: what this is and what to do next. No secret, no script, nothing from elsewhere."""

from django.contrib.auth.models import AnonymousUser, User
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from llm_gateway.models import Model, Provider, RequestLog, Route
from llm_gateway.snippets import snippets
from tenants.models import ApiKey, Tenant


@require_safe
def landing(request: HttpRequest) -> HttpResponse:
    base = request.build_absolute_uri("/").rstrip("/")
    context = {
        "base": base,
        "snippets": snippets(base, "YOUR_KEY", "MODEL"),
        "counts": _counts() if _may_count(request.user) else None,
    }
    return render(request, "landing.html", context)


def _may_count(user: User | AnonymousUser) -> bool:
    return user.is_active and user.is_staff and user.is_superuser


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
