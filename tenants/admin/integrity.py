"""Show that the ledger adds up, as far as the last check knows, and check it now when asked."""

from datetime import timedelta
from typing import Any, ClassVar

from django.contrib import messages
from django.db.models import Count, Sum
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone
from typing_extensions import override

from tenants.admin.base import ReadOnlyAdmin
from tenants.admin.columns import ago, column, money
from tenants.models import Tenant
from tenants.money.checks import DayBooks, LedgerCheck
from tenants.money.fleet import LEASE
from tenants.money.models import Hold, LedgerAlarm, Writer

# Twice what the hourly check may take: then nobody runs the work in the background.
LATE_S = 2 * 3600
DIFFERENCES = ("budget", "period", "subject", "entry", "what")
DAYS = ("day (UTC)", "request log", "ledger, with the request", "ledger, later", "difference")
ALARMS = ("when", "alarm", "tenant", "model", "the first of its day", "what was seen")
ALARM_DAYS, MOST_ALARMS = 31, 100
HOLDS = ("process", "state", "holds", "amount", "")


class IntegrityAdmin(ReadOnlyAdmin):
    """The list is the page. Who registers this hands in the check."""

    list_display = ("when", "verdict")
    fields = ("at", "ok", "entries", "holds", "difference_count", "took_s")
    readonly_fields: ClassVar[tuple[str, ...]] = fields

    def check_now(self) -> LedgerCheck:
        """Check the whole ledger and keep what was found."""
        raise NotImplementedError

    @override
    def get_urls(self) -> list[Any]:
        check = self.admin_site.admin_view(self.check_view)
        return [path("check/", check, name="tenants_ledgercheck_check"), *super().get_urls()]

    @override
    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        last = LedgerCheck.objects.first()
        context = {
            **self.admin_site.each_context(request),
            "title": "Integrity",
            "opts": self.opts,
            "last": last,
            "late": last and (timezone.now() - last.at).total_seconds() > LATE_S,
            "ago": last and ago(last.at),
            "check": reverse("admin:tenants_ledgercheck_check"),
            "differences": _table(DIFFERENCES, map(_difference, last.differences if last else ())),
            "days": _table(DAYS, map(_day, last.books if last else ())),
            "holds": _table(HOLDS, _holds()),
            "alarms": _table(ALARMS, _alarms()),
            "history": LedgerCheck.objects.all()[:24],
        }
        return TemplateResponse(request, "admin/console/integrity.html", context)

    def check_view(self, request: HttpRequest) -> HttpResponse:
        """Check on POST; whoever opens the address is shown the page."""
        if request.method == "POST":
            check = self.check_now()
            if check.ok:
                messages.success(request, f"The ledger adds up: {check.entries:,} entries.")
            else:
                messages.error(request, "The ledger does not add up: see what differs below.")
        return self.back_to_list()

    @column("when", order="at")
    def when(self, check: LedgerCheck) -> str:
        return ago(check.at)

    @column("result", labels={"adds up": "success", "differs": "danger"})
    def verdict(self, check: LedgerCheck) -> str:
        return "adds up" if check.ok else "differs"


def _table(headers: tuple[str, ...], rows: Any) -> dict[str, Any]:
    return {"headers": list(headers), "rows": list(rows)}


def _difference(found: dict[str, str]) -> list[str]:
    return [found.get(name, "") for name in ("budget", "period", "subject", "row", "what")]


def _day(books: DayBooks) -> list[str]:
    amounts = (books.log_nano, books.settled_nano, books.later_nano, books.differs_nano)
    return [books.day.isoformat(), *map(money, amounts)]


def _alarms() -> list[list[Any]]:
    """Return what was wrong with how attempts were charged, newest first."""
    since = timezone.now() - timedelta(days=ALARM_DAYS)
    found = list(
        LedgerAlarm.all_tenants_unsafe.filter(created_at__gt=since).order_by("-id")[:MOST_ALARMS]
    )
    names = Tenant.objects.in_bulk({alarm.tenant_id for alarm in found})
    return [[ago(alarm.created_at), *_alarm(alarm, names)] for alarm in found]


def _alarm(alarm: LedgerAlarm, names: dict[int, Tenant]) -> list[Any]:
    tenant = names.get(alarm.tenant_id) or f"gone (id {alarm.tenant_id})"
    return [alarm.kind, str(tenant), alarm.model, str(alarm.request_id), alarm.said]


def _holds() -> list[list[Any]]:
    """Return what is set aside now, by the process that did: one that lives has it in flight."""
    counted = Hold.all_tenants_unsafe.values_list("writer_id", "state")
    rows = counted.annotate(Count("pk"), Sum("amount_nano")).order_by("writer_id", "state")
    writers = Writer.objects.in_bulk({row[0] for row in rows})
    return [_held(writers.get(row[0]), row) for row in rows]


def _held(writer: Writer | None, row: tuple[Any, ...]) -> list[Any]:
    _, state, count, nano = row
    lives = writer and not writer.stopped_at and writer.heartbeat_at > timezone.now() - LEASE
    what = "in flight" if lives and state == "open" else "becomes an entry when it expires"
    return [str(writer or "gone"), state, count, money(nano), what]
