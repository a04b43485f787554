"""Manage budgets and rate limits of tenants, projects and API keys."""

from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from typing_extensions import override
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.widgets import UnfoldAdminTextInputWidget

from tenants.admin.base import ConsoleAdmin, page_action
from tenants.admin.columns import column, money
from tenants.admin.forms import SharesField
from tenants.fields import UsdFormField
from tenants.models import Budget, Owned, Owner, RateLimit
from tenants.raises import raise_budget, raise_in_force
from tenants.seats import seat_of

OWNERS = ("tenant", "project", "api_key")


def limit_text(budget: Budget) -> str:
    """Return the limit and the raise that holds now: '$10.00 + $5.00 until 2026-12-01 18:00'."""
    raised = raise_in_force(budget, timezone.now())
    if not raised or budget.raise_until is None:
        return money(budget.limit_nano)
    until = f"{budget.raise_until:%Y-%m-%d %H:%M}"
    return f"{money(budget.limit_nano)} + {money(raised)} until {until}"


class RuleAdmin(ConsoleAdmin):
    """What a budget and a limit have in common: whom they bind."""

    tenant_path = "tenant_id"
    list_select_related = OWNERS
    autocomplete_fields = OWNERS

    @override
    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_change_permission(request, obj) and is_theirs(request, obj)

    @override
    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_delete_permission(request, obj) and is_theirs(request, obj)

    @override
    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> Any:
        form = super().get_form(request, obj, change=change, **kwargs)
        seat = seat_of(request)
        return form if seat is None or seat.operator else _for_a_part(form)

    @column("binds", labels={"tenant": "primary", "project": "info", "API key": "warning"})
    def binds(self, rule: Owned) -> str:
        return rule.scope.replace("api_key", "API key")

    @column("owner", order="tenant__name")
    def owner(self, rule: Owned) -> str:
        return str(rule.api_key or rule.project or rule.tenant)


def is_theirs(request: HttpRequest, rule: Owned | None) -> bool:
    """Say whether a rule is a tenant's own to change: what binds all of it is the operator's."""
    seat = seat_of(request)
    return seat is not None and (seat.operator or rule is None or rule.scope != Owner.TENANT)


def _for_a_part(form: Any) -> Any:
    """Return a form that takes rules of a project or of a key alone."""

    class OfPart(form):  # type: ignore[misc] # made at run time
        @override
        def clean(self) -> dict[str, Any]:
            values: dict[str, Any] = super().clean() or {}
            if not values.get("project") and not values.get("api_key"):
                self.add_error(
                    "project", "Choose a project or an API key: what binds all is the operator's."
                )
            return values

    return OfPart


class BudgetForm(ModelForm[Budget]):
    """A budget with its soft thresholds as text."""

    thresholds = SharesField(
        label="Soft thresholds", help_text="Shares of the limit that raise an alert: 0.5, 0.8"
    )


class RaiseForm(forms.Form):
    """How much more, and until when."""

    amount = UsdFormField(
        label="US dollars on top of the limit",
        widget=UnfoldAdminTextInputWidget({"placeholder": "25.00", "inputmode": "decimal"}),
        help_text="0 ends a raise that is in force.",
    )
    until = forms.DateTimeField(
        label="Until (UTC)", widget=UnfoldAdminTextInputWidget({"type": "datetime-local"})
    )


@admin.register(Budget)
class BudgetAdmin(RuleAdmin):
    """Rules on spend. The ledger page shows what each has used."""

    form = BudgetForm
    list_display = ("name", "binds", "owner", "limit", "period", "kind", "scope_text", "from_file")
    list_filter = (("tenant", AutocompleteSelectFilter), "period", "hard", "managed_by_file")
    search_fields = ("name", "tenant__name", "project__name", "api_key__name", "model_filter")
    fieldsets: ClassVar[tuple[Any, ...]] = (
        (None, {"fields": ("name", "limit_nano", "period", "hard", "mode", "thresholds")}),
        ("Whom it binds", {"fields": OWNERS}),
        ("What it counts", {"fields": ("model_filter", "per")}),
        ("Temporary raise", {"fields": ("raise_nano", "raise_until")}),
    )
    actions_detail = ("raise_limit",)

    @page_action("Raise", icon="trending_up")
    def raise_limit(self, request: HttpRequest, object_id: str) -> HttpResponse:
        budget = self.get_object(request, object_id)
        if budget is None or not self.has_change_permission(request, budget):
            return self.back_to_list()
        form = RaiseForm(request.POST if request.method == "POST" else None)
        if form.is_valid() and self._raised(request, budget, form):
            messages.success(request, f"{budget} is raised; the next request counts with it.")
            return self.back_to(budget)
        context = self.page_context(request, budget, f"Raise {budget} for a while")
        context |= {"form": form, "button": "Raise"}
        return TemplateResponse(request, "admin/console/ask.html", context)

    def _raised(self, request: HttpRequest, budget: Budget, form: RaiseForm) -> bool:
        amount, until = form.cleaned_data["amount"], form.cleaned_data["until"]
        try:
            raise_budget(budget, amount, until, actor=str(request.user), now=timezone.now())
        except ValueError as error:
            form.add_error(None, str(error))
            return False
        return True

    @column("limit", order="limit_nano")
    def limit(self, budget: Budget) -> str:
        if budget.limit_nano is None:
            return "counts only"
        return limit_text(budget)

    @column("kind", order="hard", labels={"hard": "danger", "soft": "info"})
    def kind(self, budget: Budget) -> str:
        return "hard" if budget.hard else "soft"

    @column("only")
    def scope_text(self, budget: Budget) -> str:
        each = f"each {budget.per}" if budget.per else ""
        return " · ".join(part for part in (budget.model_filter, each) if part)


@admin.register(RateLimit)
class RateLimitAdmin(RuleAdmin):
    """Requests and tokens a minute and requests at a time."""

    list_display = (
        "owner",
        "binds",
        "requests_per_minute",
        "tokens_per_minute",
        "concurrency",
        "from_file",
    )
    list_filter = (("tenant", AutocompleteSelectFilter), "managed_by_file")
    search_fields = ("tenant__name", "project__name", "api_key__name")
    fieldsets: ClassVar[tuple[Any, ...]] = (
        (None, {"fields": ("requests_per_minute", "tokens_per_minute", "concurrency")}),
        ("Whom it binds", {"fields": OWNERS}),
    )
