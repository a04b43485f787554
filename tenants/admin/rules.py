"""Manage budgets and rate limits of tenants, projects and API keys."""

from typing import Any, ClassVar

from django.contrib import admin
from django.forms import ModelForm
from django.utils import timezone
from unfold.contrib.filters.admin import AutocompleteSelectFilter

from tenants.admin.base import ConsoleAdmin
from tenants.admin.columns import column, money
from tenants.admin.forms import SharesField
from tenants.models import Budget, Owned, RateLimit

OWNERS = ("tenant", "project", "api_key")


class RuleAdmin(ConsoleAdmin):
    """What a budget and a limit have in common: whom they bind."""

    list_select_related = OWNERS
    autocomplete_fields = OWNERS

    @column("binds", labels={"tenant": "primary", "project": "info", "API key": "warning"})
    def binds(self, rule: Owned) -> str:
        return rule.scope.replace("api_key", "API key")

    @column("owner", order="tenant__name")
    def owner(self, rule: Owned) -> str:
        return str(rule.api_key or rule.project or rule.tenant)


class BudgetForm(ModelForm[Budget]):
    """A budget with its soft thresholds as text."""

    thresholds = SharesField(
        label="Soft thresholds", help_text="Shares of the limit that raise an alert: 0.5, 0.8"
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

    @column("limit", order="limit_nano")
    def limit(self, budget: Budget) -> str:
        if budget.limit_nano is None:
            return "counts only"
        raised = budget.raise_until is None or budget.raise_until > timezone.now()
        extra = f" + {money(budget.raise_nano)}" if budget.raise_nano and raised else ""
        return f"{money(budget.limit_nano)}{extra}"

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
