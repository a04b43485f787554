"""`manage.py stop KIND NAME`: refuse what it asks and end what runs of it, in every process."""

from argparse import ArgumentParser
from typing import Any
from uuid import UUID

from asgiref.sync import async_to_sync
from django.core.management.base import BaseCommand, CommandError
from typing_extensions import override

from llm_gateway.configuration.switches import KINDS, NoSuchError, switch
from llm_gateway.service.looking import stop_request

REQUEST = "request"


class Command(BaseCommand):
    help = "Stop a tenant, key, model, run (TENANT/NAME) or request (its id): within two seconds."

    @override
    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("kind", choices=(*KINDS, REQUEST))
        parser.add_argument("name")

    @override
    def handle(self, *args: Any, **options: Any) -> None:
        kind, name = options["kind"], options["name"]
        if kind == REQUEST:
            self._stop_request(name)
            return
        try:
            changed = switch(kind, name, on=False, actor="stop")
        except NoSuchError as error:
            raise CommandError(str(error)) from None
        said = "is stopped" if changed else "was so already"
        self.stdout.write(f"{kind} {name} {said}.")

    def _stop_request(self, request_id: str) -> None:
        try:
            ended = async_to_sync(stop_request)(UUID(request_id), "stop")
        except ValueError:
            raise CommandError(f"{request_id} is no request id.") from None
        if not ended:
            raise CommandError(f"There is no request {request_id} that runs.")
        self.stdout.write(f"request {request_id} is stopped.")
