"""Hand the pages of alerts and integrity what the gateway alone can do: post, and know its log."""

from django.contrib import admin
from typing_extensions import override

from llm_gateway.service.periodic import verify_ledger
from llm_gateway.service.webhooks import post_webhook
from tenants.admin.alerts import AlertSinkAdmin
from tenants.admin.integrity import IntegrityAdmin
from tenants.alerts.models import AlertSink
from tenants.alerts.sending import Letter
from tenants.money.checks import LedgerCheck


@admin.register(AlertSink)
class PostingSinkAdmin(AlertSinkAdmin):
    """Sinks that can be tried from their page."""

    @override
    def post(self, letter: Letter) -> int:
        return post_webhook(letter)


@admin.register(LedgerCheck)
class CheckingAdmin(IntegrityAdmin):
    """Integrity, over both books."""

    @override
    def check_now(self) -> LedgerCheck:
        return verify_ledger()
