"""Read the ledger's own tables from outside, as an auditor would, on either database."""

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import dict_row

from tests.harness.gateway import GatewayProcess

Row = dict[str, Any]
POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Audit:
    """What `verify_ledger --json` says."""

    code: int
    ok: bool
    terminal_entries: int
    holds: int
    differences: list[Any]


class Books:
    """The tables of one installation."""

    def __init__(self, gateway: GatewayProcess) -> None:
        self._gateway = gateway
        self._url = gateway.environment["DATABASE_URL"]

    def rows(self, table: str) -> list[Row]:
        """Return a whole table, oldest first; ids of requests are written with hyphens."""
        with _reading(self._url) as read:
            return [_readable(row) for row in read(f"SELECT * FROM {table}")]  # noqa: S608 - ours

    def tables(self) -> list[str]:
        query = (
            "SELECT name FROM sqlite_master WHERE type = 'table'"
            if self._url.startswith("sqlite:")
            else "SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public'"
        )
        with _reading(self._url) as read:
            return sorted(row["name"] for row in read(query))

    def entries(self, request_id: str | None = None) -> list[Row]:
        return _of(self.rows("ledger_entry"), request_id)

    def holds(self, request_id: str | None = None) -> list[Row]:
        return _of(self.rows("ledger_hold"), request_id)

    def terminal(self, request_id: str | None = None) -> list[Row]:
        """Return the entries that end an attempt."""
        return [
            entry
            for entry in self.entries(request_id)
            if (entry["kind"], entry["seq"]) == ("attempt", 0)
        ]

    def until_settled(self, attempts: int, limit_s: float) -> list[Row]:
        """Return the terminal entries once there are that many and nothing is held."""
        until = time.monotonic() + limit_s
        while len(self.terminal()) < attempts or self.holds():
            if time.monotonic() > until:
                raise AssertionError(
                    f"{len(self.terminal())} of {attempts} entries after {limit_s} s; held:"
                    f" {self.holds()}"
                )
            time.sleep(POLL_S)
        return self.terminal()

    def writers(self) -> dict[int, int]:
        """Return what the ledger calls the processes that serve now, and the id of each."""
        pids = self._gateway.workers
        return {row["id"]: row["pid"] for row in self.rows("ledger_writer") if row["pid"] in pids}

    def until_serving(self, processes: int = 0, limit_s: float = 30) -> list[int]:
        """Return the ids of those who serve once there are so many, or all that were started."""
        until = time.monotonic() + limit_s
        while len(found := self.writers()) < (processes or len(self._gateway.workers)):
            if time.monotonic() > until:
                raise AssertionError(f"{len(found)} processes serve after {limit_s} s")
            time.sleep(POLL_S)
        return sorted(found.values())

    def audit(self) -> Audit:
        run = self._gateway.manage("verify_ledger", "--json")
        said = json.loads(run.stdout)
        said.pop("entries")
        return Audit(code=run.code, **said)


def _of(rows: list[Row], request_id: str | None) -> list[Row]:
    return [row for row in rows if request_id in {None, row["request_id"]}]


def _readable(row: Row) -> Row:
    return row | {name: str(UUID(str(row[name]))) for name in ("request_id",) if row.get(name)}


@contextmanager
def _reading(url: str) -> Iterator[Any]:
    if url.startswith("sqlite:///"):
        path = url.removeprefix("sqlite:///")
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=20)) as file:
            file.row_factory = sqlite3.Row
            yield lambda query: [dict(row) for row in file.execute(query).fetchall()]
    else:
        with psycopg.connect(url, autocommit=True) as connection:
            cursor = connection.cursor(row_factory=dict_row)
            yield lambda query: cursor.execute(query).fetchall()
