"""The ledger on SQLite: one process, one transaction for each group, statement by statement."""

import json
import sqlite3
from collections import namedtuple
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any
from uuid import UUID

import msgspec
from typing_extensions import override

from tenants.money.chain import Head, Linked
from tenants.money.claims import Claim, Claimed, ClaimKey
from tenants.money.decide import Attempt, Effects
from tenants.money.ops import BucketState, Past
from tenants.money.rows import EntryRow, HoldRow
from tenants.money.runs import RunState, Step
from tenants.money.store import (
    LEASE_S,
    BucketKey,
    LostError,
    State,
    Store,
    StoreError,
    SurpriseError,
    bucket_state,
    in_order,
)

_PRAGMAS = ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON")
_GRACE = timedelta(seconds=60)
_CLAIM_LIFE = timedelta(hours=24)

_HOLD = """SELECT id, request_id, attempt_no, tenant_id, project_id, api_key_id, deployment_id,
  model, price_version_id, amount_nano, bucket_ids, input_estimate, input_nano,
  output_nano_per_million, end_user, tags, unpriced, state, seen_output FROM ledger_hold """

_EXPIRED = """(deadline_at < :now OR NOT EXISTS (SELECT 1 FROM ledger_writer w
  WHERE w.id = writer_id AND w.heartbeat_at >= :since))"""

_GUARD = """ AND starts_at <= :now AND (ends_at IS NULL OR ends_at > :now) AND NOT EXISTS (
  SELECT 1 FROM ledger_budget g WHERE g.id = budget_id AND g.hard AND g.limit_nano IS NOT NULL
   AND used_nano + :used + held_nano + :held > g.limit_nano
     + CASE WHEN g.raise_until > :now THEN g.raise_nano ELSE 0 END)"""


_CLAIM = """INSERT INTO ledger_idempotency (tenant_id, api_key_id, key, fingerprint, state,
  writer_id, request_id, status, headers, body, expires_at)
 VALUES (:tenant_id, :api_key_id, :key, :fingerprint, 'running', :writer_id, :request_id, 0, '[]',
  NULL, :expires_at)
 ON CONFLICT (api_key_id, key) DO UPDATE SET fingerprint = excluded.fingerprint,
  state = 'running', writer_id = excluded.writer_id, request_id = excluded.request_id, status = 0,
  headers = '[]', body = NULL, expires_at = excluded.expires_at
 WHERE ledger_idempotency.expires_at <= :now"""


_STEP = """INSERT INTO ledger_run (tenant_id, name, steps, started_at)
 VALUES (:tenant_id, :run, 1, :now) ON CONFLICT (tenant_id, name) DO UPDATE SET steps = steps + 1
 WHERE stopped_at IS NULL AND steps < coalesce(:max_steps, steps + 1)
  AND started_at > coalesce(:since, '')
 RETURNING id"""


class SqliteStore(Store):
    """A connection of its own with the pragmas of the rest of the process; `clock` is UTC."""

    fast = False  # every round trip is a function call: supposing saves nothing

    def __init__(
        self,
        path: str,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        *,
        lease_s: float = LEASE_S,
    ) -> None:
        self._path = path
        self._clock = clock
        self.lease_s = lease_s
        self._connection: sqlite3.Connection | None = None

    @override
    def open(self) -> None:
        self.close()
        try:
            connection = sqlite3.connect(
                self._path,
                timeout=5,
                isolation_level=None,
                check_same_thread=False,
                uri=self._path.startswith("file:"),
            )
            for pragma in _PRAGMAS:
                connection.execute(f"PRAGMA {pragma}")
        except sqlite3.Error as error:
            raise LostError(str(error)) from error
        connection.row_factory = _named
        self._connection = connection

    @override
    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @override
    def cut(self) -> None:
        if self._connection is not None:
            self._connection.interrupt()

    @override
    def register(self, host: str, pid: int) -> int:
        now = _text(self._clock())
        rows = self._run(
            "INSERT INTO ledger_writer (host, pid, started_at, heartbeat_at, last_seq, last_hash)"
            " VALUES (?, ?, ?, ?, 0, '') RETURNING id",
            (host, pid, now, now),
        )
        return int(rows[0].id)

    @override
    def head(self, writer_id: int) -> Head:
        return Head(
            *self._run("SELECT last_seq, last_hash FROM ledger_writer WHERE id = ?", (writer_id,))[
                0
            ]
        )

    @override
    def beat(self, writer_id: int, *, stopped: bool = False) -> datetime:
        now = self._clock()
        self._run(
            "UPDATE ledger_writer SET heartbeat_at = ?, stopped_at = ? WHERE id = ?",
            (_text(now), _text(now) if stopped else None, writer_id),
        )
        return now

    @override
    def now(self) -> datetime:
        return self._clock()

    @override
    def make_bucket(
        self, tenant_id: int, key: BucketKey, starts_at: datetime, ends_at: datetime | None
    ) -> int:
        self._run(
            "INSERT INTO ledger_bucket (tenant_id, budget_id, subject, period_key, starts_at,"
            " ends_at, alerted_ppm, used_nano, held_nano) VALUES (?, ?, ?, ?, ?, ?, 0, 0, 0)"
            " ON CONFLICT DO NOTHING",
            (tenant_id, *key, _text(starts_at), _text(ends_at) if ends_at else None),
        )
        rows = self._run(
            "SELECT id FROM ledger_bucket WHERE budget_id = ? AND subject = ? AND period_key = ?",
            tuple(key),
        )
        return int(rows[0].id)

    @override
    def begin(self) -> None:
        self._run("BEGIN IMMEDIATE")

    @override
    def commit(self) -> None:
        self._run("COMMIT")

    @override
    def rollback(self) -> None:
        with suppress(StoreError):
            self._run("ROLLBACK")

    @override
    def lock_buckets(self, ids: Collection[int], now: datetime) -> dict[int, BucketState]:
        rows = self._run(
            "SELECT b.id, b.starts_at, b.ends_at, b.used_nano, b.held_nano, g.limit_nano,"  # noqa: S608 - constants and question marks
            " coalesce(g.hard, 0) AS hard,"
            " CASE WHEN g.raise_until > ? THEN g.raise_nano ELSE 0 END AS raise_nano,"
            " coalesce(g.thresholds, '[]') AS thresholds, b.alerted_ppm FROM ledger_bucket b"
            f" LEFT JOIN ledger_budget g ON g.id = b.budget_id WHERE b.id IN ({_marks(ids)})",
            (_text(now), *ids),
        )
        return {
            row.id: bucket_state(
                row._replace(starts_at=_instant(row.starts_at), ends_at=_instant(row.ends_at))
            )
            for row in rows
        }

    @override
    def lock_holds(self, ids: Collection[UUID]) -> dict[UUID, HoldRow]:
        return self.read_holds(ids)

    @override
    def lock_expired(self, ids: Collection[UUID]) -> dict[UUID, HoldRow]:
        listed = ", ".join(f"'{each.hex}'" for each in ids)
        return {hold.id: hold for hold in self._expired(f"id IN ({listed}) AND", len(ids))}

    @override
    def read_holds(self, ids: Collection[UUID]) -> dict[UUID, HoldRow]:
        rows = self._run(f"{_HOLD} WHERE id IN ({_marks(ids)})", [each.hex for each in ids])
        return {(hold := _hold_row(row)).id: hold for row in rows}

    @override
    def past(self, attempts: Collection[Attempt]) -> dict[Attempt, tuple[Past, ...]]:
        rows = self._run(
            "SELECT request_id, attempt_no, seq, outcome, amount_nano FROM ledger_entry"  # noqa: S608 - constants and question marks
            f" WHERE request_id IN ({_marks(attempts)}) ORDER BY seq",
            [request_id.hex for request_id, _ in attempts],
        )
        past: dict[Attempt, tuple[Past, ...]] = {}
        for row in rows:
            attempt = (UUID(row.request_id), row.attempt_no)
            past[attempt] = (*past.get(attempt, ()), Past(*row[2:]))
        return past

    @override
    def claim(self, claims: Sequence[Claim], writer_id: int) -> dict[ClaimKey, Claimed]:
        now = self._clock()
        found = {}
        for claim in in_order(claims):
            values = msgspec.structs.asdict(claim) | {
                "writer_id": writer_id,
                "request_id": claim.request_id.hex,
                "now": _text(now),
                "expires_at": _text(now + _CLAIM_LIFE),
            }
            self._run(_CLAIM, values)
            rows = self._run(
                "SELECT request_id, fingerprint, state, status, headers, body"
                " FROM ledger_idempotency WHERE api_key_id = ? AND key = ?",
                claim.place,
            )
            found[claim.place] = _claimed(rows[0])
        return found

    @override
    def step(self, step: Step) -> RunState:
        now = self._clock()
        seconds = step.max_seconds
        values = {
            "tenant_id": step.tenant_id,
            "run": step.run,
            "max_steps": step.max_steps,
            "since": None if seconds is None else _text(now - timedelta(seconds=seconds)),
            "now": _text(now),
        }
        taken = self._run(_STEP, values)
        (row,) = self._run(
            "SELECT steps, started_at, stopped_at FROM ledger_run WHERE tenant_id = ? AND name = ?",
            step.place,
        )
        started = _instant(row.started_at) or now
        return RunState(
            taken=bool(taken),
            steps=row.steps,
            age_s=(now - started).total_seconds(),
            stopped=row.stopped_at is not None,
        )

    @override
    def apply(
        self, effects: Effects, entries: Sequence[Linked], writer_id: int, head: Head
    ) -> tuple[datetime, Sequence[State]]:
        now = self._clock()
        for bucket_id in sorted(effects.used.keys() | effects.held.keys()):
            self._move(effects, bucket_id, now)
        if effects.gone:
            self._run(
                f"DELETE FROM ledger_hold WHERE id IN ({_marks(effects.gone)})",  # noqa: S608 - constants and question marks
                [each.hex for each in effects.gone],
            )
        self._insert("ledger_hold", [_hold_values(hold, writer_id, now) for hold in effects.holds])
        self._insert("ledger_entry", [_entry_values(entry) for entry in entries])
        self._run(
            "UPDATE ledger_writer SET last_seq = ?, last_hash = ?, heartbeat_at = ? WHERE id = ?",
            (head.seq, head.hash, _text(now), writer_id),
        )
        return now, ()

    @override
    def annotate(self, effects: Effects) -> None:
        now = self._clock()
        for bucket_id, ppm in effects.alerts:
            self._run(
                "INSERT INTO ledger_alert (bucket_id, threshold_ppm, created_at) VALUES (?, ?, ?)"
                " ON CONFLICT DO NOTHING",
                (bucket_id, ppm, _text(now)),
            )
            self._run(
                "UPDATE ledger_bucket SET alerted_ppm = max(alerted_ppm, ?) WHERE id = ?",
                (ppm, bucket_id),
            )
        for alarm in effects.alarms:
            self._run(
                "INSERT INTO ledger_alarm (kind, tenant_id, model, day, request_id, attempt_no,"
                " said, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (
                    *(alarm.kind, alarm.tenant_id, alarm.model, now.date().isoformat()),
                    *(alarm.request_id.hex, alarm.attempt_no, alarm.said, _text(now)),
                ),
            )
        for mark in effects.marks:
            self._run(
                "UPDATE ledger_hold SET state = 'uncertain', seen_output = ?, deadline_at = ?"
                " WHERE id = ?",
                (mark.seen_output, _text(now + _GRACE), mark.hold_id.hex),
            )
        self._end_claims(effects)

    @override
    def checkpoint(self, seen: Mapping[UUID, int]) -> None:
        with _errors():
            self._open().executemany(
                "UPDATE ledger_hold SET seen_output = ? WHERE id = ?",
                [(units, hold_id.hex) for hold_id, units in seen.items()],
            )

    @override
    def expired(self, limit: int) -> Iterable[HoldRow]:
        return self._expired("", limit)

    @override
    def sweep_claims(self, limit: int) -> None:
        now = self._clock()
        self._run(
            "DELETE FROM ledger_idempotency WHERE id IN (SELECT id FROM ledger_idempotency c"
            " WHERE expires_at <= ? OR (state = 'running' AND NOT EXISTS"
            " (SELECT 1 FROM ledger_writer w WHERE w.id = c.writer_id AND w.heartbeat_at >= ?))"
            " LIMIT ?)",
            (_text(now), self._since(now), limit),
        )

    def _expired(self, which: str, limit: int) -> list[HoldRow]:
        now = self._clock()
        rows = self._run(
            f"{_HOLD} WHERE {which} {_EXPIRED} ORDER BY id LIMIT :limit",
            {"now": _text(now), "since": self._since(now), "limit": limit},
        )
        return [_hold_row(row) for row in rows]

    def _since(self, now: datetime) -> str:
        """Return when a writer that is alive has stamped at the earliest."""
        return _text(now - timedelta(seconds=self.lease_s))

    def _end_claims(self, effects: Effects) -> None:
        for kept in effects.kept:
            self._run(
                "UPDATE ledger_idempotency SET state = ?, status = ?, headers = ?, body = ?"
                " WHERE api_key_id = ? AND key = ? AND request_id = ?",
                (
                    kept.state,
                    kept.status,
                    _json(kept.headers),
                    kept.body,
                    *kept.claim.place,
                    kept.claim.request_id.hex,
                ),
            )
        for claim in effects.dropped:
            self._run(
                "DELETE FROM ledger_idempotency WHERE api_key_id = ? AND key = ?"
                " AND request_id = ? AND state = 'running'",
                (*claim.place, claim.request_id.hex),
            )

    def _move(self, effects: Effects, bucket_id: int, now: datetime) -> None:
        values = {
            "id": bucket_id,
            "used": effects.used.get(bucket_id, 0),
            "held": effects.held.get(bucket_id, 0),
            "now": _text(now),
        }
        moved = self._run(
            "UPDATE ledger_bucket SET used_nano = used_nano + :used, held_nano = held_nano + :held"  # noqa: S608 - constants and question marks
            " WHERE id = :id"
            + (_GUARD if bucket_id in effects.admitting else "")
            + " RETURNING id",
            values,
        )
        if not moved:
            raise SurpriseError(f"bucket {bucket_id} has no room")

    def _insert(self, table: str, rows: Sequence[dict[str, Any]]) -> None:
        if not rows:
            return
        columns = ", ".join(rows[0])
        values = ", ".join(f":{column}" for column in rows[0])
        with _errors():
            self._open().executemany(f"INSERT INTO {table} ({columns}) VALUES ({values})", rows)  # noqa: S608 - constants and question marks

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            raise LostError("not connected")
        return self._connection

    def _run(self, sql: str, parameters: Any = ()) -> list[Any]:  # noqa: ANN401 - a row of whatever was selected
        with _errors():
            return self._open().execute(sql, parameters).fetchall()


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except sqlite3.IntegrityError as error:
        raise SurpriseError(str(error)) from error
    except sqlite3.Error as error:
        raise StoreError(str(error)) from error


@lru_cache(maxsize=64)
def _shape(columns: tuple[str, ...]) -> Any:  # noqa: ANN401 - a row of whatever was selected
    return namedtuple("Row", columns)  # noqa: PYI024 - the columns are known when it runs


def _named(cursor: sqlite3.Cursor, row: tuple[Any, ...]) -> Any:  # noqa: ANN401 - a row of whatever was selected
    return _shape(tuple(column[0] for column in cursor.description))(*row)


def _marks(values: Collection[object]) -> str:
    return ", ".join("?" * len(values))


def _text(instant: datetime) -> str:
    """Return an instant as Django keeps it on SQLite, so that both compare as text."""
    return instant.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")


def _instant(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text).replace(tzinfo=UTC) if text else None


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _hold_row(row: Any) -> HoldRow:  # noqa: ANN401 - a row of whatever was selected
    values = row._asdict()
    values |= {
        "id": UUID(row.id),
        "request_id": UUID(row.request_id),
        "bucket_ids": tuple(json.loads(row.bucket_ids)),
        "tags": json.loads(row.tags),
        "unpriced": bool(row.unpriced),
    }
    return HoldRow(**values)


def _claimed(row: Any) -> Claimed:  # noqa: ANN401 - a row of whatever was selected
    values = row._asdict()
    values |= {
        "request_id": UUID(row.request_id),
        "headers": tuple((name, value) for name, value in json.loads(row.headers)),
    }
    return Claimed(**values)


def _hold_values(hold: HoldRow, writer_id: int, now: datetime) -> dict[str, Any]:
    values = msgspec.structs.asdict(hold)
    deadline = now + timedelta(seconds=values.pop("deadline_s"))
    return values | {
        "id": hold.id.hex,
        "request_id": hold.request_id.hex,
        "bucket_ids": _json(hold.bucket_ids),
        "tags": _json(hold.tags),
        "writer_id": writer_id,
        "created_at": _text(now),
        "deadline_at": _text(deadline),
    }


def _entry_values(entry: Linked) -> dict[str, Any]:
    row: EntryRow = entry.row
    return msgspec.structs.asdict(row) | {
        "request_id": row.request_id.hex,
        "bucket_ids": _json(row.bucket_ids),
        "tags": _json(row.tags),
        "usage": _json(row.usage),
        "lines": _json(row.lines),
        "created_at": _text(row.created_at),
        "prev_hash": entry.prev_hash,
        "hash": entry.hash,
    }
