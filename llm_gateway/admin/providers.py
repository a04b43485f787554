"""Manage providers and their keys; a secret goes in and never comes out."""

from collections.abc import Callable
from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import Count, Exists, OuterRef, QuerySet
from django.forms import ModelForm
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from msgspec import Struct
from typing_extensions import override
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.widgets import (
    UnfoldAdminPasswordWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
)

from llm_gateway import vault
from llm_gateway.admin.discovery import KeyActions, ProviderActions
from llm_gateway.admin.typed_keys import TypedKeys
from llm_gateway.configuration import schema
from llm_gateway.configuration.document import ConfigurationError, read
from llm_gateway.models import Provider, ProviderKey
from llm_gateway.providers.catalog import CATALOG
from tenants.admin.base import Inline, Switchable
from tenants.admin.columns import NOTHING, column
from tenants.admin.forms import RecordField, choice, number, switch, whole, word
from tenants.models import Tenant

ON = {"on": "success", "off": "danger"}
SEALED = {"no secret": "danger"}


def fits(shape: type[Struct]) -> Callable[[dict[str, Any]], object]:
    """Return a check that a record is what a configuration file could say, too."""

    def check(record: dict[str, Any]) -> object:
        try:
            return read(shape, record)
        except ConfigurationError as error:
            raise ValueError(str(error)) from None

    return check


class ProviderForm(ModelForm[Provider]):
    """A provider whose JSON columns are plain inputs."""

    kind = forms.ChoiceField(
        choices=[("", "Select value"), *((row.kind, row.title) for row in CATALOG.values())],
        widget=UnfoldAdminSelectWidget(),
        help_text="Sets protocol, address and what is known of its models.",
    )
    base_url = forms.CharField(
        label="Base URL",
        required=False,
        max_length=500,
        widget=UnfoldAdminTextInputWidget(),
        help_text="Empty: the catalogue's. Another host, scheme or port wipes the keys.",
    )
    timeouts = RecordField(
        {name: number() for name in schema.Timeouts.__struct_fields__},
        check=fits(schema.Timeouts),
        help_text="Seconds. Defaults: connect 2, first token 60, idle 30, total 600.",
    )
    retry = RecordField(
        {
            "strategy": choice("exponential", "linear", "fibonacci", "adaptive"),
            "max_attempts": whole(),
            "initial_delay": number(),
            "max_delay": number(),
            "base": number(),
            "jitter": number(max_value=1),
        },
        check=fits(schema.Retry),
        help_text="All empty: by category of the error.",
    )
    circuit_breaker = RecordField(
        {
            "failure_threshold": whole(),
            "recovery_timeout": number(),
            "max_recovery_timeout": number(),
            "success_threshold": whole(),
            "adaptive": switch(),
        },
        check=fits(schema.CircuitBreaker),
        help_text="Defaults: opens after 5 failures, for 5 s, doubling up to 60 s.",
    )
    health_check = RecordField(
        {"interval": number(), "probe_as": word(), "probe_interval": number()},
        check=fits(schema.HealthCheck),
        help_text="Seconds without a call after which its model list is looked at, which costs"
        " nothing. Default: 60; 0 is never. A tenant named by probe as pays for a word that is"
        " asked of each model after the probe interval (300), out of its hard budget.",
    )

    def clean_options(self) -> dict[str, Any]:
        options: dict[str, Any] = self.cleaned_data["options"]
        row = CATALOG.get(self.cleaned_data.get("kind", ""))
        try:
            read(schema.Options if row and row.options else schema.Mock, options)
        except ConfigurationError as error:
            raise ValidationError(str(error)) from None
        return options

    def clean_health_check(self) -> dict[str, Any]:
        health_check: dict[str, Any] = self.cleaned_data["health_check"]
        payer = health_check.get("probe_as")
        owner = self.cleaned_data.get("tenant") or self.instance.tenant
        payers = Tenant.objects.filter(pk=owner.pk) if owner else Tenant.objects.all()
        if payer and not payers.filter(name=payer).exists():
            raise ValidationError(f"There is no tenant {payer} that may pay for probes of it.")
        return health_check


class SecretForm(ModelForm[ProviderKey]):
    """A key whose secret can be written and not read."""

    secret = forms.CharField(
        required=False,
        strip=True,
        max_length=4096,
        widget=UnfoldAdminPasswordWidget(
            attrs={"autocomplete": "new-password", "placeholder": "empty keeps it"},
            render_value=False,
        ),
        help_text="Kept sealed, sent only to the address it was entered for.",
    )


def keep_secret(key: ProviderKey, form: Any) -> None:
    """Seal what was typed, if anything was."""
    if secret := form.cleaned_data.get("secret"):
        vault.put(key, secret)


class KeyColumns:
    """What may be seen of a secret."""

    @column("kept as", labels=SEALED)
    def sealed_as(self, key: ProviderKey) -> str:
        if not key.fingerprint:
            return "no secret"
        return f"…{key.last_four}" if key.last_four else "kept"

    @column("fingerprint")
    def print_(self, key: ProviderKey) -> str:
        return key.fingerprint or NOTHING


class KeyInline(KeyColumns, Inline):
    model = ProviderKey
    form = SecretForm
    fields = ("name", "secret", "sealed_as", "print_", "weight", "enabled")
    readonly_fields = ("sealed_as", "print_")
    tab = False


@admin.register(Provider)
class ProviderAdmin(ProviderActions, TypedKeys, Switchable):
    """Who answers, at which address, with which keys."""

    ordering = ("name",)
    form = ProviderForm
    list_display = (
        "name",
        "kind_title",
        "address_shown",
        "keys_state",
        "models_count",
        "state",
        "owner",
        "from_file",
    )
    list_filter = ("kind", "enabled", "managed_by_file", ("tenant", AutocompleteSelectFilter))
    list_select_related = ("tenant",)
    search_fields = ("name", "kind", "base_url", "tenant__name")
    autocomplete_fields = ("tenant",)
    inlines: ClassVar[list[Any]] = [KeyInline]
    fieldsets: ClassVar[tuple[Any, ...]] = (
        (None, {"fields": ("name", "kind", "base_url", "allow_private_network", "enabled")}),
        ("Limits", {"fields": ("max_concurrent_requests", "timeouts")}),
        ("Money", {"fields": ("charge_by",)}),
        (
            "When it fails",
            {"fields": ("retry", "circuit_breaker", "health_check", "on_disconnect")},
        ),
        ("Special", {"fields": ("tenant", "options"), "classes": ["collapse"]}),
    )

    @override
    def get_queryset(self, request: HttpRequest) -> QuerySet[Provider]:
        keys = ProviderKey.objects.filter(provider=OuterRef("pk"), sealed__isnull=False)
        rows: QuerySet[Provider] = super().get_queryset(request)
        return rows.annotate(models_known=Count("models"), has_secret=Exists(keys))

    @override
    def save_model(self, request: HttpRequest, obj: Provider, form: Any, change: bool) -> None:
        had = set(obj.keys.exclude(sealed=None).values_list("pk", flat=True)) if change else set()
        super().save_model(request, obj, form, change)
        if had and not obj.keys.exclude(sealed=None).exists():
            messages.warning(
                request, "The address changed, so its secrets were wiped: enter them again."
            )

    @override
    def saved_row(self, obj: Any, form: Any) -> None:
        if isinstance(obj, ProviderKey):
            keep_secret(obj, form)

    @column("kind", order="kind")
    def kind_title(self, provider: Provider) -> str:
        return CATALOG[provider.kind].title if provider.kind in CATALOG else provider.kind

    @column("address")
    def address_shown(self, provider: Provider) -> str:
        return provider.address

    @column("keys", labels={"missing": "danger", "sealed": "success", "not needed": "info"})
    def keys_state(self, provider: Any) -> str:
        if provider.has_secret:
            return "sealed"
        return "not needed" if CATALOG[provider.kind].key_optional else "missing"

    @column("models", order="models_known")
    def models_count(self, provider: Any) -> SafeString:
        return format_html(
            '<a class="text-link" href="../model/?provider__id__exact={}">{}</a>',
            provider.pk,
            provider.models_known,
        )

    @column("state", order="enabled", labels=ON)
    def state(self, provider: Provider) -> str:
        return "on" if provider.enabled else "off"

    @column("serves")
    def owner(self, provider: Provider) -> str:
        return str(provider.tenant) if provider.tenant else "everybody"


@admin.register(ProviderKey)
class ProviderKeyAdmin(KeyColumns, KeyActions, Switchable):
    """Keys of providers: sealed, weighted, tested."""

    form = SecretForm
    list_display = (
        "name",
        "provider",
        "sealed_as",
        "print_",
        "bound_to",
        "weight",
        "state",
        "from_file",
    )
    list_filter = (("provider", AutocompleteSelectFilter), "enabled", "managed_by_file")
    list_select_related = ("provider", "provider__tenant")
    search_fields = ("name", "fingerprint", "last_four", "provider__name")
    autocomplete_fields = ("provider",)
    actions = ("switch_on", "switch_off", "test_keys")
    fields = ("provider", "name", "secret", "sealed_as", "print_", "bound_to", "weight", "enabled")
    readonly_fields = ("sealed_as", "print_", "bound_to")

    @override
    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        # A secret is bound to its provider: another one needs another key.
        return ("provider", *self.readonly_fields) if obj else self.readonly_fields

    @override
    def saved_row(self, obj: Any, form: Any) -> None:
        keep_secret(obj, form)

    @column("bound to")
    def bound_to(self, key: ProviderKey) -> str:
        return key.origin or NOTHING

    @column("state", order="enabled", labels=ON)
    def state(self, key: ProviderKey) -> str:
        return "on" if key.enabled else "off"
