"""`manage.py adjust REQUEST AMOUNT --reason TEXT`: say what an attempt cost in all."""

from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser
from typing_extensions import override

from llm_gateway.price_book.adjustment import UnknownAttemptError, adjust
from tenants.money.foreground import foreground_session
from tenants.money.store import StoreError
from tenants.money.types import LedgerInUseError
from tenants.types import parse_usd, usd


class Command(BaseCommand):
    help = (
        "Make one attempt of a request cost what the provider's bill says, by one more entry: after"
        " a crash it was charged all that was held. With SQLite the server has to be stopped. A"
        " second run changes nothing."
    )

    @override
    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("request", type=UUID, help="its id, as x-request-id said")
        parser.add_argument("amount", help="US dollars in all, such as 0.0042")
        parser.add_argument("--reason", required=True, help="kept with the entry")
        parser.add_argument("--attempt", type=int, default=1, help="its number, 1 unless said")

    @override
    def handle(self, *args: Any, **options: Any) -> None:
        try:
            amount = parse_usd(options["amount"])
        except ValueError as error:
            raise CommandError(str(error)) from None
        try:
            with foreground_session() as session:
                difference = adjust(
                    session,
                    options["request"],
                    options["attempt"],
                    amount,
                    reason=options["reason"],
                    actor="adjust",
                )
        except (LedgerInUseError, StoreError, UnknownAttemptError) as error:
            raise CommandError(str(error)) from None
        self.stdout.write(
            f"Attempt {options['attempt']} of {options['request']}: USD {usd(difference)}."
        )
