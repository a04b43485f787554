"""Pages of the prices: what has none, what a newer list would change, and tenants' margins."""

from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.db import transaction
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from typing_extensions import override
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.widgets import UnfoldAdminTextInputWidget

from llm_gateway.configuration.scalars import parse_percent, percent
from llm_gateway.models import TenantMargin
from llm_gateway.price_book import feed
from llm_gateway.price_book.unpriced import Unpriced, unpriced
from tenants.admin.base import ConsoleAdmin, page_action
from tenants.admin.columns import NOTHING, ago, column


class PricePages(ConsoleAdmin):
    """Two buttons above the list of prices; each opens a page."""

    actions_list = ("unpriced_page", "feed_page")

    @page_action("Without a price", icon="money_off")
    def unpriced_page(self, request: HttpRequest) -> HttpResponse:
        add = reverse("admin:llm_gateway_price_add")
        rows = [_unpriced_row(one, add) for one in unpriced(timezone.now().date())]
        headers = ["model", "now", "without a price", "attempts without one", "the last", ""]
        return self._page(request, "Without a price", table={"headers": headers, "rows": rows})

    @page_action("Compare with the price list", icon="difference")
    def feed_page(self, request: HttpRequest) -> HttpResponse:
        proposals = feed.from_catalogue(timezone.now().date())
        if request.method == "POST" and self.has_add_permission(request):
            ticked = set(request.POST.getlist("proposal"))
            with transaction.atomic():
                picked = [one for one in proposals if one.id in ticked]
                count = feed.apply(picked, actor=str(request.user))
            messages.success(request, f"{count} prices added.")
            return self.back_to_list()
        return self._page(request, "Compare with the price list", proposals=proposals)

    def _page(self, request: HttpRequest, title: str, **shown: Any) -> HttpResponse:
        context = {**self.admin_site.each_context(request), "title": title, "opts": self.opts}
        return TemplateResponse(request, "admin/console/prices.html", context | shown)


def _unpriced_row(one: Unpriced, add: str) -> list[Any]:
    return [
        str(one.model),
        "priced" if one.priced_now else "unpriced",
        ", ".join(one.units) or "all of it",
        f"{one.attempts:,}",
        ago(one.last) if one.last else NOTHING,
        format_html('<a class="text-link" href="{}?model={}">Add a price</a>', add, one.model.pk),
    ]


class MarginForm(ModelForm[TenantMargin]):
    """A margin in percent."""

    percent = forms.CharField(
        widget=UnfoldAdminTextInputWidget(), help_text="On top of the list price, such as 12.5."
    )

    def clean_percent(self) -> int:
        try:
            return parse_percent(self.cleaned_data["percent"])
        except ValueError as error:
            raise forms.ValidationError(str(error)) from None

    @override
    def save(self, commit: bool = True) -> TenantMargin:
        self.instance.percent_ppm = self.cleaned_data["percent"]
        return super().save(commit)


@admin.register(TenantMargin)
class MarginAdmin(ConsoleAdmin):
    """What tenants pay over the list price; a correction is a new version."""

    form = MarginForm
    list_display = ("tenant", "valid_from", "share", "source")
    list_filter = (("tenant", AutocompleteSelectFilter),)
    list_select_related = ("tenant",)
    autocomplete_fields = ("tenant",)
    fields = readonly_fields = ("tenant", "valid_from", "share", "source")
    add_fieldsets: ClassVar[tuple[Any, ...]] = (
        (None, {"fields": ("tenant", "valid_from", "percent")}),
    )

    @column("percent", order="percent_ppm")
    def share(self, margin: TenantMargin) -> str:
        return f"{percent(margin.percent_ppm)} %"

    @override
    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        return super().get_fieldsets(request, obj) if obj else self.add_fieldsets

    @override
    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return self.readonly_fields if obj else ()

    @override
    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @override
    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
