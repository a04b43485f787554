"""Admit operators to the whole console, and the people of a tenant to what is theirs.

Which page somebody opens is known from the routed view: rows and fields are judged by
`tenants.rights` in each page, everything else a page can do by its row of `AUTHZ_MATRIX`.
"""

from typing import Any
from urllib.parse import urlencode

from django.contrib import auth
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.urls import path, reverse
from typing_extensions import override
from unfold.sites import UnfoldAdminSite

from llm_gateway.access import seated
from llm_gateway.playground import playground
from tenants.seats import seat_of
from tenants.signin.views import SignInView

# Pages that ask themselves whose rows they show, and those that show none.
_ROWS = ("_changelist", "_add", "_autocomplete", "_history", "_delete", "_change")
_OWN = frozenset(
    {"index", "app_list", "login", "logout", "password_change", "password_change_done"}
)
# Of the pages of no model; what is not here has a row in the table.
OPEN_TO_ALL = _OWN | {"autocomplete", "jsi18n", "search", "playground", "money", "money-advice"}


class ConsoleSite(UnfoldAdminSite):  # type: ignore[misc] # the theme is not typed
    """The console under `/admin/`."""

    index_title = "Overview"
    enable_nav_sidebar = True

    @override
    def get_urls(self) -> list[Any]:
        from llm_gateway.admin.money import advice, follow_advice, money_page  # noqa: PLC0415 - pages are registered with this site

        pages = [
            path("playground/", self.admin_view(playground), name="playground"),
            path("money/", self.admin_view(money_page), name="money"),
            path("money/advice/", self.admin_view(advice), name="money-advice"),
            path(
                "money/advice/follow/",
                self.admin_view(follow_advice),
                name="money-advice-follow",
            ),
        ]
        return [*pages, *super().get_urls()]

    @override
    def has_permission(self, request: HttpRequest) -> bool:
        seat = seat_of(request)
        if seat is None:
            return False
        if not self._opens(request):
            # Signing in again would change nothing.
            raise PermissionDenied
        return True

    def _opens(self, request: HttpRequest) -> bool:
        """Say whether the page that is asked for is one of this person's."""
        match = request.resolver_match
        name = (match.url_name if match else None) or ""
        pages = getattr(match.func, "model_admin", None) if match else None
        if pages is not None and name.endswith(_ROWS):
            return bool(pages.has_module_permission(request))
        return name in OPEN_TO_ALL or self.may_act(request, name)

    def may_act(self, request: HttpRequest, name: str) -> bool:
        """Say whether who asks may do what a page does beside showing and changing rows."""
        seat = seat_of(request)
        if seat is None:
            return False
        return seated("action", "POST", name, seat.role, operator=seat.operator)

    @override
    def login(self, request: HttpRequest, extra_context: Any = None) -> HttpResponseBase:
        """Lead to the one page where everybody signs in; what is sent here all the same is taken.

        Scripts know this address and the names of its fields from Django.
        """
        if request.method == "POST":
            return SignInView.as_view()(request)
        asked = {"next": request.GET["next"]} if "next" in request.GET else {}
        return redirect(f"{reverse('sign-in')}?{urlencode(asked)}" if asked else "sign-in")

    @override
    def logout(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        auth.logout(request)
        return redirect("sign-in")

    @override
    def password_change(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        return redirect("sign-in-mine")
