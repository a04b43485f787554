"""Give a model that was saved without a price what the price catalogue knows."""

from django.contrib import messages
from django.http import HttpRequest

from llm_gateway.configuration.prices import catalogue_prices
from llm_gateway.configuration.rows import price_values
from llm_gateway.models import Model, Price
from llm_gateway.providers.known_prices import source
from tenants.admin.base import record


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
