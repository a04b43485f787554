"""Manage routes with their targets, and the one row of settings."""

from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import QuerySet
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from typing_extensions import override

from llm_gateway.admin.waits import waits
from llm_gateway.models import GatewaySettings, Model, Route, RouteTarget
from tenants.admin.base import ConsoleAdmin, Inline, Switchable
from tenants.admin.columns import column
from tenants.admin.forms import NameListField, RecordField, number, tags, whole

ON = {"on": "success", "off": "danger"}


def conditions() -> RecordField:
    return RecordField(
        {"max_input_tokens": whole(), "tags": tags(), "budget_used_below": number(max_value=1)},
        label="Only when",
        help_text="Conditions that must all hold; empty: always.",
    )


def models_named(what: str) -> NameListField:
    return NameListField(
        label=f"{what} goes to",
        help_text="Models, one name a line; each is one more attempt.",
    )


class RouteForm(ModelForm[Route]):
    """A route with its conditions as plain inputs, and its lists as lines."""

    when = conditions()
    on_context_length = models_named("What is too long for its targets")
    on_content_policy = models_named("What its targets refuse by their rules for content")
    timeouts = waits()

    @override
    def clean(self) -> dict[str, Any]:
        values: dict[str, Any] = super().clean() or {}
        for field in ("on_context_length", "on_content_policy"):
            for name in values.get(field) or ():
                if not Model.objects.filter(name=name).exists():
                    self.add_error(field, f"No model has the name {name}.")
        return values


class TargetForm(ModelForm[RouteTarget]):
    """A line of a route; the model is chosen by its public name."""

    when = conditions()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["model"].widget.attrs["list"] = "model-names"

    @override
    def clean(self) -> dict[str, Any]:
        values: dict[str, Any] = super().clean() or {}
        name = values.get("model")
        if name and not Model.objects.filter(name=name).exists():
            self.add_error("model", "No model has this name.")
        return values


class TargetInline(Inline):
    model = RouteTarget
    form = TargetForm
    fields = ("position", "model", "weight", "when")
    tab = False
    show_change_link = False


@admin.register(Route)
class RouteAdmin(Switchable):
    """Names that clients call, over several models in order."""

    ordering = ("name",)
    form = RouteForm
    list_display = ("name", "strategy", "target_list", "state", "from_file")
    list_filter = ("strategy", "enabled", "managed_by_file")
    search_fields = ("name", "targets__model")
    fields = (
        *("name", "strategy", "enabled", "when"),
        *("on_context_length", "on_content_policy", "affinity", "hedge", "timeouts"),
    )
    inlines: ClassVar[list[Any]] = [TargetInline]
    change_form_outer_after_template = "admin/console/model_names.html"

    @override
    def get_queryset(self, request: HttpRequest) -> QuerySet[Route]:
        rows: QuerySet[Route] = super().get_queryset(request)
        return rows.prefetch_related("targets")

    @override
    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        names = Model.objects.order_by("name").values_list("name", flat=True).distinct()
        return super().render_change_form(  # type: ignore[no-any-return] # the theme is not typed
            request, context | {"model_names": names}, *args, **kwargs
        )

    @column("targets")
    def target_list(self, route: Route) -> str:
        return " → ".join(target.model for target in route.targets.all())

    @column("state", order="enabled", labels=ON)
    def state(self, route: Route) -> str:
        return "on" if route.enabled else "off"


class SettingsForm(ModelForm[GatewaySettings]):
    """The settings with their list as lines."""

    fallback_routes = NameListField(
        label="Fallback routes",
        help_text="One name a line: their targets are appended to every plan.",
    )


@admin.register(GatewaySettings)
class GatewaySettingsAdmin(ConsoleAdmin):
    """The one row of settings: the list leads straight to it."""

    form = SettingsForm
    change_form_before_template = "admin/console/settings_and_files.html"
    fields = (
        "fallback_routes",
        "log_payloads",
        "drain_seconds",
        "pre_stop_seconds",
        "caller_idle_seconds",
        "retention_months",
    )

    @override
    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        row = GatewaySettings.objects.first()
        if row is None:
            return redirect(reverse("admin:llm_gateway_gatewaysettings_add"))
        return redirect(self.page_of(row))

    @override
    def has_add_permission(self, request: HttpRequest) -> bool:
        return super().has_add_permission(request) and not GatewaySettings.objects.exists()

    @override
    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
