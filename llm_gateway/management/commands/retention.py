"""`manage.py retention`: let old rows of the request log go, and make room for those to come."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.utils import timezone
from typing_extensions import override

from llm_gateway.insight.retention import forget_payloads, months_kept, retain


class Command(BaseCommand):
    help = (
        "Delete request-log rows past their age; on PostgreSQL also make next months' partitions."
    )

    @override
    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--months", type=int, help="keep so many whole months; default: the setting, 13"
        )

    @override
    def handle(self, *args: Any, **options: Any) -> None:
        months = months_kept() if options["months"] is None else max(1, options["months"])
        now = timezone.now()
        gone, payloads = retain(now.date(), months), forget_payloads(now, months)
        self.stdout.write(
            f"The log is kept from {gone.before} on: {gone.rows} rows deleted, partitions dropped:"
            f" {', '.join(gone.dropped) or 'none'}; made: {', '.join(gone.made) or 'none'}."
            f" Payloads deleted: {payloads}."
        )
