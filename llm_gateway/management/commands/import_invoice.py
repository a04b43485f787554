"""`manage.py import_invoice FILE --provider NAME`: set its own export against our ledger."""

from datetime import timedelta
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from typing_extensions import override

from llm_gateway.insight.drift import AGREES
from llm_gateway.insight.invoice_files import InvoiceFileError, read_export
from llm_gateway.insight.invoices import Compared, compare, keep
from llm_gateway.models import Provider
from tenants.types import usd


class Command(BaseCommand):
    help = (
        "Import a provider's export of usage or cost (CSV of OpenAI or Anthropic, by day and model)"
        " and show where it differs from the ledger. Exit 0 whether it does or not."
    )

    @override
    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--provider", required=True, help="the provider's name here")

    @override
    def handle(self, *args: Any, **options: Any) -> None:
        provider = Provider.objects.filter(tenant=None, name=options["provider"]).first()
        if provider is None:
            raise CommandError(f"No provider is named {options['provider']}.")
        try:
            with options["file"].open(encoding="utf-8-sig", newline="") as lines:
                stated = read_export(lines)
        except (OSError, UnicodeDecodeError, InvoiceFileError) as error:
            raise CommandError(f"{options['file']}: {error}") from None
        if not stated:
            raise CommandError(f"{options['file']}: nothing was used on any of its days.")
        keep(provider, stated)
        days = [one.day for one in stated]
        rows = compare(provider, min(days), max(days) + timedelta(days=1))
        for row in rows:
            self.stdout.write(_line(row))
        differ = sum(row.cause != AGREES for row in rows)
        self.stdout.write(f"{len(stated)} lines imported; {differ} of {len(rows)} differ.")


def _line(row: Compared) -> str:
    theirs = row.theirs
    tokens = "?" if theirs.tokens is None else str(theirs.tokens)
    cost = "?" if theirs.cost_nano is None else usd(theirs.cost_nano)
    return (
        f"{row.day} {row.model}: tokens {row.ours.tokens} here, {tokens} there"
        f" ({_percent(row.tokens_drift)}); USD {usd(row.ours.cost_nano)} here, {cost} there"
        f" ({_percent(row.cost_drift)}). {row.cause.text}"
    )


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:+.2%}"  # noqa: RUF001 - a dash, meant so
