"""The ledger on PostgreSQL: one round trip for a group that is as supposed."""

import contextlib
import os
import socket
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

import msgspec
import psycopg
from psycopg import pq
from psycopg.rows import TupleRow, namedtuple_row
from typing_extensions import override

from tenants.money.chain import Head, Linked
from tenants.money.claims import Claim, Claimed, ClaimKey
from tenants.money.decide import Attempt, Effects
from tenants.money.ops import BucketState, Past
from tenants.money.rows import HoldRow
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

# Holds come and go: to the planner their table is empty, to a scan it is long until it is vacuumed.
_SESSION = (
    "-c timezone=UTC -c lock_timeout=500 -c statement_timeout=2000"
    " -c plan_cache_mode=force_generic_plan -c synchronous_commit=on"
    " -c enable_seqscan=off"
)
_APPLY = b"ledger_apply"
_APPLY_SQL = b"SELECT * FROM ledger_apply($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
# The guard, a duplicate entry, and a hold that is already gone (held would fall below zero).
_SURPRISES = {b"LG001", b"23505", b"23514"}
# A pooler in between has given us another session.
_UNPREPARED = b"26000"
_encode = msgspec.json.Encoder().encode
_states = msgspec.json.Decoder(list[State]).decode

_RUNNING: LiteralString = "SELECT pid FROM pg_stat_activity WHERE pid = %s AND backend_start = %s"
_TERMINATE: LiteralString = (
    "SELECT pg_terminate_backend(pid, 1000) FROM pg_stat_activity"
    " WHERE pid = %s AND backend_start = %s"
)

_HOLD = """SELECT id, request_id, attempt_no, tenant_id, project_id, api_key_id, deployment_id,
  model, price_version_id, amount_nano, bucket_ids, input_estimate, input_nano,
  output_nano_per_million, end_user, tags, unpriced, state, seen_output FROM ledger_hold """
_EXPIRED: LiteralString = """(deadline_at < ledger_now() OR NOT EXISTS (
  SELECT 1 FROM ledger_writer w WHERE w.id = writer_id
   AND w.heartbeat_at >= ledger_now() - make_interval(secs => %s)))"""

_CLAIM: LiteralString = """INSERT INTO ledger_idempotency AS c (tenant_id, api_key_id, key,
  fingerprint, state, writer_id, request_id, status, headers, body, expires_at)
 VALUES (%s, %s, %s, %s, 'running', %s, %s, 0, '[]', NULL, ledger_now() + interval '24 h')
 ON CONFLICT (api_key_id, key) DO UPDATE SET fingerprint = excluded.fingerprint,
  state = 'running', writer_id = excluded.writer_id, request_id = excluded.request_id, status = 0,
  headers = '[]', body = NULL, expires_at = excluded.expires_at
 WHERE c.expires_at <= ledger_now()"""
_CLAIMED: LiteralString = (
    "SELECT request_id, fingerprint, state, status, headers, body FROM ledger_idempotency"
    " WHERE api_key_id = %s AND key = %s"
)


_STEP: LiteralString = """INSERT INTO ledger_run AS r (tenant_id, name, steps, started_at)
 VALUES (%s, %s, 1, ledger_now()) ON CONFLICT (tenant_id, name) DO UPDATE SET steps = r.steps + 1
 WHERE r.stopped_at IS NULL AND r.steps < coalesce(%s, r.steps + 1)
  AND r.started_at > ledger_now() - make_interval(secs => coalesce(%s, 1000000000))
 RETURNING id"""


class PostgresStore(Store):
    """One connection of psycopg; `ledger_apply` is called through libpq to save its overhead."""

    fast = True

    def __init__(self, *, lease_s: float = LEASE_S, **parameters: Any) -> None:  # noqa: ANN401 - whatever libpq takes
        self.lease_s = lease_s
        self._parameters = parameters
        self._connection: psycopg.Connection[TupleRow] | None = None
        self._backend: tuple[int, datetime] | None = None  # of the last connection: pid and start

    @override
    def open(self) -> None:
        self.close()
        try:
            connection = psycopg.connect(
                **{
                    "connect_timeout": 2,
                    "tcp_user_timeout": 2000,
                    **self._parameters,
                    "options": f"{self._parameters.get('options', '')} {_SESSION}".strip(),
                },
                autocommit=True,
                prepare_threshold=0,
            )
        except psycopg.Error as error:
            raise LostError(str(error)) from error
        self._connection = connection
        with _saying_lost():
            prepared = connection.pgconn.prepare(_APPLY, _APPLY_SQL)
        if prepared.status != pq.ExecStatus.COMMAND_OK:
            raise StoreError(_message(prepared))
        self._end_former()

    def _end_former(self) -> None:
        """End the session that was lost: it may still be about to do what we shall undo.

        Raises LostError while it is there.
        """
        if self._backend is not None:
            self._run(_TERMINATE, self._backend)
            if self._run(_RUNNING, self._backend):
                raise LostError("the session before this one has not ended yet")
        pid, start = self._one(
            "SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()"
        )
        # Behind a pooler the session is not ours alone, and nobody's to end.
        own = pid == self._open().info.backend_pid
        self._backend = (pid, start) if own else None

    @override
    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @override
    def cut(self) -> None:
        connection = self._connection
        if connection is None or connection.closed:
            return
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(connection.fileno())) as own:
            own.shutdown(socket.SHUT_RDWR)

    @override
    def register(self, host: str, pid: int) -> int:
        row = self._one(
            "INSERT INTO ledger_writer (host, pid, started_at, heartbeat_at, last_seq, last_hash)"
            " VALUES (%s, %s, ledger_now(), ledger_now(), 0, '') RETURNING id",
            (host, pid),
        )
        return int(row[0])

    @override
    def head(self, writer_id: int) -> Head:
        return Head(
            *self._one("SELECT last_seq, last_hash FROM ledger_writer WHERE id = %s", (writer_id,))
        )

    @override
    def beat(self, writer_id: int, *, stopped: bool = False) -> datetime:
        row = self._one(
            "UPDATE ledger_writer SET heartbeat_at = ledger_now(),"
            " stopped_at = CASE WHEN %s THEN ledger_now() END WHERE id = %s RETURNING heartbeat_at",
            (stopped, writer_id),
        )
        return _instant(row[0])

    @override
    def now(self) -> datetime:
        return _instant(self._one("SELECT ledger_now()")[0])

    @override
    def make_bucket(
        self, tenant_id: int, key: BucketKey, starts_at: datetime, ends_at: datetime | None
    ) -> int:
        self._run(
            "INSERT INTO ledger_bucket (tenant_id, budget_id, subject, period_key, starts_at,"
            " ends_at, alerted_ppm, used_nano, held_nano) VALUES (%s, %s, %s, %s, %s, %s, 0, 0, 0)"
            " ON CONFLICT DO NOTHING",
            (tenant_id, *key, starts_at, ends_at),
        )
        row = self._one(
            "SELECT id FROM ledger_bucket"
            " WHERE budget_id = %s AND subject = %s AND period_key = %s",
            key,
        )
        return int(row[0])

    @override
    def begin(self) -> None:
        self._control(b"BEGIN")

    @override
    def commit(self) -> None:
        self._control(b"COMMIT")

    @override
    def rollback(self) -> None:
        with contextlib.suppress(StoreError):
            self._control(b"ROLLBACK")

    @override
    def lock_buckets(self, ids: Collection[int], now: datetime) -> dict[int, BucketState]:
        self._run(
            "SELECT 1 FROM ledger_bucket WHERE id = ANY(%s) ORDER BY id FOR UPDATE", (sorted(ids),)
        )
        rows = self._run(
            "SELECT b.id, b.starts_at, b.ends_at, b.used_nano, b.held_nano, g.limit_nano,"
            " coalesce(g.hard, false) AS hard,"
            " CASE WHEN g.raise_until > %s THEN g.raise_nano ELSE 0 END AS raise_nano,"
            " coalesce(g.thresholds, '[]')::text AS thresholds, b.alerted_ppm FROM ledger_bucket b"
            " LEFT JOIN ledger_budget g ON g.id = b.budget_id WHERE b.id = ANY(%s)",
            (now, sorted(ids)),
        )
        return {row.id: bucket_state(row) for row in rows}

    @override
    def lock_holds(self, ids: Collection[UUID]) -> dict[UUID, HoldRow]:
        return self._holds("WHERE id = ANY(%s) ORDER BY id FOR UPDATE", ids)

    @override
    def lock_expired(self, ids: Collection[UUID]) -> dict[UUID, HoldRow]:
        rows = self._run(
            _HOLD + "WHERE id = ANY(%s) AND " + _EXPIRED + " ORDER BY id FOR UPDATE",
            (sorted(ids), self.lease_s),
        )
        return {row.id: _hold_row(row) for row in rows}

    @override
    def read_holds(self, ids: Collection[UUID]) -> dict[UUID, HoldRow]:
        return self._holds("WHERE id = ANY(%s)", ids)

    @override
    def past(self, attempts: Collection[Attempt]) -> dict[Attempt, tuple[Past, ...]]:
        if not attempts:
            return {}
        rows = self._run(
            "SELECT request_id, attempt_no, seq, outcome, amount_nano FROM ledger_entry"
            " WHERE request_id = ANY(%s) ORDER BY seq",
            ([request_id for request_id, _ in attempts],),
        )
        past: dict[Attempt, tuple[Past, ...]] = {}
        for row in rows:
            attempt = (row.request_id, row.attempt_no)
            past[attempt] = (*past.get(attempt, ()), Past(*row[2:]))
        return past

    @override
    def claim(self, claims: Sequence[Claim], writer_id: int) -> dict[ClaimKey, Claimed]:
        found = {}
        for claim in in_order(claims):
            self._run(
                _CLAIM,
                (
                    claim.tenant_id,
                    *claim.place,
                    claim.fingerprint,
                    writer_id,
                    claim.request_id,
                ),
            )
            row = self._one(_CLAIMED, claim.place)
            headers = tuple((name, value) for name, value in row.headers)
            found[claim.place] = Claimed(**row._replace(headers=headers)._asdict())
        return found

    @override
    def step(self, step: Step) -> RunState:
        taken = self._run(_STEP, (*step.place, step.max_steps, step.max_seconds))
        row = self._one(
            "SELECT steps, extract(epoch FROM ledger_now() - started_at)::float8 AS age_s,"
            " stopped_at IS NOT NULL AS stopped FROM ledger_run"
            " WHERE tenant_id = %s AND name = %s",
            step.place,
        )
        return RunState(taken=bool(taken), **row._asdict())

    @override
    def apply(
        self, effects: Effects, entries: Sequence[Linked], writer_id: int, head: Head
    ) -> tuple[datetime, Sequence[State]]:
        ids = sorted(effects.used.keys() | effects.held.keys())
        parameters = [
            _array(ids),
            _array(effects.used.get(each, 0) for each in ids),
            _array(effects.held.get(each, 0) for each in ids),
            _array(int(each in effects.admitting) for each in ids),
            _array(effects.gone),
            _encode(effects.holds),
            b"[" + b",".join([each.json for each in entries]) + b"]",
            b"%d" % writer_id,
            b"%d" % head.seq,
            head.hash.encode(),
        ]
        with _saying_lost():
            result = self._open().pgconn.exec_prepared(_APPLY, parameters)
        if result.status != pq.ExecStatus.TUPLES_OK:
            raise self._error(result)
        now, states = result.get_value(0, 0), result.get_value(0, 1)
        return datetime.fromisoformat((now or b"").decode()), _states(states or b"[]")

    @override
    def annotate(self, effects: Effects) -> None:
        if effects.alerts:
            buckets, thresholds = map(list, zip(*effects.alerts, strict=True))
            self._run(
                "INSERT INTO ledger_alert (bucket_id, threshold_ppm, created_at)"
                " SELECT b, t, ledger_now() FROM unnest(%s::bigint[], %s::bigint[]) AS s(b, t)"
                " ORDER BY b, t ON CONFLICT DO NOTHING",
                (buckets, thresholds),
            )
            self._run(
                "UPDATE ledger_bucket SET alerted_ppm = greatest(alerted_ppm, t) FROM"
                " (SELECT b, max(t) AS t FROM unnest(%s::bigint[], %s::bigint[]) AS s(b, t)"
                " GROUP BY b) AS a WHERE id = b",
                (buckets, thresholds),
            )
        for alarm in effects.alarms:
            self._run(
                "INSERT INTO ledger_alarm (kind, tenant_id, model, day, request_id, attempt_no,"
                " said, created_at) SELECT %s, %s, %s, (t AT TIME ZONE 'UTC')::date, %s, %s, %s, t"
                " FROM ledger_now() AS t ON CONFLICT DO NOTHING",
                (
                    *(alarm.kind, alarm.tenant_id, alarm.model),
                    *(alarm.request_id, alarm.attempt_no, alarm.said),
                ),
            )
        for mark in effects.marks:
            self._run(
                "UPDATE ledger_hold SET state = 'uncertain', seen_output = %s,"
                " deadline_at = ledger_now() + interval '60 s' WHERE id = %s",
                (mark.seen_output, mark.hold_id),
            )
        for kept in sorted(effects.kept, key=lambda each: each.claim.place):
            self._run(
                "UPDATE ledger_idempotency SET state = %s, status = %s, headers = %s::jsonb,"
                " body = %s WHERE api_key_id = %s AND key = %s AND request_id = %s",
                (
                    kept.state,
                    kept.status,
                    _encode(kept.headers).decode(),
                    kept.body,
                    *kept.claim.place,
                    kept.claim.request_id,
                ),
            )
        for claim in in_order(effects.dropped):
            self._run(
                "DELETE FROM ledger_idempotency WHERE api_key_id = %s AND key = %s"
                " AND request_id = %s AND state = 'running'",
                (*claim.place, claim.request_id),
            )

    @override
    def checkpoint(self, seen: Mapping[UUID, int]) -> None:
        self._run(
            "UPDATE ledger_hold SET seen_output = n FROM unnest(%s::uuid[], %s::bigint[])"
            " AS s(i, n) WHERE id = i",
            (list(seen), list(seen.values())),
        )

    @override
    def expired(self, limit: int) -> Iterable[HoldRow]:
        rows = self._run(
            _HOLD + "WHERE " + _EXPIRED + " ORDER BY id LIMIT %s", (self.lease_s, limit)
        )
        return [_hold_row(row) for row in rows]

    @override
    def sweep_claims(self, limit: int) -> None:
        # Past those that are locked: whoever locked one is about to end it.
        self._run(
            "DELETE FROM ledger_idempotency WHERE id IN (SELECT id FROM ledger_idempotency c"
            " WHERE expires_at <= ledger_now() OR (state = 'running' AND NOT EXISTS"
            " (SELECT 1 FROM ledger_writer w WHERE w.id = c.writer_id"
            " AND w.heartbeat_at >= ledger_now() - make_interval(secs => %s)))"
            " ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED)",
            (self.lease_s, limit),
        )

    def _holds(self, where: LiteralString, ids: Collection[UUID]) -> dict[UUID, HoldRow]:
        return {row.id: _hold_row(row) for row in self._run(_HOLD + where, (sorted(ids),))}

    def _open(self) -> psycopg.Connection[TupleRow]:
        if self._connection is None:
            raise LostError("not connected")
        return self._connection

    def _control(self, statement: bytes) -> None:
        # Not through a cursor: after a ROLLBACK psycopg drops every prepared statement, ours too.
        with _saying_lost():
            result = self._open().pgconn.exec_(statement)
        if result.status != pq.ExecStatus.COMMAND_OK:
            raise self._error(result)

    def _run(self, sql: LiteralString, parameters: Sequence[Any] = ()) -> list[Any]:
        connection = self._open()
        try:
            with connection.cursor(row_factory=namedtuple_row) as cursor:
                cursor.execute(sql, parameters)
                return cursor.fetchall() if cursor.description else []
        except psycopg.errors.UniqueViolation as error:
            raise SurpriseError(str(error)) from error
        except psycopg.Error as error:
            # What the server refuses has a code; without one nobody knows what became of it.
            unheard = isinstance(error, psycopg.OperationalError) and error.sqlstate is None
            lost = connection.broken or connection.closed or unheard
            raise (LostError if lost else StoreError)(str(error)) from error

    def _one(self, sql: LiteralString, parameters: Sequence[Any] = ()) -> Any:  # noqa: ANN401 - a row of whatever was selected
        return self._run(sql, parameters)[0]

    def _error(self, result: "pq.abc.PGresult") -> StoreError:
        state = result.error_field(pq.DiagnosticField.SQLSTATE)
        if self._open().pgconn.status != pq.ConnStatus.OK or state == _UNPREPARED:
            return LostError(_message(result))
        return (SurpriseError if state in _SURPRISES else StoreError)(_message(result))


@contextlib.contextmanager
def _saying_lost() -> Iterator[None]:
    """Raise LostError where libpq has no result: its line is gone, and with it what it knew."""
    try:
        yield
    except psycopg.Error as error:
        raise LostError(str(error)) from error


def _hold_row(row: Any) -> HoldRow:  # noqa: ANN401 - a row of whatever was selected
    values = row._asdict()
    values["bucket_ids"] = tuple(values["bucket_ids"])
    return HoldRow(**values)


def _array(values: Iterable[object]) -> bytes:
    return b"{%b}" % ",".join(map(str, values)).encode()


def _instant(value: object) -> datetime:
    assert isinstance(value, datetime)  # noqa: S101 - what a timestamptz comes as
    return value


def _message(result: "pq.abc.PGresult") -> str:
    return (result.error_message or b"").decode(errors="replace").strip()
