"""Tell what the price catalogue knows of a model, and give it that where it has no price."""

from django.contrib import messages
from django.http import HttpRequest
from django.utils import timezone

from llm_gateway.configuration.prices import catalogue_prices
from llm_gateway.configuration.rows import price_values
from llm_gateway.models import Model, Price, Provider
from llm_gateway.providers.catalog import CATALOG
from llm_gateway.providers.known_prices import ALWAYS, catalogue_entry, source
from tenants.admin.base import record
from tenants.admin.columns import money


def told_price(provider: Provider, upstream_name: str) -> str:
    """Say what the catalogue would make a model cost today: the row it is from, and since when."""
    today = timezone.now().date()
    found = catalogue_prices(Model(provider=provider, name=upstream_name))
    begun = [price for price in found if price.valid_from <= today]
    catalogue = CATALOG[provider.kind].prices
    if not begun or catalogue is None:
        return "unpriced: the catalogue does not know it"
    price = begun[-1]
    since = "" if price.valid_from == ALWAYS else f", since {price.valid_from}"
    return (
        f"{money(price.input)} in, {money(price.output)} out per 1M tokens, from {source()}:"
        f" {catalogue_entry(catalogue, upstream_name)}{since}"
    )


def add_catalogue_prices(request: HttpRequest, model: Model) -> None:
    """Add them, or say that the model stays unpriced: a hard budget then refuses it."""
    if model.prices.exists():
        return
    found = catalogue_prices(model)
    for price in found:
        row = Price.objects.create(model=model, source=source(), **price_values(price))
        record(request, "created", row)
    if not found:
        messages.warning(
            request, f"{model} is unpriced: the price catalogue does not know it. Add a price."
        )
