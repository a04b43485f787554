"""Group the console's pages in its sidebar by what people do there."""

from collections.abc import Callable
from typing import Any

from django.apps import apps
from django.http import HttpRequest
from django.urls import reverse_lazy


def _group(title: str, *items: dict[str, Any]) -> dict[str, Any]:
    return {"title": title, "separator": True, "items": list(items)}


def _page(title: str, icon: str, model: str) -> dict[str, Any]:
    link = reverse_lazy(f"admin:{model}_changelist")
    return {"title": title, "icon": icon, "link": link, "permission": _sees(model)}


def _sees(model: str) -> Callable[[HttpRequest], bool]:
    """Return what says whether somebody sees rows of a model (`tenants_budget`)."""
    label, _, name = model.rpartition("_")

    def sees(request: HttpRequest) -> bool:
        from django.contrib import admin  # noqa: PLC0415 - settings are read before there are models

        pages = admin.site.get_model_admin(apps.get_model(label, name))
        return pages.has_view_permission(request)

    return sees


NAVIGATION = [
    _group(
        "Traffic",
        {"title": "Overview", "icon": "monitoring", "link": reverse_lazy("admin:index")},
        _page("Live", "play_circle", "llm_gateway_runningnow"),
        _page("Requests", "receipt_long", "llm_gateway_requestlog"),
        {
            "title": "Playground",
            "icon": "science",
            "link": reverse_lazy("admin:playground"),
            "permission": "llm_gateway.playground.may_try",
        },
    ),
    _group(
        "Providers",
        _page("Providers", "dns", "llm_gateway_provider"),
        _page("Provider keys", "vpn_key", "llm_gateway_providerkey"),
        _page("Models", "neurology", "llm_gateway_model"),
        _page("Prices", "sell", "llm_gateway_price"),
        _page("Margins", "percent", "llm_gateway_tenantmargin"),
        _page("Routes", "alt_route", "llm_gateway_route"),
        _page("Circuits", "power", "llm_gateway_circuitchange"),
    ),
    _group(
        "Tenants",
        _page("Tenants", "apartment", "tenants_tenant"),
        _page("Projects", "folder", "tenants_project"),
        _page("Members", "group", "tenants_member"),
        _page("API keys", "key", "tenants_apikey"),
        _page("Budgets", "savings", "tenants_budget"),
        _page("Raises asked for", "trending_up", "tenants_raiserequest"),
        _page("Rate limits", "speed", "tenants_ratelimit"),
        _page("Guardrails", "shield", "tenants_guardrail"),
    ),
    _group(
        "Ledger",
        {"title": "Money", "icon": "paid", "link": reverse_lazy("admin:money")},
        _page("Buckets", "data_usage", "tenants_bucket"),
        _page("Holds", "hourglass_top", "tenants_hold"),
        _page("Entries", "menu_book", "tenants_entry"),
        _page("Integrity", "verified", "tenants_ledgercheck"),
        _page("Invoice check", "request_quote", "llm_gateway_invoiceline"),
    ),
    _group(
        "Alerts",
        _page("Alerts", "notifications", "tenants_alert"),
        _page("Sinks", "campaign", "tenants_alertsink"),
        _page("Deliveries", "outgoing_mail", "tenants_alertdelivery"),
    ),
    _group(
        "Installation",
        _page("Audit", "fact_check", "tenants_auditevent"),
        _page("History", "history", "llm_gateway_configurationstate"),
        _page("Settings", "settings", "llm_gateway_gatewaysettings"),
        _page("Users", "person", "auth_user"),
        _page("Groups", "badge", "auth_group"),
    ),
]
