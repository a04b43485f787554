"""Prove that the ledger adds up: counters are sums, holds are live holds, no chain is broken.

Everything is read in one snapshot. `rebuild` makes the counters what the rows say.
"""

import hmac
import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.db.backends.base.base import BaseDatabaseWrapper
from msgspec import Struct

from tenants.money.chain import canonical_json, row_hash
from tenants.money.rows import EntryRow
from tenants.types import usd

_COLUMNS = (
    "request_id", "attempt_no", "kind", "seq", "outcome", "estimated", "unpriced", "tenant_id",
    "project_id", "api_key_id", "user_id", "end_user", "CAST(tags AS text)", "deployment_id",
    "model", "price_version_id", "amount_nano", "hold_nano", "provider_cost_nano",
    "CAST(bucket_ids AS text)", "CAST(usage AS text)", "CAST(lines AS text)", "body_ref",
    "created_at", "writer_id", "writer_seq",
)  # fmt: skip
_NAMES = tuple(name.removeprefix("CAST(").removesuffix(" AS text)") for name in _COLUMNS)
_JSON = {"tags", "bucket_ids", "usage", "lines"}
_CHUNK = 2000


class Difference(Struct, frozen=True, omit_defaults=True):
    """Something that does not add up. `row` names an entry, `budget` a counter."""

    what: str
    budget: str = ""
    period: str = ""
    subject: str = ""
    row: str = ""

    @property
    def line(self) -> str:
        where = self.row or " ".join(filter(None, (self.budget, self.period, self.subject)))
        return f"{where}: {self.what}"


class Report(Struct, frozen=True):
    """What was counted, and every difference."""

    ok: bool
    entries: int
    terminal_entries: int
    holds: int
    differences: list[Difference]


def verify(connection: BaseDatabaseWrapper, key: bytes) -> Report:
    """Check the whole ledger in one snapshot."""
    with _snapshot(connection):
        differences = [*_counters(connection), *_chains(connection, key)]
        entries, terminal = _row(
            connection,
            "SELECT count(*), coalesce(sum(CASE WHEN kind = 'attempt' THEN 1 ELSE 0 END), 0)"
            " FROM ledger_entry",
        )
        (holds,) = _row(connection, "SELECT count(*) FROM ledger_hold")
    return Report(not differences, entries, int(terminal), holds, differences)


def rebuild(connection: BaseDatabaseWrapper) -> None:
    """Set every counter to the sum of its rows, with all buckets locked in order of id."""
    postgres = connection.vendor == "postgresql"
    with _transaction(connection, "BEGIN" if postgres else "BEGIN IMMEDIATE", "COMMIT") as cursor:
        if postgres:
            cursor.execute("SELECT 1 FROM ledger_bucket ORDER BY id FOR UPDATE")
        used, held = _sums(connection, "ledger_entry"), _sums(connection, "ledger_hold")
        cursor.execute("SELECT id FROM ledger_bucket ORDER BY id")
        for (bucket_id,) in cursor.fetchall():
            cursor.execute(
                "UPDATE ledger_bucket SET used_nano = %s, held_nano = %s WHERE id = %s",
                (used.get(bucket_id, 0), held.get(bucket_id, 0), bucket_id),
            )


def _snapshot(connection: BaseDatabaseWrapper) -> AbstractContextManager[Any]:
    # Django's own transactions take SQLite's write lock at once, and PostgreSQL's see every commit.
    postgres = connection.vendor == "postgresql"
    begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY" if postgres else "BEGIN DEFERRED"
    return _transaction(connection, begin, "ROLLBACK")


@contextmanager
def _transaction(connection: BaseDatabaseWrapper, begin: str, end: str) -> Iterator[Any]:
    with connection.cursor() as cursor:
        cursor.execute(begin)
        try:
            yield cursor
        except BaseException:
            cursor.execute("ROLLBACK")
            raise
        cursor.execute(end)


def _counters(connection: BaseDatabaseWrapper) -> Iterator[Difference]:
    used, held = _sums(connection, "ledger_entry"), _sums(connection, "ledger_hold")
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT b.id, coalesce(g.name, 'deleted budget'), b.period_key, b.subject, b.used_nano,"
            " b.held_nano FROM ledger_bucket b LEFT JOIN ledger_budget g ON g.id = b.budget_id"
            " ORDER BY b.id"
        )
        for bucket_id, name, period, subject, used_nano, held_nano in cursor.fetchall():
            pairs = (
                ("used", used_nano, used.pop(bucket_id, 0), "entries"),
                ("held", held_nano, held.pop(bucket_id, 0), "holds"),
            )
            wrong = [
                f"{counter} is {usd(is_nano)}, its {rows} sum up to {usd(sum_nano)}"
                for counter, is_nano, sum_nano, rows in pairs
                if is_nano != sum_nano
            ]
            if wrong:
                yield Difference("; ".join(wrong), budget=name, period=period, subject=subject)
    for bucket_id in sorted({*used, *held}):
        yield Difference("rows name a bucket that is gone", budget=f"bucket {bucket_id}")


def _sums(connection: BaseDatabaseWrapper, table: str) -> dict[int, int]:
    bucket, source = "s.value", f"{table}, json_each({table}.bucket_ids) AS s"
    if connection.vendor == "postgresql":
        bucket = "CAST(s.bucket AS bigint)"
        source = f"{table}, jsonb_array_elements_text(bucket_ids) AS s(bucket)"
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {bucket}, sum(amount_nano) FROM {source} GROUP BY 1")  # noqa: S608 - constants
        return {int(bucket_id): int(total) for bucket_id, total in cursor.fetchall()}


def _chains(connection: BaseDatabaseWrapper, key: bytes) -> Iterator[Difference]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT id, last_seq, last_hash FROM ledger_writer")
        heads = {writer_id: (seq, last) for writer_id, seq, last in cursor.fetchall()}
    ends: dict[int, tuple[int, str]] = {}
    for row, prev_hash, stored in _entries(connection):
        seq, last = ends.get(row.writer_id, (0, ""))
        name = f"entry {row.request_id}/{row.attempt_no} {row.kind} {row.seq}"
        place = f"writer {row.writer_id}, number {row.writer_seq}"
        if row.writer_seq != seq + 1:
            yield Difference(f"{place}: {row.writer_seq - seq - 1} before it are missing", row=name)
        elif prev_hash != last:
            yield Difference(f"{place}: does not follow the entry before it", row=name)
        if not hmac.compare_digest(row_hash(key, prev_hash, canonical_json(row)), stored):
            yield Difference(f"{place}: was changed after it was written", row=name)
        ends[row.writer_id] = row.writer_seq, stored
    for writer_id in sorted({*heads, *ends}):
        if heads.get(writer_id, (0, "")) != (end := ends.get(writer_id, (0, ""))):
            last_seq = heads.get(writer_id, (0, ""))[0]
            yield Difference(
                f"its chain ends at {end[0]}, its head says {last_seq}", row=f"writer {writer_id}"
            )


def _entries(connection: BaseDatabaseWrapper) -> Iterator[tuple[EntryRow, str, str]]:
    sql = (
        f"SELECT prev_hash, hash, {', '.join(_COLUMNS)} FROM ledger_entry"  # noqa: S608 - constants
        " ORDER BY writer_id, writer_seq"
    )
    with connection.chunked_cursor() as cursor:
        cursor.execute(sql)
        while rows := cursor.fetchmany(_CHUNK):
            for prev_hash, stored, *values in rows:
                yield _entry(dict(zip(_NAMES, values, strict=True))), prev_hash, stored


def _entry(values: dict[str, Any]) -> EntryRow:
    values |= {name: json.loads(values[name]) for name in _JSON}
    created_at: datetime = values["created_at"]
    values["created_at"] = (
        created_at.astimezone(UTC) if created_at.tzinfo else created_at.replace(tzinfo=UTC)
    )
    values["request_id"] = UUID(str(values["request_id"]))
    values["estimated"], values["unpriced"] = bool(values["estimated"]), bool(values["unpriced"])
    return EntryRow(**values)


def _row(connection: BaseDatabaseWrapper, sql: str) -> Any:  # noqa: ANN401 - a row of whatever was selected
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()
