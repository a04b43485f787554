"""Import providers' exports and show, day by day and model by model, where they drift from us."""

from datetime import UTC, date, datetime
from io import TextIOWrapper
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from typing_extensions import override
from unfold.widgets import UnfoldAdminFileFieldWidget, UnfoldAdminSelectWidget

from llm_gateway.insight.drift import AGREES
from llm_gateway.insight.invoice_files import InvoiceFileError, read_export
from llm_gateway.insight.invoices import Compared, compare, keep, last_days, stating
from llm_gateway.models import InvoiceLine, Provider
from tenants.admin.base import ReadOnlyAdmin, record
from tenants.admin.columns import NOTHING, money

DAYS = 31
MOST_BYTES = 20 * 2**20
HEADERS = (
    *("day (UTC)", "model", "tokens here", "there", "drift"),
    *("cost here", "there", "drift", "likely cause"),
)


class ImportForm(forms.Form):
    """Whose export it is, and the file."""

    provider = forms.ModelChoiceField(
        Provider.objects.filter(tenant=None), widget=UnfoldAdminSelectWidget()
    )
    file = forms.FileField(
        label="CSV export",
        widget=UnfoldAdminFileFieldWidget(),
        help_text="OpenAI: usage by model, or cost by line item. Anthropic: tokens, or cost.",
    )

    def clean_file(self) -> Any:
        file = self.cleaned_data["file"]
        if file.size > MOST_BYTES:
            raise forms.ValidationError("The file is larger than 20 MiB.")
        return file


@admin.register(InvoiceLine)
class InvoiceAdmin(ReadOnlyAdmin):
    """The list is the comparison; to add is to import a file."""

    fields = (
        *("provider", "day", "model", "requests", "input_tokens", "cached_tokens"),
        *("output_tokens", "cost_nano", "keys", "imported_at"),
    )

    @override
    def has_add_permission(self, request: HttpRequest) -> bool:
        return bool(admin.ModelAdmin.has_add_permission(self, request))

    @override
    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        chosen = request.GET.get("provider", "")
        providers = stating()
        shown = [one for one in providers if chosen in {"", one.name}]
        context = self._context(request, "Invoice check") | {
            "tables": [_table(one) for one in shown],
            "providers": [one.name for one in providers],
            "chosen": chosen,
            "add": reverse("admin:llm_gateway_invoiceline_add"),
        }
        return TemplateResponse(request, "admin/console/invoices.html", context)

    @override
    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        form = ImportForm(request.POST or None, request.FILES or None)
        if request.method == "POST" and form.is_valid() and self._keep(request, form):
            listed = reverse("admin:llm_gateway_invoiceline_changelist")
            return HttpResponseRedirect(f"{listed}?provider={form.cleaned_data['provider'].name}")
        context = self._context(request, "Import an export") | {"form": form}
        context["back"] = reverse("admin:llm_gateway_invoiceline_changelist")
        return TemplateResponse(request, "admin/console/invoice_import.html", context)

    def _keep(self, request: HttpRequest, form: ImportForm) -> bool:
        provider, file = form.cleaned_data["provider"], form.cleaned_data["file"]
        try:
            stated = read_export(TextIOWrapper(file, encoding="utf-8-sig", newline=""))
        except UnicodeDecodeError:
            form.add_error("file", "The file is not text in UTF-8.")
            return False
        except InvoiceFileError as error:
            form.add_error("file", str(error))
            return False
        count = keep(provider, stated)
        record(request, "imported an invoice", provider)
        messages.success(request, f"{count} lines of {provider} imported.")
        return True

    def _context(self, request: HttpRequest, title: str) -> dict[str, Any]:
        return {**self.admin_site.each_context(request), "title": title, "opts": self.opts}


def _table(provider: Any) -> dict[str, Any]:  # the annotations of `stating` are no fields
    start, end = last_days(DAYS, min(provider.last, datetime.now(UTC).date()))
    rows = compare(provider, max(start, provider.first), end)
    differ = sum(row.cause != AGREES for row in rows)
    return {
        "title": f"{provider.name}: {differ} of {len(rows)} differ",
        "table": {"headers": list(HEADERS), "rows": [_row(row) for row in rows]},
        "span": _span(max(start, provider.first), end),
    }


def _span(start: date, end: date) -> str:
    return f"{start} to {end}, exclusive; days of UTC"


def _row(row: Compared) -> list[Any]:
    theirs = row.theirs
    return [
        row.day.isoformat(),
        row.model,
        f"{row.ours.tokens:,}",
        NOTHING if theirs.tokens is None else f"{theirs.tokens:,}",
        _percent(row.tokens_drift),
        money(row.ours.cost_nano),
        money(theirs.cost_nano),
        _percent(row.cost_drift),
        _cause(row),
    ]


def _percent(share: float | None) -> str:
    return NOTHING if share is None else f"{share:+.2%}"


def _cause(row: Compared) -> SafeString:
    return format_html('<span title="{}">{}</span>', row.cause.name, row.cause.text)
