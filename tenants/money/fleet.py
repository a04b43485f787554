"""Say how many processes are alive: their ledger writers stamp a heartbeat."""

import os
from datetime import timedelta

from django.db import connection
from django.db.models.functions import Now

from tenants.money.models import Writer

LEASE = timedelta(seconds=30)


# How many processes are started together on this machine; `serve` sets it, as others do.
STARTED_TOGETHER = "WEB_CONCURRENCY"


def started_together() -> int:
    """Return at least how many processes there will be, before all of them have a writer."""
    told = os.environ.get(STARTED_TOGETHER, "")
    return max(1, int(told)) if told.isdecimal() else 1


def live_processes() -> set[str]:
    """Return HOST:PID of each process that is alive; on SQLite that is the last one started."""
    live = Writer.objects.filter(stopped_at=None)
    if connection.vendor == "sqlite":
        return {str(writer) for writer in live.order_by("-pk")[:1]}
    return {str(writer) for writer in live.filter(heartbeat_at__gt=Now() - LEASE)}


def count_live_writers() -> int:
    """Return the writers whose lease has not run out, by the database's clock.

    On SQLite there is one process: others whose lease still runs were killed.
    """
    if connection.vendor == "sqlite":
        return 1
    return Writer.objects.filter(stopped_at=None, heartbeat_at__gt=Now() - LEASE).count()
