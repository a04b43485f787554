"""Decide about raises that people of tenants ask for."""

from typing import Any

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from typing_extensions import override
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.enums import ActionVariant

from tenants.admin.base import ReadOnlyAdmin, page_action
from tenants.admin.columns import ago, column, money
from tenants.admin.rules import is_theirs
from tenants.models import RaiseRequest
from tenants.raises import decide
from tenants.signin.places import wanted

STATES = {"open": "warning", "approved": "success", "refused": "danger"}


@admin.register(RaiseRequest)
class RaiseRequestAdmin(ReadOnlyAdmin):
    """What was asked for, and what became of it."""

    tenant_path = "tenant_id"
    list_display = ("when", "asked_by", "budget", "more", "ends", "reason", "stands")
    list_filter = (("state", ChoicesDropdownFilter),)
    list_select_related = ("budget__tenant",)
    fields = ("budget", "asked_by", "more", "ends", "reason", "when", "stands", "decision")
    readonly_fields = fields
    actions_detail = ("approve", "refuse")

    @page_action("Approve", icon="check")
    def approve(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._decide(request, object_id, approved=True)

    @page_action("Refuse", icon="block", variant=ActionVariant.DANGER)
    def refuse(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._decide(request, object_id, approved=False)

    def _decide(self, request: HttpRequest, object_id: str, *, approved: bool) -> HttpResponse:
        asked = self.get_object(request, object_id)
        if asked is None:
            return self.back_to_list()
        if not is_theirs(request, asked.budget):
            messages.error(request, "What binds the whole tenant is the operator's to raise.")
            return self.back_to(asked)
        word = "Approve" if approved else "Refuse"
        if request.method != "POST":
            text = f"{asked.amount} USD until {asked.until:%Y-%m-%d %H:%M} UTC: {asked.reason}"
            return self.confirm(request, asked, title=f"{word}: {asked}", text=text, button=word)
        try:
            decide(asked, approved=approved, actor=str(request.user), now=timezone.now())
        except ValueError as error:
            messages.error(request, str(error))
        else:
            messages.success(request, "Approved: it counts now." if approved else "Refused.")
        back = wanted(request)
        return redirect(back) if back else self.back_to(asked)

    @override
    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> list[Any]:
        asked = self.get_object(request, str(object_id))
        if asked is None or asked.state != RaiseRequest.State.OPEN:
            return []
        return list(super().get_actions_detail(request, object_id))

    @column("asked", order="created_at")
    def when(self, asked: RaiseRequest) -> str:
        return ago(asked.created_at)

    @column("more", order="amount_nano")
    def more(self, asked: RaiseRequest) -> str:
        return money(asked.amount_nano)

    @column("until", order="until")
    def ends(self, asked: RaiseRequest) -> str:
        return ago(asked.until)

    @column("state", order="state", labels=STATES)
    def stands(self, asked: RaiseRequest) -> str:
        return asked.state

    @column("decided")
    def decision(self, asked: RaiseRequest) -> str:
        return f"{ago(asked.decided_at)} by {asked.decided_by}" if asked.decided_at else "not yet"
