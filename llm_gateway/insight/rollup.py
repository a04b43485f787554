"""Sum up rows of the request log by hour; adding the same rows in parts gives the same sums."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any

import msgspec
from django.db.backends.base.base import BaseDatabaseWrapper

from llm_gateway.models import UsageHour

Row = Mapping[str, Any]
Hour = dict[str, Any]
HourKey = tuple[int, Any, str]

TABLE = UsageHour._meta.db_table  # noqa: SLF001 - Django's public model API
GROUPED = (
    *("project_id", "project_name", "api_key_id", "key_name"),
    *("requested_model", "model", "provider"),
)
ADDED = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens")
SUMS = ("requests", "errors", *ADDED, "cost_nano", "cache_hits", "saved_nano")
ENDED_BADLY = frozenset({"failed", "refused"})
CACHE_HITS = frozenset({"hit", "semantic-hit"})

_ADDED = (*ADDED, "cost_nano", "saved_nano")
_grouped = itemgetter(*GROUPED)
_COLUMNS = ("tenant_id", "hour", "dims", *GROUPED, "tags", *SUMS)
_NAMES = ", ".join(_COLUMNS)
_ADD = (
    " ON CONFLICT (tenant_id, hour, dims) DO UPDATE SET "
    + ", ".join(f"{name} = {TABLE}.{name} + excluded.{name}" for name in SUMS)
)  # fmt: skip
_POSTGRESQL = (
    f"INSERT INTO {TABLE} ({_NAMES})"  # noqa: S608 - names of our own model
    f" SELECT {_NAMES} FROM jsonb_populate_recordset(NULL::{TABLE}, %s::jsonb){_ADD}"
)
_SQLITE = (
    f"INSERT INTO {TABLE} ({_NAMES})"  # noqa: S608 - names of our own model
    f" VALUES ({', '.join(['%s'] * len(_COLUMNS))}){_ADD}"
)


def hours_of(rows: Iterable[Row]) -> list[Hour]:
    """Return the sums of request-log rows, in the order in which every process locks them."""
    found: dict[Any, Hour] = {}
    for row in rows:
        if row["tenant_id"] is None:
            continue
        hour = row["created_at"].astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        # Most rows of a batch are of a few kinds: each kind is named and digested once.
        kind = (row["tenant_id"], hour, _grouped(row), tuple(sorted(row["tags"].items())))
        known = found.get(kind)
        if known is None:
            known = found[kind] = _empty(row, hour)
        for name in _ADDED:
            known[name] += row[name]
        known["requests"] += 1
        known["errors"] += row["outcome"] in ENDED_BADLY
        known["cache_hits"] += row["cache"] in CACHE_HITS
    return merged(found.values())


def merged(hours: Iterable[Hour]) -> list[Hour]:
    """Return the hours with those of one key added together, sorted by key."""
    found: dict[HourKey, Hour] = {}
    for hour in hours:
        key = (hour["tenant_id"], hour["hour"], hour["dims"])
        known = found.setdefault(key, hour)
        if known is not hour:
            for name in SUMS:
                known[name] += hour[name]
    return [found[key] for key in sorted(found)]


def dims_of(values: Mapping[str, Any]) -> str:
    """Return the digest of what an hour is grouped by."""
    named = [*(values[name] for name in GROUPED), sorted(values["tags"].items())]
    return hashlib.blake2b(msgspec.json.encode(named), digest_size=16).hexdigest()


def add(connection: BaseDatabaseWrapper, cursor: Any, hours: Sequence[Hour]) -> None:  # noqa: ANN401 - Django's cursors share no type
    """Add the sums to the table, in the transaction that is open."""
    if not hours:
        return
    if connection.vendor == "postgresql":
        cursor.execute(_POSTGRESQL, [msgspec.json.encode(hours).decode()])
        return
    cursor.executemany(_SQLITE, [_for_sqlite(hour) for hour in hours])


def _empty(row: Row, hour: datetime) -> Hour:
    """Return the hour that a row belongs to, with nothing in it."""
    values = {name: row[name] for name in (*GROUPED, "tenant_id", "tags")}
    return {**values, "dims": dims_of(values), "hour": hour, **dict.fromkeys(SUMS, 0)}


def _for_sqlite(hour: Hour) -> tuple[Any, ...]:
    """Return the values as Django's SQLite backend keeps them."""
    kept = hour | {
        "hour": str(hour["hour"].replace(tzinfo=None)),
        "tags": msgspec.json.encode(hour["tags"]).decode(),
    }
    return tuple([kept[name] for name in _COLUMNS])
