"""`manage.py recompute --model M --from DAY --to DAY`: charge past requests by corrected prices."""

from datetime import date
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from typing_extensions import override

from llm_gateway.models import Model
from llm_gateway.price_book.recompute import Done, Span, corrections, recompute, totals
from tenants.money.foreground import foreground_session
from tenants.money.store import StoreError
from tenants.money.types import LedgerInUseError
from tenants.types import usd


class Command(BaseCommand):
    help = (
        "Write correction entries for a model's requests whose price was corrected since (a price"
        " version with an earlier day). With SQLite the server has to be stopped. A second run"
        " changes nothing."
    )

    @override
    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--model", required=True, help="the public name")
        parser.add_argument("--from", required=True, type=date.fromisoformat, dest="start")
        parser.add_argument(
            "--to", required=True, type=date.fromisoformat, dest="end", help="this day included"
        )
        parser.add_argument("--plan", action="store_true", help="print, and change nothing")
        parser.add_argument(
            "--margins",
            action="store_true",
            help="tenants' margins too, as they stand there now; else each pays what it paid then",
        )

    @override
    def handle(self, *args: Any, **options: Any) -> None:
        span = Span(options["model"], options["start"], options["end"], options["margins"])
        if not Model.objects.filter(name=span.model).exists():
            raise CommandError(f"No model is named {span.model}.")
        if options["plan"]:
            self._tell("would be corrected", totals(corrections(span)))
            return
        try:
            with foreground_session() as session:
                done = recompute(session, span, actor="recompute")
        except (LedgerInUseError, StoreError) as error:
            raise CommandError(str(error)) from None
        self._tell("corrected", done)

    def _tell(self, verb: str, done: Done) -> None:
        self.stdout.write(
            f"{done.corrected} of {done.attempts} attempts {verb}: USD {usd(done.difference_nano)}"
        )
