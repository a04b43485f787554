"""Manage what tenants do not let through."""

from typing import Any, ClassVar

from django.contrib import admin
from django.forms import ModelForm
from typing_extensions import override
from unfold.contrib.filters.admin import AutocompleteSelectFilter

from llm_gateway.configuration.guardrails import unfit
from llm_gateway.configuration.rows import guardrail_section
from llm_gateway.guardrails.patterns import LONGEST
from llm_gateway.guardrails.pii import ENTITIES
from tenants.admin.base import ConsoleAdmin
from tenants.admin.columns import column
from tenants.admin.forms import ChoicesField, NameListField
from tenants.models import Guardrail


class GuardrailForm(ModelForm[Guardrail]):
    """A guardrail; what its kind needs is checked as in a configuration file."""

    entities = ChoicesField(
        ENTITIES, nothing=[], help_text="Of kind pii: which of them. None ticked: all."
    )
    patterns = NameListField(
        help_text="Of kind pattern: RE2, one a line. A match of up to"
        f" {LONGEST} characters is surely found."
    )
    words = NameListField(help_text="Of kind words: one word or phrase a line, in any case.")

    @override
    def clean(self) -> dict[str, Any]:
        values: dict[str, Any] = super().clean() or {}
        if self.errors:
            return values
        said = Guardrail(**{name: values[name] for name in _SAID if name in values})
        for problem in unfit(guardrail_section(said)):
            self.add_error(problem.path, problem.text)
        return values


_SAID = ("name", "kind", "action", "side", "entities", "patterns", "words")


@admin.register(Guardrail)
class GuardrailAdmin(ConsoleAdmin):
    """What is taken out, refused or noted, in requests and in answers."""

    tenant_path = "tenant_id"
    form = GuardrailForm
    list_display = ("name", "tenant", "kind", "does", "side", "from_file")
    list_filter = (("tenant", AutocompleteSelectFilter), "kind", "action", "managed_by_file")
    list_select_related = ("tenant",)
    search_fields = ("name", "tenant__name")
    autocomplete_fields = ("tenant",)
    fieldsets: ClassVar[tuple[Any, ...]] = (
        (None, {"fields": ("tenant", "name", "kind", "action", "side")}),
        ("What is looked for", {"fields": ("entities", "patterns", "words")}),
    )

    @column("action", order="action", labels={"block": "danger", "redact": "warning"})
    def does(self, guardrail: Guardrail) -> str:
        return guardrail.action
