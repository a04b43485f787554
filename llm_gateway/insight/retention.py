"""Let rows of the request log go after whole months; the roll-ups and the ledger stay.

On PostgreSQL whole partitions go. Elsewhere, and in the default partition, rows go in small
transactions, so that nobody who writes waits long.
"""

from datetime import UTC, date, datetime

from django.db import DEFAULT_DB_ALIAS, connections
from msgspec import Struct

from llm_gateway.insight import partitions
from llm_gateway.models import GatewaySettings, RequestLog

AT_ONCE = 1000


class Gone(Struct, frozen=True, kw_only=True):
    """What one run did: `before` is the first month that is still there."""

    before: date
    made: list[str]
    dropped: list[str]
    rows: int


def months_kept(*, using: str = DEFAULT_DB_ALIAS) -> int:
    row = GatewaySettings.objects.using(using).first() or GatewaySettings()
    return row.retention_months


def retain(today: date, months: int, *, using: str = DEFAULT_DB_ALIAS) -> Gone:
    """Keep this month and `months` before it; make the partitions of the months to come."""
    connection = connections[using]
    before = partitions.month_after(today, -months)
    made: list[str] = []
    dropped: list[str] = []
    if partitions.is_partitioned(connection):
        made = partitions.make_ahead(connection, today)
        dropped = partitions.drop_before(connection, before)
    return Gone(before=before, made=made, dropped=dropped, rows=_delete(before, using))


def _delete(before: date, using: str) -> int:
    least = partitions.first_id(datetime(before.year, before.month, 1, tzinfo=UTC))
    old = RequestLog.objects.using(using).filter(pk__lt=least).order_by("pk")
    deleted = 0
    while ids := list(old.values_list("pk", flat=True)[:AT_ONCE]):
        deleted += RequestLog.objects.using(using).filter(pk__in=ids).delete()[0]
    return deleted
