"""Show every deployment's circuit and its history, and decide about one by hand."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from typing_extensions import override
from unfold.widgets import UnfoldAdminIntegerFieldWidget

from llm_gateway.models import CircuitChange, CircuitOrder, Model
from llm_gateway.service import process
from llm_gateway.service.circuit_orders import LONGEST, OrderError, give_order
from llm_gateway.service.circuit_view import CircuitNow, circuits_now, last_changes
from tenants.admin.base import ReadOnlyAdmin
from tenants.admin.columns import NOTHING, ago

NOW = (
    *("model", "provider", "circuit", "since", "ends", "why", "last error", "errors"),
    *("model list", ""),
)
CHANGES = ("when", "model", "provider", "change", "why", "last error", "found by", "process")
BUTTONS = {
    CircuitOrder.Action.RESET: ("Reset", "comes back at a tenth of its share, in steps"),
    CircuitOrder.Action.FORCE_OPEN: ("Force open", "is not called, whatever happens"),
    CircuitOrder.Action.FORCE_CLOSED: ("Force closed", "is called, however often it fails"),
}


class ForceForm(forms.Form):
    """For how long a state is forced; its end is never left open."""

    minutes = forms.IntegerField(
        min_value=1,
        max_value=int(LONGEST.total_seconds() // 60),
        initial=30,
        widget=UnfoldAdminIntegerFieldWidget(),
        help_text="Then it goes on by itself.",
    )


@admin.register(CircuitChange)
class CircuitAdmin(ReadOnlyAdmin):
    """The list is the page: circuits as this process has them, and the fleet's changes."""

    fields = ("at", "provider", "model", "before", "after", "reason", "error", "source", "process")

    @override
    def get_urls(self) -> list[Any]:
        decide = self.admin_site.admin_view(self.decide_view)
        name = "llm_gateway_circuitchange_decide"
        return [
            path("<int:deployment>/decide/<str:action>/", decide, name=name),
            *super().get_urls(),
        ]

    @override
    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        runtime = process.current()
        context = self._context(request, "Circuits") | {
            "serves": runtime is not None,
            "now": _table(NOW, map(_now, circuits_now(runtime) if runtime else ())),
            "changes": _table(CHANGES, map(_change, last_changes())),
        }
        return TemplateResponse(request, "admin/console/circuits.html", context)

    def decide_view(self, request: HttpRequest, deployment: int, action: str) -> HttpResponse:
        """Ask for how long, and give the order on POST."""
        model = Model.objects.filter(pk=deployment).first()
        if model is None or action not in BUTTONS:
            return self.back_to_list()
        title, says = BUTTONS[CircuitOrder.Action(action)]
        fields = forms.Form if action == CircuitOrder.Action.RESET else ForceForm
        form = fields(request.POST if request.method == "POST" else None)
        if form.is_valid() and self._given(request, model, action, form):
            messages.success(request, f"{title}: {model}. In force in a second.")
            return self.back_to_list()
        context = self._context(request, f"{title}: {model} {says}")
        context |= {"form": form, "button": title, "back": self.back_to_list().url}
        return TemplateResponse(request, "admin/console/ask.html", context)

    def _given(self, request: HttpRequest, model: Model, action: str, form: forms.Form) -> bool:
        now, minutes = timezone.now(), form.cleaned_data.get("minutes")
        until = None if minutes is None else now + timedelta(minutes=minutes)
        try:
            give_order(model, action, str(request.user), now=now, until=until)
        except OrderError as error:
            form.add_error(None, str(error))
            return False
        return True

    def _context(self, request: HttpRequest, title: str) -> dict[str, Any]:
        return {**self.admin_site.each_context(request), "title": title, "opts": self.opts}


def _table(headers: tuple[str, ...], rows: Iterable[list[Any]]) -> dict[str, Any]:
    return {"headers": list(headers), "rows": list(rows)}


def _now(one: CircuitNow) -> list[Any]:
    return [
        one.model,
        one.provider,
        one.state,
        ago(one.since),
        ago(one.until),
        one.reason or NOTHING,
        one.last_error or NOTHING,
        f"{one.error_rate:.0%}",
        f"{one.look.error or 'there'}, {ago(one.look.at)}" if one.look else NOTHING,
        _buttons(one.deployment),
    ]


def _buttons(deployment: int) -> SafeString:
    links = [
        format_html(
            '<a class="text-link whitespace-nowrap mr-3" href="{}">{}</a>',
            reverse("admin:llm_gateway_circuitchange_decide", args=[deployment, action]),
            title,
        )
        for action, (title, _) in BUTTONS.items()
    ]
    return format_html("{}{}{}", *links)


def _change(row: CircuitChange) -> list[Any]:
    return [
        ago(row.at),
        row.model,
        row.provider,
        f"{row.before} → {row.after}",
        row.reason,
        row.error or NOTHING,
        row.source or NOTHING,
        row.process,
    ]
