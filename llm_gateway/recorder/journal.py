"""Write batches of finished calls to the request log over a connection of its own.

The log is no ledger: its commits wait for no disk, and a batch written twice is there once. The
roll-ups by hour are in the same transaction and count only the rows that are new.
"""

import copy
import time
from collections.abc import Sequence
from operator import attrgetter
from typing import Any
from uuid import UUID

import structlog
from django.db import DEFAULT_DB_ALIAS, InterfaceError, OperationalError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.utils import load_backend

from llm_gateway.insight import rollup
from llm_gateway.models import RequestPayload
from llm_gateway.recorder.rows import (
    COLUMNS,
    TABLE,
    Row,
    for_postgresql,
    for_sqlite,
    recorded,
    row,
)
from llm_gateway.types import CallRecord
from tenants.models import ApiKey

log = structlog.get_logger(__name__)

TOUCH_EVERY_S = 60.0
_NAMES = ", ".join(COLUMNS)
_POSTGRESQL = (
    f"INSERT INTO {TABLE} ({_NAMES})"  # noqa: S608 - names of our own model
    f" SELECT {_NAMES} FROM jsonb_populate_recordset(NULL::{TABLE}, %s::jsonb)"
    " ON CONFLICT DO NOTHING RETURNING id"
)
_SQLITE = (
    f"INSERT OR IGNORE INTO {TABLE} ({_NAMES})"  # noqa: S608 - names of our own model
    f" VALUES ({', '.join(['%s'] * len(COLUMNS))})"
)
_KNOWN = f"SELECT id FROM {TABLE} WHERE id IN (%s)"  # noqa: S608 - likewise
_PAYLOAD = (
    f"INSERT INTO {RequestPayload._meta.db_table} (request_id, tenant_id, sealed)"  # noqa: S608, SLF001 - likewise
    " VALUES (%s, %s, %s) ON CONFLICT DO NOTHING"
)
_KEYS = ApiKey._meta.db_table  # noqa: SLF001 - Django's public model API
_TOUCH = f"UPDATE {_KEYS} SET last_used_at = %s WHERE id = %s"  # noqa: S608 - likewise


class Journal:
    """Belongs to the thread that writes. `rejected` counts rows the database would never take."""

    def __init__(self, alias: str = DEFAULT_DB_ALIAS) -> None:
        self._alias = alias
        self._connection: BaseDatabaseWrapper | None = None
        self._touched: dict[int, float] = {}
        self.rejected = 0

    def write(self, calls: Sequence[CallRecord]) -> None:
        """Write the calls, each once. Raises OperationalError or InterfaceError: try again."""
        if not calls:
            return
        try:
            self._insert_all(calls)
            self._touch(calls)
        except (OperationalError, InterfaceError):
            # A connection in trouble is never used again; open transactions end with it.
            self.close()
            raise

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _insert_all(self, calls: Sequence[CallRecord]) -> None:
        try:
            self._insert(calls)
        except (OperationalError, InterfaceError):
            raise
        except Exception as error:  # noqa: BLE001 - a value that no column takes has many names
            self.close()
            if len(calls) > 1:
                for call in calls:
                    self._insert_all([call])
                return
            self.rejected += 1
            log.error(  # noqa: TRY400 - the trace says nothing the message does not
                "request log: a record was refused", request_id=str(calls[0].id), error=str(error)
            )

    def _insert(self, calls: Sequence[CallRecord]) -> None:
        connection = self._open()
        rows = {call.id: row(call) for call in calls}
        insert = _insert_postgresql if connection.vendor == "postgresql" else _insert_sqlite
        with connection.cursor() as cursor:
            cursor.execute("BEGIN" if connection.vendor == "postgresql" else "BEGIN IMMEDIATE")
            new = insert(cursor, rows)
            rollup.add(connection, cursor, rollup.hours_of(map(recorded, new)))
            _insert_payloads(connection, cursor, calls)
            cursor.execute("COMMIT")

    def _touch(self, calls: Sequence[CallRecord]) -> None:
        """Say when keys were last used, seldom and one at a time: several processes do so."""
        latest = {c.api_key_id: c.created_at for c in calls if c.api_key_id is not None}
        now = time.monotonic()
        due = [
            key_id
            for key_id in latest
            if now - self._touched.get(key_id, -TOUCH_EVERY_S) >= TOUCH_EVERY_S
        ]
        if not due:
            return
        connection = self._open()
        with connection.cursor() as cursor:
            for key_id in due:
                at = connection.ops.adapt_datetimefield_value(latest[key_id])
                cursor.execute(_TOUCH, [at, key_id])
                self._touched[key_id] = now

    def _open(self) -> BaseDatabaseWrapper:
        if self._connection is None:
            self._connection = connection = _own_connection(self._alias)
            connection.connect()
            if connection.vendor == "sqlite":
                with connection.cursor() as cursor:
                    cursor.execute("PRAGMA synchronous=NORMAL")
        return self._connection


def _insert_postgresql(cursor: Any, rows: dict[UUID, Row]) -> list[Row]:  # noqa: ANN401 - Django's cursors share no type
    """Insert the rows; return those that were not there."""
    cursor.execute(_POSTGRESQL, [for_postgresql(list(rows.values()))])
    return [rows[id_] for (id_,) in cursor.fetchall()]


def _insert_sqlite(cursor: Any, rows: dict[UUID, Row]) -> list[Row]:  # noqa: ANN401 - likewise
    """Insert the rows; return those that were not there: nobody else writes meanwhile."""
    ids = {id_.hex: id_ for id_ in rows}
    cursor.execute(_KNOWN % ", ".join(["%s"] * len(ids)), list(ids))
    for (known,) in cursor.fetchall():
        del rows[ids[known]]
    cursor.executemany(_SQLITE, [for_sqlite(values) for values in rows.values()])
    return list(rows.values())


def _insert_payloads(
    connection: BaseDatabaseWrapper,
    cursor: Any,  # noqa: ANN401 - likewise
    calls: Sequence[CallRecord],
) -> None:
    form = str if connection.features.has_native_uuid_field else attrgetter("hex")
    kept = [(form(one.id), one.tenant_id, one.payload) for one in calls if one.payload is not None]
    if kept:
        cursor.executemany(_PAYLOAD, kept)


def _own_connection(alias: str) -> BaseDatabaseWrapper:
    """Return a connection outside Django's pool, which must not run dry for us."""
    settings = copy.deepcopy(connections[alias].settings_dict)
    options = settings["OPTIONS"]
    options.pop("pool", None)
    if settings["ENGINE"].endswith("postgresql"):
        given = options.get("options", "")
        options["options"] = f"{given} -c synchronous_commit=off -c statement_timeout=5s".strip()
        options["tcp_user_timeout"] = 5000
    wrapper: BaseDatabaseWrapper = load_backend(settings["ENGINE"]).DatabaseWrapper(settings, alias)
    return wrapper
