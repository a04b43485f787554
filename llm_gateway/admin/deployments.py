"""Manage models at providers and their dated prices."""

import re
from collections.abc import Iterable
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.forms import ModelForm
from django.http import HttpRequest
from django.utils import timezone
from typing_extensions import override
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.widgets import UnfoldAdminTextareaWidget

from llm_gateway.admin.catalogued import add_catalogue_prices
from llm_gateway.admin.prices import PricePages
from llm_gateway.admin.providers import fits
from llm_gateway.configuration.schema import OwnTimeouts, RateLimits
from llm_gateway.models import Model, Price
from llm_gateway.providers.catalog import CAPABILITIES
from llm_gateway.providers.known_models import model_facts
from tenants.admin.base import Inline, Switchable
from tenants.admin.columns import NOTHING, column, money
from tenants.admin.forms import ChoicesField, RecordField, number, whole
from tenants.types import parse_usd, short_usd

ON = {"on": "success", "off": "danger"}
LINES = ("input", "output", "cache_read", "cache_write", "cache_write_1h", "reasoning")
MORE_LINES = (
    *("audio_input", "audio_output", "image_input", "image_output"),
    *("request", "image", "audio_second", "tool_call"),
)
_TIER = re.compile(r"above\s+(\d+)\s*:\s*(.+)")


class TiersField(forms.CharField):
    """Tiers, one a line: 'above 200000: input=5.00 output=15.00'."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            **{"required": False, "widget": UnfoldAdminTextareaWidget({"rows": 2}), **kwargs}
        )

    @override
    def prepare_value(self, value: Any) -> Any:
        return "\n".join(map(_tier_text, value)) if isinstance(value, list) else value

    @override
    def to_python(self, value: Any) -> list[dict[str, int]]:  # type: ignore[override] # a list, not text
        if isinstance(value, list):
            return value
        return [_parse_tier(line) for line in (value or "").splitlines() if line.strip()]

    @override
    def has_changed(self, initial: Any, data: Any) -> bool:
        try:
            return self.to_python(data) != (initial or [])
        except ValidationError:
            return True


def _tier_text(tier: dict[str, int]) -> str:
    lines = [f"{name}={short_usd(tier[name])}" for name in LINES if tier.get(name) is not None]
    return f"above {tier['above_input_tokens']}: {' '.join(lines)}"


def _parse_tier(text: str) -> dict[str, int]:
    match = _TIER.fullmatch(text.strip())
    if not match:
        raise ValidationError("Write a tier as: above 200000: input=5.00 output=15.00")
    tier = {"above_input_tokens": int(match[1])}
    for word in match[2].split():
        name, _, amount = word.partition("=")
        if name not in LINES:
            raise ValidationError(f"{name} is none of {', '.join(LINES)}.")
        try:
            tier[name] = parse_usd(amount)
        except ValueError as error:
            raise ValidationError(str(error)) from None
    return tier


class PriceForm(ModelForm[Price]):
    """A dated price: dollars per million tokens."""

    tiers = TiersField(help_text="above 200000: input=5.00 output=15.00, one tier a line")


class PriceColumns:
    """A price in dollars, for lists and for rows that are only shown."""

    @column("input / 1M", order="input")
    def in_(self, price: Price) -> str:
        return money(price.input)

    @column("output / 1M", order="output")
    def out(self, price: Price) -> str:
        return money(price.output)

    @column("cache read / 1M", order="cache_read")
    def read(self, price: Price) -> str:
        return money(price.cache_read)

    @column("cache write / 1M", order="cache_write")
    def write(self, price: Price) -> str:
        return money(price.cache_write)

    @column("per request", order="request")
    def each(self, price: Price) -> str:
        return money(price.request)

    @column("tiers")
    def tiered(self, price: Price) -> str:
        return "; ".join(map(_tier_text, price.tiers)) or NOTHING


SHOWN = ("valid_from", "in_", "out", "read", "write", "each", "tiered", "source")


class PriceInline(PriceColumns, Inline):
    """The versions there are: requests were charged by them, so they stay."""

    model = Price
    fields = readonly_fields = SHOWN
    tab = False
    show_change_link = False

    @override
    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @override
    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class NewPriceInline(Inline):
    """A correction is a new version."""

    model = Price
    form = PriceForm
    fields = ("valid_from", *LINES, *MORE_LINES, "tiers")
    verbose_name = verbose_name_plural = "new price"
    tab = False
    show_change_link = False

    @override
    def get_queryset(self, request: HttpRequest) -> QuerySet[Price]:
        return Price.objects.none()


class ModelForm_(ModelForm[Model]):  # noqa: N801 - 'ModelForm' is Django's
    """A deployment with capabilities to tick and limits as plain inputs."""

    capabilities = ChoicesField(
        sorted(CAPABILITIES), help_text="Nothing ticked: from the model catalogue."
    )
    rate_limits = RecordField(
        {name: whole(at_least=1) for name in RateLimits.__struct_fields__},
        label="Rate limits",
        help_text="Of the deployment, over all tenants.",
    )
    timeouts = RecordField(
        {name: number() for name in OwnTimeouts.__struct_fields__},
        check=fits(OwnTimeouts),
        help_text="Seconds, in place of the provider's: a model that thinks for long takes longer.",
    )
    batching = RecordField(
        {"inputs": whole(at_least=1), "wait": number()},
        label="Shared embeddings calls",
        help_text="Small calls of one tenant are sent as one: at so many inputs, or seconds.",
    )


@admin.register(Model)
class ModelAdmin(Switchable):
    """Models at providers, under the names that clients call."""

    ordering = ("name",)
    form = ModelForm_
    list_display = (
        "name",
        "provider",
        "upstream",
        "input_price",
        "output_price",
        "window",
        "state",
        "from_file",
    )
    list_filter = (("provider", AutocompleteSelectFilter), "enabled", "managed_by_file")
    list_select_related = ("provider", "provider__tenant")
    search_fields = ("name", "upstream_name", "provider__name")
    autocomplete_fields = ("provider",)
    inlines: ClassVar[list[Any]] = [PriceInline, NewPriceInline]
    fieldsets: ClassVar[tuple[Any, ...]] = (
        (None, {"fields": ("provider", "name", "upstream_name", "enabled")}),
        (
            "What it can do",
            {
                "fields": (
                    *("context_window", "max_output_tokens", "image_tokens"),
                    *("quality", "capabilities"),
                )
            },
        ),
        ("How much of it", {"fields": ("weight", "rate_limits", "timeouts", "batching")}),
    )

    @override
    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        add_catalogue_prices(request, form.instance)

    @override
    def get_queryset(self, request: HttpRequest) -> QuerySet[Model]:
        rows: QuerySet[Model] = super().get_queryset(request)
        return rows.prefetch_related("prices")

    @column("sent as")
    def upstream(self, model: Model) -> str:
        return model.upstream_name or model.name

    @column("input / 1M", labels={"unpriced": "warning"})
    def input_price(self, model: Model) -> str:
        return _line(current_price(model.prices.all()), "input")

    @column("output / 1M", labels={"unpriced": "warning"})
    def output_price(self, model: Model) -> str:
        return _line(current_price(model.prices.all()), "output")

    @column("context", order="context_window")
    def window(self, model: Model) -> str:
        known = model_facts(model.provider.kind, model.upstream_name or model.name)
        tokens = model.context_window or known.context_window
        return f"{tokens:,}" if tokens else NOTHING

    @column("state", order="enabled", labels=ON)
    def state(self, model: Model) -> str:
        return "on" if model.enabled else "off"


def current_price(prices: Iterable[Price]) -> Price | None:
    """Return the version in force today of prices that are ordered newest first."""
    today = timezone.now().date()
    return next((price for price in prices if price.valid_from <= today), None)


def _line(price: Price | None, name: str) -> str:
    # A version without lines is how prices are taken away.
    if price is None or not any(getattr(price, line) is not None for line in (*LINES, *MORE_LINES)):
        return "unpriced"
    return money(getattr(price, name))


@admin.register(Price)
class PriceAdmin(PriceColumns, PricePages):
    """Every version of every price; a correction is a new version."""

    form = PriceForm
    list_display = ("__str__", "tenant", *SHOWN)
    list_filter = (("model", AutocompleteSelectFilter), ("tenant", AutocompleteSelectFilter))
    list_select_related = ("model", "model__provider", "model__provider__tenant", "tenant")
    search_fields = ("model__name", "model__provider__name", "source")
    autocomplete_fields = ("model", "tenant")
    fields = ("model", "tenant", "model_name", *SHOWN)
    readonly_fields = SHOWN
    add_fieldsets: ClassVar[tuple[Any, ...]] = (
        (
            None,
            {
                "fields": ("model", "valid_from"),
                "description": "A model has a list price. For a tenant's own price leave it empty.",
            },
        ),
        ("A tenant's own price", {"fields": ("tenant", "model_name")}),
        ("Lines", {"fields": (*LINES, *MORE_LINES, "tiers")}),
    )

    @override
    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return SHOWN if obj else ()

    @override
    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @override
    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
