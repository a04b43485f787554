"""Sum up rows of the request log by hour; adding the same rows in parts gives the same sums."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any

import msgspec
from django.db.backends.base.base import BaseDatabaseWrapper

from llm_gateway.insight.histogram import one
from llm_gateway.models import UsageHour

Row = Mapping[str, Any]
Hour = dict[str, Any]
HourKey = tuple[int, Any, str]

TABLE = UsageHour._meta.db_table  # noqa: SLF001 - Django's public model API
GROUPED = (
    *("project_id", "project_name", "api_key_id", "key_name"),
    *("requested_model", "model", "provider", "code"),
)
ADDED = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens")
SUMS = ("requests", "errors", *ADDED, "cost_nano", "cache_hits", "saved_nano")
HISTOGRAMS = {"latency": "duration_ms", "first_token": "first_token_ms"}
# What a request adds to by being there, whatever it cost.
COUNTED = ("requests", "errors", "failed", "cache_hits", *HISTOGRAMS)
ENDED_BADLY = frozenset({"failed", "refused"})
CACHE_HITS = frozenset({"hit", "semantic-hit"})

_ADDED = (*ADDED, "cost_nano", "saved_nano")
# The columns of the log that an hour is made of.
READ = (
    *("tenant_id", "created_at", *GROUPED, "tags", *_ADDED),
    *("outcome", "cache", *HISTOGRAMS.values()),
)
_SUMMED = (*SUMS, "failed", *HISTOGRAMS)
_grouped = itemgetter(*GROUPED)
_COLUMNS = ("tenant_id", "hour", "dims", *GROUPED, "tags", *_SUMMED)
_NAMES = ", ".join(_COLUMNS)
_PLUS = "histogram_sum"  # SQLite has no whole numbers above 64 bits, so Python adds them
_ON_CONFLICT = " ON CONFLICT (tenant_id, hour, dims) DO UPDATE SET "
_ADD = ", ".join(f"{name} = {TABLE}.{name} + excluded.{name}" for name in _SUMMED)
_ADD_SQLITE = ", ".join(
    f"{name} = {_PLUS}({TABLE}.{name}, excluded.{name})"
    if name in HISTOGRAMS
    else f"{name} = {TABLE}.{name} + excluded.{name}"
    for name in _SUMMED
)
_POSTGRESQL = (
    f"INSERT INTO {TABLE} ({_NAMES})"  # noqa: S608 - names of our own model
    f" SELECT {_NAMES} FROM jsonb_populate_recordset(NULL::{TABLE}, %s::jsonb){_ON_CONFLICT}{_ADD}"
)
_SQLITE = (
    f"INSERT INTO {TABLE} ({_NAMES})"  # noqa: S608 - names of our own model
    f" VALUES ({', '.join(['%s'] * len(_COLUMNS))}){_ON_CONFLICT}{_ADD_SQLITE}"
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
        known["failed"] += row["outcome"] == "failed"
        known["cache_hits"] += row["cache"] in CACHE_HITS
        for name, column in HISTOGRAMS.items():
            if row[column] is not None:
                known[name] += one(row[column])
    return merged(found.values())


def merged(hours: Iterable[Hour]) -> list[Hour]:
    """Return the hours with those of one key added together, sorted by key."""
    found: dict[HourKey, Hour] = {}
    for hour in hours:
        key = (hour["tenant_id"], hour["hour"], hour["dims"])
        known = found.setdefault(key, hour)
        if known is not hour:
            for name in _SUMMED:
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
    written = [hour | {name: str(hour[name]) for name in HISTOGRAMS} for hour in hours]
    if connection.vendor == "postgresql":
        cursor.execute(_POSTGRESQL, [msgspec.json.encode(written).decode()])
        return
    connection.connection.create_function(_PLUS, 2, _plus, deterministic=True)
    cursor.executemany(_SQLITE, [_for_sqlite(hour) for hour in written])


def _empty(row: Row, hour: datetime) -> Hour:
    """Return the hour that a row belongs to, with nothing in it."""
    values = {name: row[name] for name in (*GROUPED, "tenant_id", "tags")}
    return {**values, "dims": dims_of(values), "hour": hour, **dict.fromkeys(_SUMMED, 0)}


def _for_sqlite(hour: Hour) -> tuple[Any, ...]:
    """Return the values as Django's SQLite backend keeps them."""
    kept = hour | {
        "hour": str(hour["hour"].replace(tzinfo=None)),
        "tags": msgspec.json.encode(hour["tags"]).decode(),
    }
    return tuple([kept[name] for name in _COLUMNS])


def _plus(one_sum: str, other: str) -> str:
    return str(int(one_sum) + int(other))
