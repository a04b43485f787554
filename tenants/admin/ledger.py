"""Show the ledger, read only: what budgets have used, what is held, what was charged."""

from typing import Any

from django.contrib import admin
from django.db.models import Manager, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from typing_extensions import override
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.paginator import InfinitePaginator

from tenants.admin.base import ReadOnlyAdmin
from tenants.admin.columns import NOTHING, ago, column, facts_table, money
from tenants.admin.filters import MomentFilter
from tenants.models import Budget, Tenant
from tenants.money.models import Bucket, Entry, Hold


def field_of(rows: Manager[Any] | QuerySet[Any], reference: str, field: str = "name") -> Subquery:
    """Return a field of a row that may be gone: a join would hide what was spent on it."""
    return Subquery(rows.filter(pk=OuterRef(reference)).values(field)[:1])


class LedgerAdmin(ReadOnlyAdmin):
    """What all rows of the ledger show: whose they are."""

    tenant_path = "tenant_id"
    paginator = InfinitePaginator

    @override
    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows: QuerySet[Any] = (
            super()
            .get_queryset(request)
            .annotate(tenant_label=field_of(Tenant.objects, "tenant_id"))
        )
        return rows

    @column("tenant", order="tenant_id")
    def whose(self, row: Any) -> str:
        return row.tenant_label or f"gone (id {row.tenant_id})"


@admin.register(Bucket)
class BucketAdmin(LedgerAdmin):
    """Budgets in their periods: how full they are."""

    list_display = ("budget", "whose", "subject", "meter", "used", "held", "limit", "began", "ends")
    list_filter = (("starts_at", MomentFilter),)
    search_fields = ("subject",)
    ordering = ("-starts_at", "-id")
    fields = ("budget", "whose", "subject", "meter", "used", "held", "limit", "began", "ends")
    readonly_fields = fields

    @override
    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        budgets = Budget.all_tenants_unsafe
        raised = budgets.filter(raise_until__gt=timezone.now())
        rows: QuerySet[Any] = (
            super()
            .get_queryset(request)
            .annotate(
                budget_label=field_of(budgets, "budget_id"),
                limit_nano=field_of(budgets, "budget_id", "limit_nano"),
                raise_nano=Coalesce(field_of(raised, "budget_id", "raise_nano"), 0),
            )
        )
        return rows

    @column("budget", order="budget_id")
    def budget(self, bucket: Any) -> str:
        return bucket.budget_label or f"gone (id {bucket.budget_id})"

    @column("filled")
    def meter(self, bucket: Any) -> SafeString | str:
        if not bucket.limit_nano:
            return NOTHING
        room = bucket.limit_nano + bucket.raise_nano
        share = (bucket.used_nano + bucket.held_nano) / room
        return format_html(
            '<meter min="0" max="1" low="0.8" high="0.95" optimum="0" value="{}"></meter> {}',
            f"{min(share, 1):.3f}",
            f"{share:.0%}",
        )

    @column("used", order="used_nano")
    def used(self, bucket: Bucket) -> str:
        return money(bucket.used_nano)

    @column("held", order="held_nano")
    def held(self, bucket: Bucket) -> str:
        return money(bucket.held_nano)

    @column("limit")
    def limit(self, bucket: Any) -> str:
        extra = f" + {money(bucket.raise_nano)}" if bucket.raise_nano else ""
        return f"{money(bucket.limit_nano)}{extra}"

    @column("began", order="starts_at")
    def began(self, bucket: Bucket) -> str:
        return ago(bucket.starts_at)

    @column("renews", order="ends_at")
    def ends(self, bucket: Bucket) -> str:
        return ago(bucket.ends_at) if bucket.ends_at else "never"


class SpentAdmin(LedgerAdmin):
    """What a hold and an entry have in common: one attempt of one request."""

    @column("request")
    def request_link(self, row: Any) -> SafeString:
        return format_html(
            '<a class="text-link" href="/admin/llm_gateway/requestlog/{}/change/">{}</a> · {}',
            row.request_id,
            str(row.request_id)[-12:],
            row.attempt_no,
        )

    @column("when", order="created_at")
    def when(self, row: Any) -> str:
        return ago(row.created_at)

    @column("amount", order="amount_nano")
    def amount(self, row: Any) -> str:
        if not row.unpriced:
            return money(row.amount_nano)
        return f"{money(row.amount_nano)}, part of it unpriced" if row.amount_nano else "unpriced"


@admin.register(Hold)
class HoldAdmin(SpentAdmin):
    """Money set aside for attempts that have not ended."""

    list_display = ("when", "whose", "model", "amount", "open_state", "deadline", "request_link")
    list_filter = (("state", ChoicesDropdownFilter),)
    search_fields = ("=request_id", "=model")
    ordering = ("-created_at",)
    fields = (
        "request_link",
        "whose",
        "model",
        "amount",
        "open_state",
        "input_estimate",
        "seen_output",
        "when",
        "deadline",
        "bucket_ids",
        "tags",
    )
    readonly_fields = fields

    @column("state", order="state", labels={"open": "info", "uncertain": "warning"})
    def open_state(self, hold: Hold) -> str:
        return hold.state

    @column("deadline", order="deadline_at")
    def deadline(self, hold: Hold) -> str:
        return ago(hold.deadline_at)


OUTCOMES = {"ok": "success", "failed": "danger", "cancelled": "warning", "uncertain": "warning"}


@admin.register(Entry)
class EntryAdmin(SpentAdmin):
    """What every attempt cost: append-only."""

    list_display = ("when", "whose", "model", "kind", "ended", "amount", "request_link")
    list_filter = (
        ("created_at", MomentFilter),
        ("kind", ChoicesDropdownFilter),
    )
    search_fields = ("=request_id", "=model", "=end_user")
    ordering = ("-id",)
    fields = (
        "request_link",
        "whose",
        "model",
        "kind",
        "ended",
        "estimated",
        "amount",
        "set_aside",
        "sheet",
        "usage",
        "tags",
        "end_user",
        "when",
        "writer_id",
        "writer_seq",
        "prev_hash",
        "hash",
    )
    readonly_fields = fields

    @column("outcome", order="outcome", labels=OUTCOMES)
    def ended(self, entry: Entry) -> str:
        return entry.outcome

    @column("held before")
    def set_aside(self, entry: Entry) -> str:
        return money(entry.hold_nano)

    @column("line items")
    def sheet(self, entry: Entry) -> SafeString | str:
        return facts_table(entry.lines)
