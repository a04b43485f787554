"""Go from nothing to a serving demo in one process: what `make run` runs."""

from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandParser
from typing_extensions import override


class Command(BaseCommand):
    help = "Migrate, load the demo configuration once, serve."
    requires_system_checks = ()  # `migrate` and `serve` check what they need

    @override
    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--port", type=int, default=8000)

    @override
    def handle(self, *_args: Any, **options: Any) -> None:
        call_command("migrate", verbosity=0)
        call_command("setup_demo", port=options["port"])
        call_command("serve", port=options["port"], skip_checks=False)
