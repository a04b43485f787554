"""Admit nobody to the console but the operators of the whole installation."""

from django.contrib.admin.apps import AdminConfig
from django.http import HttpRequest
from typing_extensions import override
from unfold.sites import UnfoldAdminSite

from mobius.checks import register_checks


class ConsoleSite(UnfoldAdminSite):  # type: ignore[misc] # the theme is not typed
    """The console under `/admin/`."""

    index_title = "Overview"
    enable_nav_sidebar = True

    @override
    def has_permission(self, request: HttpRequest) -> bool:
        user = request.user
        return bool(user.is_active and user.is_staff and user.is_superuser)


class ConsoleConfig(AdminConfig):
    """Django's admin with the console as its site."""

    default_site = "mobius.console.ConsoleSite"

    @override
    def ready(self) -> None:
        super().ready()
        register_checks()
