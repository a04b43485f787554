"""`manage.py prices`: models without a price, and what a price list would change."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction
from django.utils import timezone
from typing_extensions import override

from llm_gateway.configuration.document import ConfigurationError
from llm_gateway.price_book import feed
from llm_gateway.price_book.unpriced import Unpriced, unpriced

INSTALLED = "installed"


class Command(BaseCommand):
    help = "List models without a price, or set a price list against the prices in force."

    @override
    def add_arguments(self, parser: CommandParser) -> None:
        what = parser.add_mutually_exclusive_group(required=True)
        what.add_argument("--unpriced", action="store_true", help="models without a price")
        what.add_argument(
            "--feed",
            metavar="FILE",
            help=f"a price list, or '{INSTALLED}' for the genai-prices that is installed",
        )
        parser.add_argument("--apply", action="store_true", help="add what differs as versions")
        parser.add_argument("--plan", action="store_true", help="only print it, as without --apply")
        parser.add_argument("--model", action="append", help="only this one; may be repeated")

    @override
    def handle(self, *args: Any, **options: Any) -> None:
        if options["apply"] and options["plan"]:
            raise CommandError("Give --plan or --apply, not both.")
        if options["unpriced"]:
            found = unpriced(timezone.now().date())
            for one in found:
                self.stdout.write(_line(one))
            self.stdout.write(f"{len(found)} models have no price, or were called without one.")
            return
        self._feed(options["feed"], options["model"], apply=options["apply"])

    def _feed(self, place: str, names: list[str] | None, *, apply: bool) -> None:
        try:
            if place == INSTALLED:
                found = feed.from_catalogue(timezone.now().date())
            else:
                found = feed.from_file(Path(place))
        except ConfigurationError as error:
            raise CommandError(str(error)) from None
        wanted = [one for one in found if names is None or one.model.name in names]
        for one in wanted:
            for each in one.differences:
                self.stdout.write(
                    f"{one.model} from {one.price.valid_from}: {each.line}"
                    f" {each.old or 'none'} -> {each.new or 'none'} ({one.source})"
                )
        if not apply:
            self.stdout.write(f"{len(wanted)} prices differ; nothing was changed.")
            return
        with transaction.atomic():
            count = feed.apply(wanted, actor=f"prices --feed {place}")
        self.stdout.write(f"{count} prices added.")


def _line(one: Unpriced) -> str:
    what = f" for {', '.join(one.units)}" if one.units else ""
    now = f"has a price{what} now" if one.priced_now else f"has no price{what}"
    if not one.attempts:
        return f"{one.model}: {now}"
    return f"{one.model}: {now}; {one.attempts} attempts without one, the last {one.last:%Y-%m-%d}"
