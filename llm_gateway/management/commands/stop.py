"""`manage.py stop KIND NAME`: refuse what it asks and end what runs of it, in every process."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from typing_extensions import override

from llm_gateway.configuration.switches import KINDS, NoSuchError, switch


class Command(BaseCommand):
    help = "Stop a tenant, a key, a model or a run (TENANT/NAME): within two seconds."

    @override
    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("kind", choices=KINDS)
        parser.add_argument("name")

    @override
    def handle(self, *args: Any, **options: Any) -> None:
        kind, name = options["kind"], options["name"]
        try:
            changed = switch(kind, name, on=False, actor="stop")
        except NoSuchError as error:
            raise CommandError(str(error)) from None
        said = "is stopped" if changed else "was so already"
        self.stdout.write(f"{kind} {name} {said}.")
