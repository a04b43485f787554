"""Check that budgets are the sums of their entries and holds, and that no entry was changed."""

from typing import Any

import msgspec
from django.core.management.base import BaseCommand, CommandParser
from django.db import connection
from typing_extensions import override

from tenants.install import install_secret
from tenants.money.from_settings import writing_connection
from tenants.money.verify import rebuild, verify


class Command(BaseCommand):
    help = "Check the ledger: counters, holds and hash chains. Exit 0 if it adds up, else 1."

    @override
    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON object")
        parser.add_argument(
            "--rebuild", action="store_true", help="first set the counters to what the rows say"
        )

    @override
    def handle(self, *args: Any, **options: Any) -> None:
        if options["rebuild"]:
            with writing_connection() as writing:
                rebuild(writing)
        report = verify(connection, install_secret("ledger_key"))
        if options["json"]:
            self.stdout.write(msgspec.json.encode(report).decode())
        else:
            for difference in report.differences:
                self.stdout.write(difference.line)
            verdict = "The ledger adds up" if report.ok else "The ledger does not add up"
            self.stdout.write(
                f"{verdict}: {report.entries} entries, {report.terminal_entries} of them terminal,"
                f" {report.holds} holds."
            )
        if not report.ok:
            raise SystemExit(1)
