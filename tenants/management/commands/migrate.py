"""Django's migrate, followed by the database's own functions and triggers."""

from typing import Any

from django.core.management.commands import migrate
from django.db import connections
from typing_extensions import override

from tenants.database import install


class Command(migrate.Command):
    @override
    def handle(self, *args: Any, **options: Any) -> None:
        super().handle(*args, **options)
        if not (options["plan"] or options["check_unapplied"]):
            install(connections[options["database"]])
