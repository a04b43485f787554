"""Say what is left to do before the first request, in place of an overview of nothing."""

from typing import Any

from django.http import HttpRequest
from django.urls import reverse

from llm_gateway.models import Model, Provider
from llm_gateway.snippets import curl
from tenants.models import ApiKey, Tenant


def first_steps(request: HttpRequest) -> dict[str, Any]:
    """Return the steps in order, whether each is done, and a request to try."""
    add = {
        name: reverse(f"admin:{name}_add")
        for name in (
            "llm_gateway_provider",
            "llm_gateway_model",
            "tenants_tenant",
            "tenants_apikey",
        )
    }
    model = Model.objects.filter(enabled=True).order_by("pk").first()
    base = request.build_absolute_uri("/").rstrip("/")
    return {
        "list": [
            ("Add a provider", Provider.objects.exists(), add["llm_gateway_provider"]),
            ("Add a model, or discover them", model is not None, add["llm_gateway_model"]),
            ("Create a tenant", Tenant.objects.exists(), add["tenants_tenant"]),
            (
                "Create an API key",
                ApiKey.all_tenants_unsafe.filter(revoked_at=None).exists(),
                add["tenants_apikey"],
            ),
        ],
        "curl": curl(base, "$MOBIUS_KEY", model.name if model else "MODEL"),
    }
