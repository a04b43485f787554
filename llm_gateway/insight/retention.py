"""Let rows of the request log go after whole months; the roll-ups and the ledger stay.

On PostgreSQL whole partitions go once no tenant keeps their month. What a tenant keeps for a
shorter time, and everything elsewhere and in the default partition, goes in small transactions, so
that nobody who writes waits long. Payloads are kept for days, as their tenant says, and never
longer than their rows.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import TypeVar
from uuid import UUID

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.models import QuerySet
from msgspec import Struct

from llm_gateway.insight import partitions
from llm_gateway.models import GatewaySettings, RequestLog, RequestPayload
from tenants.models import Tenant

AT_ONCE = 1000

Kept = TypeVar("Kept", RequestLog, RequestPayload)


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
    """Keep this month and `months` before it, or as many as a tenant says of its own.

    On PostgreSQL the partitions of the months to come are made.
    """
    connection = connections[using]
    own = _kept_by_tenants(using)
    before = partitions.month_after(today, -max([months, *own.values()]))
    made: list[str] = []
    dropped: list[str] = []
    if partitions.is_partitioned(connection):
        made = partitions.make_ahead(connection, today)
        dropped = partitions.drop_before(connection, before)
    return Gone(before=before, made=made, dropped=dropped, rows=_delete(today, months, own, using))


def forget_payloads(now: datetime, months: int, *, using: str = DEFAULT_DB_ALIAS) -> int:
    """Delete payloads past their tenant's days, and those of tenants that are gone; count them."""
    return sum(_delete_all(old, using) for old in _old_payloads(now, months, using))


def _old_payloads(now: datetime, months: int, using: str) -> Iterator[QuerySet[RequestPayload]]:
    rows = RequestPayload.all_tenants_unsafe.using(using)
    tenants = Tenant.objects.using(using)
    yield rows.exclude(tenant_id__in=tenants.values("pk"))
    for tenant in tenants.only("payload_days", "retention_months"):
        first = _begin(now.date(), tenant.retention_months or months)
        first = max(first, now - timedelta(days=tenant.payload_days))
        yield rows.filter(tenant_id=tenant.pk, pk__lt=partitions.first_id(first))


def _kept_by_tenants(using: str) -> dict[int, int]:
    """Return the months of those that keep their rows for a time of their own."""
    rows = Tenant.objects.using(using).exclude(retention_months=None)
    return {row.pk: row.retention_months for row in rows if row.retention_months is not None}


def _delete(today: date, months: int, own: dict[int, int], using: str) -> int:
    rows = RequestLog.objects.using(using)
    others = _older(rows.exclude(tenant_id__in=own), today, months)
    of_own = (_older(rows.filter(tenant_id=tenant), today, n) for tenant, n in own.items())
    return sum(_delete_all(old, using) for old in (others, *of_own))


def _older(rows: QuerySet[RequestLog], today: date, months: int) -> QuerySet[RequestLog]:
    return rows.filter(pk__lt=partitions.first_id(_begin(today, months)))


def _begin(today: date, months: int) -> datetime:
    month = partitions.month_after(today, -months)
    return datetime(month.year, month.month, 1, tzinfo=UTC)


def _delete_all(rows: QuerySet[Kept], using: str) -> int:
    deleted, last = 0, UUID(int=0)
    # Each batch goes on behind the last one: rows that stay in between are looked at once.
    while ids := list(
        rows.filter(pk__gt=last).order_by("pk").values_list("pk", flat=True)[:AT_ONCE]
    ):
        deleted += rows.model._base_manager.using(using).filter(pk__in=ids).delete()[0]  # noqa: SLF001 - Django's public model API
        last = ids[-1]
    return deleted
