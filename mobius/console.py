"""Make the console Django's admin, and register what has to hold before a start."""

from django.contrib.admin.apps import AdminConfig
from typing_extensions import override

from mobius.checks import register_checks


class ConsoleConfig(AdminConfig):
    """Django's admin with the console as its site."""

    default_site = "mobius.console_site.ConsoleSite"

    @override
    def ready(self) -> None:
        super().ready()
        register_checks()
