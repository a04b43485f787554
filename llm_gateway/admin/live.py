"""Show what runs now in every process, refreshed in place, and stop one of it."""

from typing import Any

from asgiref.sync import async_to_sync
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import path, reverse
from typing_extensions import override

from llm_gateway.models import RunningNow
from llm_gateway.service.looking import Seen, look, stop_request
from tenants.admin.base import ReadOnlyAdmin
from tenants.admin.columns import money
from tenants.seats import seat_of


@admin.register(RunningNow)
class LiveAdmin(ReadOnlyAdmin):
    """The list is the page; the rows themselves are what processes said when they were asked."""

    tenant_path = "tenant_id"
    fields = ("process", "look", "requests", "left_off")

    @override
    def get_urls(self) -> list[Any]:
        wrap = self.admin_site.admin_view
        return [
            path(
                "stop/<uuid:request_id>/", wrap(self.stop_view), name="llm_gateway_runningnow_stop"
            ),
            *super().get_urls(),
        ]

    @override
    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Return the page, or only its list where the page itself asks for that."""
        seat = seat_of(request)
        seen: Seen = async_to_sync(look)()
        if seat is not None and seat.tenant_id is not None:
            seen = seen.of(seat.tenant_id)
        context = {
            **self.admin_site.each_context(request),
            "title": "Live",
            "opts": self.opts,
            "requests": [_shown(process, one) for process, one in seen.requests],
            "silent": seen.silent,
            "left_off": seen.left_off,
        }
        part = "HX-Request" in request.headers
        name = "admin/console/live_list.html" if part else "admin/console/live.html"
        return TemplateResponse(request, name, context)

    def stop_view(self, request: HttpRequest, request_id: Any) -> HttpResponse:
        """Stop on POST; whoever opens the address is shown the page."""
        if request.method == "POST":
            seat = seat_of(request)
            tenant_id = seat.tenant_id if seat else None
            if async_to_sync(stop_request)(request_id, str(request.user), tenant_id):
                messages.success(request, f"The request {request_id} was stopped.")
            else:
                messages.warning(request, f"The request {request_id} does not run any more.")
        return self.back_to_list()


def _shown(process: str, one: Any) -> dict[str, Any]:
    return {
        "one": one,
        "process": process,
        "age": f"{one.age_s:.1f} s",
        "cost": money(one.cost_nano),
        "stop": reverse("admin:llm_gateway_runningnow_stop", args=[one.id]),
    }
