"""Show the request log: a filtered list, and each request as the decision it was."""

from collections.abc import Iterable
from typing import Any, ClassVar
from uuid import UUID

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from typing_extensions import override
from unfold.contrib.filters.admin import DropdownFilter, FieldTextFilter
from unfold.paginator import InfinitePaginator

from llm_gateway.admin.contents import contents
from llm_gateway.admin.offered import model_names, seen_by
from llm_gateway.models import Provider, RequestLog
from tenants.admin.base import ReadOnlyAdmin
from tenants.admin.columns import ago, column, duration, fact, facts_table, money
from tenants.admin.filters import MomentFilter
from tenants.models import Tenant
from tenants.seats import Seat, seat_of

OUTCOMES = {"ok": "success", "failed": "danger", "refused": "warning", "cancelled": "info"}


class _Choice(DropdownFilter):  # type: ignore[misc] # the theme is not typed
    """A column of names, offered from the configuration: the log itself is never scanned for it."""

    def lookups(self, request: HttpRequest, _model_admin: Any) -> list[tuple[str, str]]:
        seat = seat_of(request)
        return [(name, name) for name in self.names(seat)] if seat else []

    def names(self, seat: Seat) -> Iterable[str]:
        """Return what this person may choose from."""
        raise NotImplementedError

    def queryset(self, _request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        return queryset.filter(**{self.parameter_name: value}) if value else queryset


class TenantFilter(_Choice):
    title, parameter_name = "tenant", "tenant_name"

    @override
    def names(self, seat: Seat) -> Iterable[str]:
        return Tenant.objects.values_list("name", flat=True) if seat.operator else []


class ModelFilter(_Choice):
    title, parameter_name = "model", "model"

    @override
    def names(self, seat: Seat) -> Iterable[str]:
        return model_names(seat)


class ProviderFilter(_Choice):
    title, parameter_name = "provider", "provider"

    @override
    def names(self, seat: Seat) -> Iterable[str]:
        return seen_by(seat, Provider.objects, "tenant").values_list("name", flat=True).distinct()


class OutcomeFilter(_Choice):
    title, parameter_name = "outcome", "outcome"

    @override
    def names(self, _seat: Seat) -> Iterable[str]:
        return OUTCOMES


@admin.register(RequestLog)
class RequestLogAdmin(ReadOnlyAdmin):
    """Every client request as it ended."""

    tenant_path = "tenant_id"
    list_display = (
        "when",
        "tenant_name",
        "key_name",
        "answered",
        "ended",
        "status",
        "tokens",
        "cost",
        "took",
        "first",
        "tries",
    )
    list_display_links = ("when",)
    ordering = ("-created_at",)
    list_filter = (
        ("created_at", MomentFilter),
        TenantFilter,
        ModelFilter,
        ProviderFilter,
        OutcomeFilter,
        ("code", FieldTextFilter),
    )
    list_filter_submit = True
    search_fields = ("id",)
    search_help_text = "A whole request id, end user, key, model or error code"
    paginator = InfinitePaginator
    fieldsets: ClassVar[tuple[Any, ...]] = (
        ("What happened", {"fields": ("summary",)}),
        ("What was said", {"fields": ("said",)}),
        ("Attempts", {"fields": ("attempts",)}),
        ("Limits checked", {"fields": ("limits", "guardrails")}),
        ("Plan", {"fields": ("candidates", "dropped", "steps")}),
        ("Cost", {"fields": ("line_items", "usage")}),
        ("Ids", {"fields": ("ids",)}),
        ("Decision record as kept", {"fields": ("decision",), "classes": ["collapse"]}),
    )

    @override
    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Match whole words: a pattern over a log of millions would be a weapon."""
        term = search_term.strip()
        if not term:
            return queryset, False
        try:
            return queryset.filter(pk=UUID(term)), False
        except ValueError:
            columns = ("end_user", "key_name", "requested_model", "model", "code", "tenant_name")
            wanted = Q()
            for name in columns:
                wanted |= Q((name, term))
            return queryset.filter(wanted), False

    @override
    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        log = kwargs["obj"]
        log.shown = contents(seat_of(request), log)  # for `said`, which knows of nobody who asks
        page: HttpResponse = super().render_change_form(request, context, *args, **kwargs)
        return page

    # --- list -------------------------------------------------------------------------------

    @column("when", order="created_at")
    def when(self, log: RequestLog) -> str:
        return ago(log.created_at)

    @column("model", order="model")
    def answered(self, log: RequestLog) -> SafeString | str:
        if not log.model:
            return log.requested_model
        if log.model == log.requested_model:
            return format_html("{} <small>{}</small>", log.model, log.provider)
        return format_html(
            "{} → {} <small>{}</small>", log.requested_model, log.model, log.provider
        )

    @column("outcome", order="outcome", labels=OUTCOMES)
    def ended(self, log: RequestLog) -> str:
        return log.outcome

    @column("tokens", order="output_tokens")
    def tokens(self, log: RequestLog) -> str:
        return f"{log.input_tokens:,} / {log.output_tokens:,}"

    @column("cost", order="cost_nano")
    def cost(self, log: RequestLog) -> str:
        return money(log.cost_nano)

    @column("time", order="duration_ms")
    def took(self, log: RequestLog) -> str:
        return duration(log.duration_ms)

    @column("first token", order="first_token_ms")
    def first(self, log: RequestLog) -> str:
        return duration(log.first_token_ms)

    @column("attempts", order="attempt_count")
    def tries(self, log: RequestLog) -> int:
        return log.attempt_count

    # --- detail -----------------------------------------------------------------------------

    @column("summary")
    def summary(self, log: RequestLog) -> SafeString:
        return _facts(
            {
                "outcome": f"{log.outcome}, status {log.status}",
                "error": " ".join(part for part in (log.code, log.error) if part),
                "asked for": log.requested_model,
                "answered by": f"{log.model} at {log.provider}" if log.model else "nobody",
                "endpoint": f"{log.endpoint}{', streamed' if log.stream else ''}",
                "time": f"{duration(log.duration_ms)}, first token {duration(log.first_token_ms)}",
                "cost": money(log.cost_nano),
                "cache": log.cache,
                "finish reason": log.finish_reason,
                "at": f"{log.created_at:%Y-%m-%d %H:%M:%S.%f} UTC",
            }
        )

    @column("request and answer")
    def said(self, log: Any) -> SafeString | str:
        shown: SafeString | str = log.shown
        return shown

    @column("one line each")
    def attempts(self, log: RequestLog) -> SafeString | str:
        return _records(log, "attempts")

    @column("with their numbers")
    def limits(self, log: RequestLog) -> SafeString | str:
        return _records(log, "limits")

    @column("what they found")
    def guardrails(self, log: RequestLog) -> SafeString | str:
        return _records(log, "guardrails")

    @column("targets in order")
    def candidates(self, log: RequestLog) -> SafeString | str:
        return _records(log, "candidates")

    @column("dropped, and why")
    def dropped(self, log: RequestLog) -> SafeString | str:
        return _records(log, "dropped")

    @column("step by step")
    def steps(self, log: RequestLog) -> SafeString | str:
        return _records(log, "steps")

    @column("line items")
    def line_items(self, log: RequestLog) -> SafeString | str:
        return facts_table(log.lines)

    @column("usage")
    def usage(self, log: RequestLog) -> SafeString:
        return _facts(
            {
                "input tokens": log.input_tokens,
                "of them cached": log.cached_tokens,
                "output tokens": log.output_tokens,
                "of them reasoning": log.reasoning_tokens,
                "counted by": "us, the provider did not say" if log.estimated else "the provider",
            }
        )

    @column("who and where")
    def ids(self, log: RequestLog) -> SafeString:
        return _facts(
            {
                "request": str(log.pk),
                "tenant": log.tenant_name,
                "project": log.project_name,
                "API key": log.key_name,
                "end user": log.end_user,
                "tags": log.tags,
            }
        )


def _records(log: RequestLog, part: str) -> SafeString | str:
    found = log.decision.get(part) or []
    rows = [row if isinstance(row, dict) else {part.rstrip("s"): row} for row in found]
    return facts_table(rows)


def _facts(values: dict[str, Any]) -> SafeString:
    shown = ((name, fact(name, value)) for name, value in values.items() if value not in ("", {}))
    return format_html(
        '<table class="facts"><tbody>{}</tbody></table>',
        format_html_join("", "<tr><th>{}</th><td>{}</td></tr>", shown),
    )
