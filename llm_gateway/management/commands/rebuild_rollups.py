"""`manage.py rebuild_rollups`: compute the hourly sums of usage anew from the request log."""

from typing import Any

from django.core.management.base import BaseCommand
from django.utils import timezone
from typing_extensions import override

from llm_gateway.insight.rebuild import rebuild


class Command(BaseCommand):
    help = "Compute the hourly sums of usage anew from the request log; servers may run meanwhile."

    @override
    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(f"{rebuild(timezone.now())} hourly rows were made from the log.")
