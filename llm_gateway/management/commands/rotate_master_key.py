"""`manage.py rotate_master_key`: wrap every secret anew with the first master key."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from typing_extensions import override

from llm_gateway import vault
from llm_gateway.insight import payloads
from llm_gateway.models import ProviderKey
from llm_gateway.service import conversations
from tenants import audit
from tenants.alerts.models import AlertSink
from tenants.install import rewrap_install_secrets
from tenants.secrets import SecretError


class Command(BaseCommand):
    help = "Encrypt every stored secret anew with the first key of MOBIUS_MASTER_KEY."

    @override
    def handle(self, *args: Any, **options: Any) -> None:
        with transaction.atomic():
            wrapped = self._rewrap_provider_keys()
            sinks = self._rewrap_sinks()
            try:
                installed = rewrap_install_secrets()
                messages = conversations.rewrap_all()
                bodies = payloads.rewrap_all()
            except SecretError as error:
                raise CommandError(f"An install secret: {error}; nothing was changed.") from None
        self.stdout.write(
            f"{wrapped} provider keys and {sinks + installed} secrets of alert sinks and of the"
            f" installation are under the first key now, {messages} messages of conversations and"
            f" {bodies} payloads of requests."
        )

    def _rewrap_provider_keys(self) -> int:
        keys = ProviderKey.objects.select_related("provider").exclude(sealed=None)
        rows = list(keys.select_for_update(of=("self",)))
        for row in rows:
            try:
                vault.rewrap(row)
            except SecretError as error:
                raise CommandError(f"Provider key {row}: {error}; nothing was changed.") from None
            audit.record("rotate_master_key", "rewrapped", row)
        return len(rows)

    def _rewrap_sinks(self) -> int:
        rows = list(AlertSink.objects.exclude(sealed=None).select_for_update(of=("self",)))
        for row in rows:
            try:
                row.rewrap()
            except SecretError as error:
                raise CommandError(f"Alert sink {row}: {error}; nothing was changed.") from None
            audit.record("rotate_master_key", "rewrapped", row)
        return len(rows)
