"""`manage.py check_isolation`: ask a running installation for what another tenant has."""

from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

import msgspec
from django.core.management.base import BaseCommand, CommandError
from typing_extensions import override

from llm_gateway.management.isolation.check import Asked, CannotAskError, check


class Command(BaseCommand):
    help = (
        "Make two tenants, ask the running gateway by every route for what one of them has as"
        " everybody of the other, and remove both. Ends with 1 where anything is given away."
    )

    @override
    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--url", default="http://127.0.0.1:8000", help="Where it serves.")
        parser.add_argument("--as", dest="actors", action="append", help="Ask as these alone.")
        parser.add_argument("--json", action="store_true", help="Print all that came of it.")

    @override
    def handle(self, *args: Any, **options: Any) -> None:
        told = list[Asked]()
        try:
            for asked in _asked(options["url"].rstrip("/"), options["actors"]):
                told.append(asked)
                if not options["json"]:
                    self.stdout.write(_line(asked))
        except CannotAskError as error:
            raise CommandError(str(error)) from None
        faults = [fault for asked in told for fault in asked.faults]
        if options["json"]:
            self.stdout.write(msgspec.json.encode(told).decode())
        else:
            self.stdout.write("\n".join(faults) or "Nothing of one tenant was given to the other.")
        if faults:
            raise CommandError(f"{len(faults)} times something was given away.")


def _asked(url: str, actors: Sequence[str] | None) -> Iterator[Asked]:
    # Closed here, whatever happens, so that what was made is removed.
    with closing(check(url, actors)) as all_asked:
        yield from all_asked


def _line(asked: Asked) -> str:
    came = f"{len(asked.faults)} faults" if asked.faults else "ok"
    return f"{asked.actor:22} {asked.questions:5} questions, {asked.routes:3} routes: {came}"
