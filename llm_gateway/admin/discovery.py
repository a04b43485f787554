"""Try keys and discover models of a provider, from the console."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from llm_gateway.admin.catalogued import add_catalogue_prices, told_price
from llm_gateway.errors import GatewayError
from llm_gateway.models import Model, Provider, ProviderKey
from llm_gateway.providers.catalog import CATALOG
from llm_gateway.providers.known_models import model_facts
from tenants.admin.base import ConsoleAdmin, page_action, record
from tenants.models import NAME

if TYPE_CHECKING:
    from llm_gateway.providers.control import DiscoveredModel


class KeyTests(ConsoleAdmin):
    """Pages whose keys can be tried: the answer is a message, never a secret."""

    def try_keys(
        self, request: HttpRequest, provider: Provider, keys: Sequence[ProviderKey | None]
    ) -> None:
        for key in keys:
            name = f"{provider.name}/{key.name}" if key else provider.name
            try:
                found = _listed(provider, key)
            except GatewayError as error:
                messages.error(request, f"{name}: {error.message}")
            else:
                messages.success(request, f"{name} works: {len(found)} models are listed.")

    def ask_to_try(self, request: HttpRequest, obj: Any, provider: Provider) -> HttpResponse:
        return self.confirm(
            request,
            obj,
            title=f"Test {obj}",
            text=f"Lists the models at {provider.address} with the key. Providers do not bill it.",
            button="Test now",
        )


class ProviderActions(KeyTests):
    """Buttons on the page of a provider."""

    actions_detail = ("test_provider", "discover_models")

    @page_action("Test keys", icon="network_check")
    def test_provider(self, request: HttpRequest, object_id: str) -> HttpResponse:
        provider = self.get_object(request, object_id)
        if provider is None:
            return self.back_to_list()
        if request.method != "POST":
            return self.ask_to_try(request, provider, provider)
        self.try_keys(request, provider, usable_keys(provider))
        return self.back_to(provider)

    @page_action("Discover models", icon="travel_explore")
    def discover_models(self, request: HttpRequest, object_id: str) -> HttpResponse:
        provider = self.get_object(request, object_id)
        if provider is None:
            return self.back_to_list()
        try:
            found = _listed(provider, usable_keys(provider)[0])
        except GatewayError as error:
            messages.error(request, f"{provider.name}: {error.message}")
            return self.back_to(provider)
        if request.method != "POST":
            context = self.page_context(request, provider, f"Models of {provider}")
            context["lines"] = _lines(provider, found)
            return TemplateResponse(request, "admin/console/discover.html", context)
        added = _add(request, provider, found, frozenset(request.POST.getlist("model")))
        messages.success(request, f"{len(added)} models added.")
        return self.back_to(provider)


class KeyActions(KeyTests):
    """Buttons on the page and the list of provider keys."""

    actions_detail = ("test_key",)

    @page_action("Test this key", icon="network_check")
    def test_key(self, request: HttpRequest, object_id: str) -> HttpResponse:
        key = self.get_object(request, object_id)
        if key is None:
            return self.back_to_list()
        if request.method != "POST":
            return self.ask_to_try(request, key, key.provider)
        self.try_keys(request, key.provider, [key])
        return self.back_to(key)

    @admin.action(description="Test these keys")
    def test_keys(self, request: HttpRequest, queryset: QuerySet[ProviderKey]) -> None:
        for key in queryset.select_related("provider"):
            self.try_keys(request, key.provider, [key])


def _listed(provider: Provider, key: ProviderKey | None) -> "Sequence[DiscoveredModel]":
    # The way out and the SDKs are heavy, and every command loads the admin.
    from llm_gateway.service import provider_control  # noqa: PLC0415

    return provider_control.discover(provider, key)


def usable_keys(provider: Provider) -> list[ProviderKey | None]:
    """Return the keys that requests would use, or None alone where there is none."""
    return list(provider.keys.filter(enabled=True).exclude(sealed=None)) or [None]


def _lines(provider: Provider, found: "Sequence[DiscoveredModel]") -> list[dict[str, Any]]:
    known = {model.upstream_name or model.name for model in provider.models.all()}
    return [
        {
            "id": one.id,
            "title": one.title,
            "window": one.context_window,
            "able": sorted(model_facts(provider.kind, one.id).capabilities or one.capabilities),
            "known": one.id in known,
            "price": None if one.id in known else told_price(provider, one.id),
        }
        for one in found
    ]


def _add(
    request: HttpRequest,
    provider: Provider,
    found: "Sequence[DiscoveredModel]",
    ticked: frozenset[str],
) -> list[Model]:
    """Add the ticked models: only what the provider listed just now, and what is new."""
    new = {line["id"] for line in _lines(provider, found) if not line["known"]} & ticked
    added: list[Model] = []
    for one in found:
        if one.id not in new:
            continue
        public = one.id if _is_name(one.id) else ""
        model = Model.objects.create(
            provider=provider,
            name=public or f"{CATALOG[provider.kind].kind}-{len(added) + 1}",
            upstream_name="" if public else one.id,
            context_window=one.context_window,
            max_output_tokens=one.max_output_tokens,
        )
        record(request, "created", model)
        add_catalogue_prices(request, model)
        added.append(model)
    return added


def _is_name(text: str) -> bool:
    try:
        NAME(text)
    except ValidationError:
        return False
    return True
