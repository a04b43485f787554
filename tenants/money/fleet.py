"""Say how many processes are alive: their ledger writers stamp a heartbeat."""

from datetime import timedelta

from django.db.models.functions import Now

from tenants.money.models import Writer

LEASE = timedelta(seconds=30)


def count_live_writers() -> int:
    """Return the writers whose lease has not run out, by the database's clock."""
    return Writer.objects.filter(stopped_at=None, heartbeat_at__gt=Now() - LEASE).count()
