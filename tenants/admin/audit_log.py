"""Show who changed what; nothing here can be edited."""

import json
from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from typing_extensions import override
from unfold.contrib.filters.admin import AllValuesCheckboxFilter

from tenants.admin.base import ReadOnlyAdmin
from tenants.admin.columns import NOTHING, ago, column
from tenants.admin.filters import MomentFilter
from tenants.models import AuditEvent

# A search reads every row it is let: so many take a fiftieth of a second, whatever is typed.
SEARCHED = 20_000
ACTIONS = {
    "created": "success",
    "updated": "info",
    "removed": "danger",
    "rotated": "warning",
    "revoked": "danger",
}


@admin.register(AuditEvent)
class AuditEventAdmin(ReadOnlyAdmin):
    """Every change made in the console, by file and by API."""

    tenant_path = "tenant_id"
    list_display = ("when", "actor", "did", "object_type", "object_name", "tenant_name", "changed")
    list_filter = (
        ("created_at", MomentFilter),
        ("action", AllValuesCheckboxFilter),
        ("object_type", AllValuesCheckboxFilter),
    )
    search_fields = ("actor", "object_name", "object_id", "tenant_name")
    fields = ("when", "actor", "action", "tenant_name", "object_type", "object_link", "difference")
    readonly_fields = fields

    def lookup_allowed(self, lookup: str, value: str, request: Any = None) -> bool:
        return lookup == "object_id" or super().lookup_allowed(lookup, value, request)

    @override
    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[AuditEvent], search_term: str
    ) -> tuple[QuerySet[AuditEvent], bool]:
        """Search the newest of what the filters leave, and say so where there are older ones."""
        newest = queryset.order_by("-pk").values_list("pk", flat=True)
        if search_term and (last := newest[SEARCHED:].first()) is not None:
            text = f"Searched the newest {SEARCHED:,} events: for older ones filter by time, too."
            messages.info(request, text, fail_silently=True)
            queryset = queryset.filter(pk__gt=last)
        return super().get_search_results(request, queryset, search_term)

    @column("when", order="id")
    def when(self, event: AuditEvent) -> str:
        return ago(event.created_at)

    @column("action", order="action", labels=ACTIONS)
    def did(self, event: AuditEvent) -> str:
        return event.action

    @column("changed")
    def changed(self, event: AuditEvent) -> str:
        return ", ".join(list(event.changes)[:4])

    @column("object")
    def object_link(self, event: AuditEvent) -> str:
        return f"{event.object_name} (id {event.object_id})"

    @column("changes")
    def difference(self, event: AuditEvent) -> SafeString | str:
        rows = [(name, _text(old), _text(new)) for name, (old, new) in event.changes.items()]
        return format_html(
            '<table class="facts"><tr><th>field</th><th>before</th><th>after</th></tr>{}</table>',
            format_html_join(
                "",
                '<tr><td>{}</td><td class="was">{}</td><td class="is">{}</td></tr>',
                rows,
            ),
        )


def _text(value: Any) -> str:
    if value is None:
        return NOTHING
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
