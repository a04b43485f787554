"""`manage.py explain --key NAME FILE`: say what would be done with a request; nothing is sent."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.models import Q
from typing_extensions import override

from llm_gateway.errors import GatewayError, InvalidApiKeyError
from llm_gateway.service.asking import Asker, asked_for
from llm_gateway.service.body import parse_body
from llm_gateway.service.explaining import explain
from llm_gateway.service.runtime import Runtime
from tenants.auth import load_caller_of
from tenants.ids import new_id
from tenants.keys import key_digest
from tenants.models import ApiKey


class Command(BaseCommand):
    help = (
        "Say what the gateway would do with a request: limits, candidates with what each would"
        " cost at most, and why the others are dropped. Circuits are those of a new process."
    )

    @override
    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", help="a chat completions body as JSON; - for standard input")
        parser.add_argument(
            "--key", required=True, help="whose: TENANT/NAME, its id, or the key itself"
        )

    @override
    def handle(self, *args: Any, **options: Any) -> None:
        key = _key(options["key"])
        try:
            name = options["file"]
            raw = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        except OSError as error:
            raise CommandError(f"{options['file']}: {error.strerror}") from None
        try:
            told = asyncio.run(_explained(key, raw))
        except GatewayError as error:
            raise CommandError(error.message) from None
        self.stdout.write(json.dumps(told, indent=2))


def _key(named: str) -> ApiKey:
    tenant, _, name = named.rpartition("/")
    own = Q(tenant__name=tenant, name=name) if tenant else Q(public_id=named)
    found = ApiKey.all_tenants_unsafe.filter(own | Q(digest=key_digest(named)), revoked_at=None)
    key = found.select_related("tenant", "project").first()
    if key is None:
        # What was given may be the key itself.
        raise CommandError(f"There is no key {named if tenant else named[:8] + '…'} in force.")
    return key


async def _explained(key: ApiKey, raw: bytes) -> dict[str, Any]:
    runtime = Runtime()
    await runtime.look()
    try:
        caller = await runtime.reader.read(lambda: load_caller_of(key))
        if caller is None:
            raise InvalidApiKeyError("Its tenant is switched off.")
        asker = Asker(runtime=runtime, caller=caller, endpoint="explain", request_id=new_id())
        return await explain(runtime, asked_for(asker, parse_body(raw)))
    finally:
        await runtime.look_away()
