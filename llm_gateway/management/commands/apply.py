"""`manage.py apply FILE`: make the database equal to a configuration file."""

import json
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import Error
from typing_extensions import override

from llm_gateway.configuration.apply import apply
from llm_gateway.configuration.changes import Report
from llm_gateway.configuration.document import ConfigurationError
from llm_gateway.configuration.load import load
from llm_gateway.management.reports import DIFFERS, print_report


class Command(BaseCommand):
    help = "Make the database equal to a configuration file."
    requires_system_checks = []

    @override
    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument(
            "--plan",
            action="store_true",
            help="Print the differences, change nothing; exit 0 or 2.",
        )
        parser.add_argument(
            "--prune", action="store_true", help="Remove what an earlier file made, this one not."
        )
        parser.add_argument("--json", action="store_true", help="Print one JSON object.")

    @override
    def handle(self, *, file: Path, plan: bool, prune: bool, json: bool, **options: Any) -> None:
        report = self._apply(file, plan=plan, prune=prune)
        for warning in report.warnings:
            self.stderr.write(f"Warning: {warning}")
        if json:
            self._print_json(report)
        else:
            self._print(report, plan=plan)
        if plan and report.differs:
            sys.exit(DIFFERS)

    def _apply(self, file: Path, *, plan: bool, prune: bool) -> Report:
        try:
            return apply(
                load(file), folder=file.parent, actor=f"apply {file.name}", prune=prune, plan=plan
            )
        except ConfigurationError as error:
            raise CommandError(str(error)) from None
        except Error as error:
            reason = str(error).splitlines()[0]
            raise CommandError(f"Nothing was changed, the database refused: {reason}") from None

    def _print_json(self, report: Report) -> None:
        self.stdout.write(
            json.dumps(
                {
                    "created": report.created,
                    "updated": report.updated,
                    "unchanged": report.unchanged,
                    "removed": report.removed,
                    "keys": report.keys,
                }
            )
        )

    def _print(self, report: Report, *, plan: bool) -> None:
        print_report(self.stdout, report, plan=plan)
        if report.left:
            self.stdout.write(
                "No longer in the file, kept without --prune: " + ", ".join(report.left)
            )
