"""Compute the roll-ups anew from the request log, a day at a time, beside running recorders.

A recorder adds to log and roll-up in one transaction. Ours takes the roll-up's table first, so it
reads either both or neither of what another wrote. Hours whose log has gone are left alone.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections, transaction
from django.db.models import Count, Min, Q, Sum
from django.db.models.functions import TruncHour

from llm_gateway.insight.rollup import (
    ADDED,
    CACHE_HITS,
    ENDED_BADLY,
    GROUPED,
    TABLE,
    Hour,
    dims_of,
    merged,
)
from llm_gateway.models import RequestLog, UsageHour

_DAY = timedelta(days=1)
_SUMMED = (*ADDED, "cost_nano", "saved_nano")


def rebuild(now: datetime, *, using: str = DEFAULT_DB_ALIAS) -> int:
    """Make the roll-ups what the log says, from its first row on; return how many rows that is."""
    first = RequestLog.objects.using(using).aggregate(first=Min("created_at"))["first"]
    if first is None:
        return 0
    start = first.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    made = 0
    while start <= now:
        end = min(start + _DAY, now + timedelta(hours=1))
        made += _rebuild_span(start, end, using)
        start += _DAY
    return made


def _rebuild_span(start: datetime, end: datetime, using: str) -> int:
    connection = connections[using]
    with transaction.atomic(using=using):
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute(f"LOCK TABLE {TABLE} IN SHARE ROW EXCLUSIVE MODE")
        kept = UsageHour.all_tenants_unsafe.using(using)
        kept.filter(hour__gte=start, hour__lt=end).delete()
        hours = merged(_read(start, end, using))
        kept.bulk_create([UsageHour(**hour) for hour in hours], batch_size=1000)
    return len(hours)


def _read(start: datetime, end: datetime, using: str) -> list[Hour]:
    rows = RequestLog.objects.using(using).order_by().filter(tenant__isnull=False)
    rows = rows.filter(created_at__gte=start, created_at__lt=end)
    groups = rows.annotate(hour=TruncHour("created_at", tzinfo=UTC)).values(
        "tenant_id", "hour", *GROUPED, "tags"
    )
    summed = groups.annotate(
        _requests=Count("pk"),
        _errors=Count("pk", filter=Q(outcome__in=ENDED_BADLY)),
        _cache_hits=Count("pk", filter=Q(cache__in=CACHE_HITS)),
        **{f"_{name}": Sum(name) for name in _SUMMED},
    )
    return [_hour(group) for group in summed.iterator()]


def _hour(group: dict[str, Any]) -> Hour:
    hour = {name.removeprefix("_"): value for name, value in group.items()}
    return {**hour, "dims": dims_of(hour)}
