"""`manage.py grant_roles`: one database role that serves, another that alone writes the ledger."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection
from typing_extensions import override

from tenants.roles import APP, WRITER, RoleError, Roles, grant


class Command(BaseCommand):
    help = "On PostgreSQL, make two roles and give each no more than it needs; safe to repeat."

    @override
    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--app", default=APP, help="the role of DATABASE_URL when serving")
        parser.add_argument("--writer", default=WRITER, help="the role of LEDGER_DATABASE_URL")

    @override
    def handle(self, *args: Any, **options: Any) -> None:
        if connection.vendor != "postgresql":
            raise CommandError("Roles are PostgreSQL's; on SQLite triggers alone refuse.")
        roles = Roles(app=options["app"], writer=options["writer"])
        if roles.app == roles.writer:
            raise CommandError("--app and --writer have to be two roles.")
        try:
            made = grant(connection, roles)
        except RoleError as error:
            raise CommandError(str(error)) from None
        self.stdout.write(f"{roles.app} may serve, {roles.writer} alone may write the ledger.")
        for role in made:
            self.stdout.write(
                f"{role} is new and cannot log in yet: ALTER ROLE {role} LOGIN PASSWORD '…'."
            )
