"""Show what the configuration was, state by state, and roll back to one, planned first."""

from collections.abc import Iterable
from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from typing_extensions import override

from llm_gateway.configuration.document import ConfigurationError
from llm_gateway.configuration.export import export
from llm_gateway.configuration.rollback import StalePlanError, plan_roll_back, roll_back
from llm_gateway.configuration.states import before, difference, keep_state
from llm_gateway.models import ConfigurationState
from tenants.admin.base import ReadOnlyAdmin, page_action
from tenants.admin.columns import ago, column

UNKNOWN, BEGINNING = "not in the audit", "the history begins here"
_DIGITS = 20  # more than any version has
_LINE_CLASSES = {"+": "is", "-": "was", "@": "quiet"}


@admin.register(ConfigurationState)
class ConfigurationStateAdmin(ReadOnlyAdmin):
    """States of the configuration; one is shown by what is different."""

    list_display = ("title", "when", "who")
    search_fields = ("made_by",)
    fields = ("when", "who", "changed", "until_now")
    readonly_fields = fields
    actions_detail = ("roll_back",)

    @override
    def get_queryset(self, request: HttpRequest) -> QuerySet[ConfigurationState]:
        rows: QuerySet[ConfigurationState] = super().get_queryset(request)
        return rows.defer("document")

    @override
    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        keep_state()  # what was changed a moment ago is looked for here first
        return super().changelist_view(request, extra_context)

    @page_action("Plan roll back", icon="undo")
    def roll_back(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show the plan; on POST do what that plan said, or show what it would be now."""
        state = self.get_object(request, object_id)
        if state is None:
            return self.back_to_list()
        try:
            if request.method == "POST":
                return self._rolled_back(request, state)
            return self._planned(request, state)
        except ConfigurationError as error:
            messages.error(request, f"{state} cannot come back: {error}")
            return self.back_to(state)

    def _planned(self, request: HttpRequest, state: ConfigurationState) -> HttpResponse:
        context = self.page_context(request, state, f"Roll back to {state}")
        context["plan"] = plan_roll_back(state)
        return TemplateResponse(request, "admin/console/roll_back.html", context)

    def _rolled_back(self, request: HttpRequest, state: ConfigurationState) -> HttpResponse:
        version = request.POST.get("version", "")
        try:
            planned = int(version) if version.isdecimal() and len(version) < _DIGITS else -1
            report = roll_back(state, actor=str(request.user), version=planned)
        except StalePlanError as error:
            messages.error(request, str(error))
            return self._planned(request, state)
        messages.success(request, f"The configuration is that of {state} again.")
        if not report.keys:
            return self.back_to_list()
        # No redirect, so that nothing has to remember the secrets.
        context = self.page_context(request, state, f"Rolled back to {state}")
        context |= {"keys": report.keys, "back": self.back_to_list().url}
        return TemplateResponse(request, "admin/console/new_keys.html", context)

    @column("state", order="number")
    def title(self, state: ConfigurationState) -> str:
        return str(state.number)

    @column("when", order="at")
    def when(self, state: ConfigurationState) -> str:
        return ago(state.at)

    @column("made by", order="made_by")
    def who(self, state: ConfigurationState) -> str:
        return state.made_by or (UNKNOWN if state.number > 1 else BEGINNING)

    @column("what changed")
    def changed(self, state: ConfigurationState) -> SafeString | str:
        previous = before(state)
        if previous is None:
            return "The first state that is kept."
        return _shown(difference(previous.text, state.text))

    @column("from then to now")
    def until_now(self, state: ConfigurationState) -> SafeString | str:
        try:
            return _shown(difference(state.text, export()))
        except ConfigurationError as error:
            return f"The configuration of now cannot be written as a file: {error}"


def _shown(lines: Iterable[str]) -> SafeString | str:
    """Return a diff as text on a page: every line escaped."""
    marked = [(_LINE_CLASSES.get(line[:1], ""), line) for line in lines]
    if not marked:
        return "Nothing: it is the same."
    rows = format_html_join("\n", '<span class="{}">{}</span>', marked)
    return format_html('<pre class="facts difference" tabindex="0">{}</pre>', rows)
