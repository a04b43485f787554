"""Keep the request log of PostgreSQL in a partition a month, cut by the time that ids begin with.

What lies in no month's partition is in the default one, so an insert never fails for want of one.
"""

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime
from uuid import UUID

from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper

from llm_gateway.models import RequestLog

LOG = RequestLog._meta.db_table  # noqa: SLF001 - Django's public model API
REST = f"{LOG}_rest"
AHEAD = 3

_MONTH = re.compile(rf"{LOG}_(\d{{4}})_(\d{{2}})")
_LOCK = 0x6D6F6269757301  # ours alone: two nodes make one partition once
_ATTACHED = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = %s::regclass"


def first_id(instant: datetime) -> UUID:
    """Return the least UUIDv7 of an instant: every id minted from then on is not below it."""
    return UUID(int=int(instant.timestamp() * 1000) << 80)


def month_after(month: date, months: int = 1) -> date:
    """Return the first of the month that lies `months` on, or back where negative."""
    year, zero_based = divmod(month.year * 12 + month.month - 1 + months, 12)
    return date(year, zero_based + 1, 1)


def is_partitioned(connection: BaseDatabaseWrapper) -> bool:
    return connection.vendor == "postgresql"


def make_ahead(connection: BaseDatabaseWrapper, today: date) -> list[str]:
    """Make the partitions of this month and the next ones that are missing; return their names."""
    months = [month_after(today, ahead) for ahead in range(AHEAD + 1)]
    with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        known = {name for name, _ in _partitions(cursor)}
        missing = [month for month in months if _name(month) not in known]
        if missing:
            # Nothing may arrive in the default partition that one of these is about to claim.
            cursor.execute(f"LOCK TABLE {REST} IN ACCESS EXCLUSIVE MODE")
        for month in missing:
            _make(cursor, month)
    return [_name(month) for month in missing]


def drop_before(connection: BaseDatabaseWrapper, month: date) -> list[str]:
    """Drop the partitions of all months before this one; return their names."""
    with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        old = [name for name, begins in _partitions(cursor) if begins < month]
        for name in old:
            cursor.execute(f"ALTER TABLE {LOG} DETACH PARTITION {name}")
            cursor.execute(f"DROP TABLE {name}")
    return old


def _partitions(cursor: CursorWrapper) -> Iterator[tuple[str, date]]:
    cursor.execute(_ATTACHED, [LOG])
    for (name,) in cursor.fetchall():
        if found := _MONTH.fullmatch(name):
            yield name, date(int(found[1]), int(found[2]), 1)


def _make(cursor: CursorWrapper, month: date) -> None:
    name, bounds = _name(month), (_begin(month), _begin(month_after(month)))
    cursor.execute(f"CREATE TABLE {name} (LIKE {LOG} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)")
    cursor.execute(
        f"WITH moved AS (DELETE FROM {REST} WHERE id >= %s AND id < %s RETURNING *)"  # noqa: S608 - our own names
        f" INSERT INTO {name} SELECT * FROM moved",
        bounds,
    )
    cursor.execute(
        f"ALTER TABLE {LOG} ATTACH PARTITION {name}"
        f" FOR VALUES FROM ('{bounds[0]}') TO ('{bounds[1]}')"
    )


def _begin(month: date) -> UUID:
    return first_id(datetime(month.year, month.month, 1, tzinfo=UTC))


def _name(month: date) -> str:
    return f"{LOG}_{month:%Y_%m}"
