"""`manage.py demo --history 90`: tenants with a past, so that every page can be looked at."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection
from typing_extensions import override

from llm_gateway.configuration.apply import apply
from llm_gateway.configuration.demo_town import HABITS, demo_town
from llm_gateway.management.history import story
from llm_gateway.management.past import write_story
from tenants.models import Tenant
from tenants.money.fleet import count_live_writers
from tenants.money.models import Entry
from tenants.money.types import LedgerInUseError

LONGEST_DAYS, MOST_A_DAY = 400, 200_000


class Command(BaseCommand):
    help = "Add two tenants that have been asking for weeks, to look around in."

    @override
    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--history", type=int, default=90, metavar="DAYS")
        parser.add_argument("--per-day", type=int, default=400, metavar="REQUESTS")
        parser.add_argument("--seed", type=int, default=7)

    @override
    def handle(self, *, history: int, per_day: int, seed: int, **_options: Any) -> None:
        if not 1 <= history <= LONGEST_DAYS:
            raise CommandError(f"--history: between 1 and {LONGEST_DAYS} days.")
        if not 1 <= per_day <= MOST_A_DAY:
            raise CommandError(f"--per-day: between 1 and {MOST_A_DAY} requests.")
        _check_room()
        end = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
        begin = end - timedelta(days=history)
        report = apply(demo_town(), folder=Path.cwd(), actor="demo")
        zones = [ZoneInfo(Tenant.objects.get(name=habit.tenant).time_zone) for habit in HABITS]
        hours = story(
            HABITS,
            zones,
            begin=begin,
            end=end,
            per_day=per_day,
            rng=Random(seed),  # noqa: S311 - no secret
        )
        try:
            written = write_story(hours, HABITS, begin)
        except LedgerInUseError as error:
            raise CommandError(str(error)) from None
        self.stdout.write(f"{written} requests of {history} days are in the ledger and the log.")
        for name, value in report.keys.items():
            self.stdout.write(f"Key {name} {value}")


def _check_room() -> None:
    """Raise CommandError where a made-up past would stand beside a real one."""
    names = sorted({habit.tenant for habit in HABITS})
    found = Tenant.objects.filter(name__in=names).values_list("name", flat=True)
    if found:
        raise CommandError(f"There is a tenant {found[0]!r} already: this adds its own.")
    if connection.vendor == "postgresql" and count_live_writers():
        raise CommandError("Stop the gateway first: its clock is not the story's.")
    if Entry.all_tenants_unsafe.exclude(model__startswith="mock-").exists():
        raise CommandError("This ledger holds real entries: a story is for an empty one.")
