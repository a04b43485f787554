"""Compute the roll-ups anew from the request log, an hour at a time, beside running recorders.

A recorder adds to log and roll-up in one transaction. Ours takes the roll-up's table first, so it
reads either both or neither of what another wrote. Hours before the log's first row are left alone.
"""

from datetime import UTC, datetime, timedelta

from django.db import DEFAULT_DB_ALIAS, connections, transaction
from django.db.models import Min

from llm_gateway.insight.rollup import READ, TABLE, add, hours_of
from llm_gateway.models import RequestLog, UsageHour

_HOUR = timedelta(hours=1)


def rebuild(now: datetime, *, using: str = DEFAULT_DB_ALIAS) -> int:
    """Make the roll-ups what the log says, from its first row on; return how many rows that is."""
    first = RequestLog.objects.using(using).aggregate(first=Min("created_at"))["first"]
    if first is None:
        return 0
    hour = first.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    made = 0
    while hour <= now:
        made += _rebuild_hour(hour, using)
        hour += _HOUR
    return made


def _rebuild_hour(hour: datetime, using: str) -> int:
    connection = connections[using]
    rows = RequestLog.objects.using(using).order_by().filter(tenant__isnull=False)
    rows = rows.filter(created_at__gte=hour, created_at__lt=hour + _HOUR)
    with transaction.atomic(using=using), connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(f"LOCK TABLE {TABLE} IN SHARE ROW EXCLUSIVE MODE")
        UsageHour.all_tenants_unsafe.using(using).filter(hour=hour).delete()
        # By the recorder's own code: what it writes and what is made anew cannot differ.
        hours = hours_of(rows.values(*READ).iterator())
        add(connection, cursor, hours)
    return len(hours)
