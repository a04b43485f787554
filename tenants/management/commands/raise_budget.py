"""`manage.py raise_budget`: let a budget be overdrawn for a while."""

from datetime import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone
from typing_extensions import override

from tenants.models import Budget
from tenants.raises import raise_budget
from tenants.types import parse_usd, short_usd


class Command(BaseCommand):
    help = "Raise a budget until a time; in force on the next request. An amount of 0 ends a raise."

    @override
    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("budget", metavar="TENANT/BUDGET")
        parser.add_argument("amount", help="US dollars on top of the limit, such as 25.00")
        parser.add_argument(
            "--until", required=True, help="such as 2026-12-01 or 2026-12-01T18:00+01:00; else UTC"
        )
        parser.add_argument("--project", help="whose budget it is, where several have this name")
        parser.add_argument("--key", help="likewise")

    @override
    def handle(self, *args: Any, **options: Any) -> None:
        budget = _budget(options["budget"], options["project"], options["key"])
        try:
            amount, until = parse_usd(options["amount"]), _moment(options["until"])
            raise_budget(budget, amount, until, actor="raise_budget", now=timezone.now())
        except ValueError as error:
            raise CommandError(str(error)) from None
        self.stdout.write(f"{budget} is raised by {short_usd(amount)} USD until {until}.")


def _budget(named: str, project: str | None, key: str | None) -> Budget:
    tenant, _, name = named.partition("/")
    found = Budget.all_tenants_unsafe.filter(tenant__name=tenant, name=name)
    if project:
        found = found.filter(project__name=project)
    if key:
        found = found.filter(api_key__name=key)
    rows = list(found.select_related("tenant", "project", "api_key"))
    if not rows:
        raise CommandError(f"There is no budget {named}.")
    if len(rows) > 1:
        owners = ", ".join(str(row.api_key or row.project or row.tenant) for row in rows)
        raise CommandError(f"{named} is a budget of {owners}: say --project or --key.")
    return rows[0]


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.get_default_timezone())
