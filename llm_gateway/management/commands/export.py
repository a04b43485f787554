"""`manage.py export`: print the configuration as a file, without secrets."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError
from typing_extensions import override

from llm_gateway.configuration.document import ConfigurationError
from llm_gateway.configuration.export import export


class Command(BaseCommand):
    help = "Print the configuration as a file for `apply`, without secrets."
    requires_system_checks = []

    @override
    def handle(self, *args: Any, **options: Any) -> None:
        try:
            self.stdout.write(export(), ending="")
        except ConfigurationError as error:
            raise CommandError(str(error)) from None
