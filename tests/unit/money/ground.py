"""A database with a tenant, for tests that drive the ledger itself, on either backend."""

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db import models
from django.db.utils import ConnectionHandler
from psycopg.conninfo import conninfo_to_dict
from pytest_django import DjangoDbBlocker

from tenants.models import Budget, Tenant
from tenants.money import verify
from tenants.money.ledger import Ledger
from tenants.money.postgres import PostgresStore
from tenants.money.session import Session
from tenants.money.spool import Spool
from tenants.money.sqlite import SqliteStore
from tenants.money.store import LEASE_S, Store
from tenants.types import BudgetRule, Period
from tests.harness.database import Databases
from tests.unit.money.ground_values import KEY, TENANT, budget_rule


class Ground:
    """One database. `warp` replaces its clock; until then it is the real one."""

    def __init__(self, databases: Databases, home: Path) -> None:
        self.backend = databases.backend
        self.home = home
        self.url = databases.create(home)
        self.now: datetime | None = None
        self._budgets = 0
        self._admin: Any = None
        self._sessions: list[Session] = []
        self._insert(Tenant(pk=TENANT, name="acme"))

    def store(
        self,
        *,
        fast: bool | None = None,
        sqlite: type[SqliteStore] = SqliteStore,
        postgres: type[PostgresStore] = PostgresStore,
        lease_s: float = LEASE_S,
    ) -> Store:
        store: Store
        if self.backend == "sqlite":
            store = sqlite(str(self.home / "mobius.sqlite3"), self._clock, lease_s=lease_s)
        else:
            store = postgres(lease_s=lease_s, **conninfo_to_dict(self.url))
        if fast is not None:
            store.fast = fast
        return store

    def session(
        self, clock: Callable[[], float], *, fast: bool | None = None, store: Store | None = None
    ) -> Session:
        session = Session(store or self.store(fast=fast), lambda: KEY, clock)
        session.connect()
        self._sessions.append(session)
        return session

    def ledger(self, *, spool: bool = False, store: Store | None = None) -> Ledger:
        return Ledger(
            store or self.store(),
            lambda: KEY,
            spool=Spool(self.home / "spool") if spool else None,
        )

    def run(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run SQL as a superuser would; {now}, {yes} and {no} are literals of the backend."""
        postgres = self.backend == "postgres"
        text = sql.format(
            now="'2026-01-01 00:00:00'",
            yes="true" if postgres else "1",
            no="false" if postgres else "0",
        )
        cursor: Any = self._connection().execute(
            text.replace("?", "%s") if postgres else text, parameters
        )
        return cursor.fetchall() if cursor.description else []

    def close(self) -> None:
        for session in self._sessions:
            session.store.close()
        if self._admin is not None:
            self._admin.close()

    def _connection(self) -> Any:
        if self._admin is None:
            self._admin = (
                psycopg.connect(self.url, autocommit=True, options="-c synchronous_commit=off")
                if self.backend == "postgres"
                else sqlite3.connect(
                    self.home / "mobius.sqlite3",
                    timeout=5,
                    isolation_level=None,
                    check_same_thread=False,
                )
            )
        return self._admin

    def budget(
        self,
        limit_nano: int | None,
        *,
        period: Period = "total",
        hard: bool = True,
        thresholds: str = "[]",
        zone: str = "UTC",
    ) -> BudgetRule:
        self._budgets += 1
        name = f"budget-{self._budgets}"
        self._insert(
            Budget(
                pk=self._budgets,
                tenant_id=TENANT,
                name=name,
                limit_nano=limit_nano,
                period=period,
                hard=hard,
                thresholds=json.loads(thresholds),
            )
        )
        return budget_rule(
            self._budgets, period, name=name, limit_nano=limit_nano, hard=hard, zone=zone
        )

    def set_limit(self, rule: BudgetRule, limit_nano: int | None) -> None:
        self.run("UPDATE ledger_budget SET limit_nano = ? WHERE id = ?", (limit_nano, rule.id))

    def all_counters(self) -> dict[int, tuple[int, int]]:
        """Return used and held by budget, over all of its buckets."""
        rows = self.run(
            "SELECT budget_id, sum(used_nano), sum(held_nano) FROM ledger_bucket GROUP BY 1"
        )
        return {budget_id: (int(used), int(held)) for budget_id, used, held in rows}

    def counters(self, rule: BudgetRule) -> tuple[int, int]:
        """Return what is used and held of one budget."""
        return self.all_counters().get(rule.id, (0, 0))

    def entries(self) -> list[tuple[Any, ...]]:
        return self.run("SELECT outcome, kind, amount_nano FROM ledger_entry ORDER BY id")

    def count(self, table: str) -> int:
        ((count,),) = self.run(f"SELECT count(*) FROM {table}")  # noqa: S608 - named in tests
        return int(count)

    def verify(self) -> verify.Report:
        report: verify.Report = self._with_django(lambda connection: verify.verify(connection, KEY))
        return report

    def rebuild(self) -> None:
        self._with_django(verify.rebuild)

    def warp(self, now: datetime) -> None:
        """Let the database say that it is `now`."""
        if self.backend == "postgres":
            if self.now is None:
                self.run("CREATE TABLE clock (now timestamptz)")
                self.run("INSERT INTO clock VALUES (now())")
                self.run(
                    "CREATE OR REPLACE FUNCTION ledger_now() RETURNS timestamptz LANGUAGE sql"
                    " VOLATILE AS 'SELECT now FROM clock'"
                )
            self.run("UPDATE clock SET now = ?", (now,))
        self.now = now

    def _insert(self, row: models.Model) -> None:
        """Insert a row as Django would, into this database."""
        fields = row._meta.concrete_fields
        columns = ", ".join(str(field.column) for field in fields)
        marks = ", ".join("%s" for _ in fields)

        def insert(connection: Any) -> None:
            values = [f.get_db_prep_save(f.pre_save(row, True), connection) for f in fields]
            with connection.cursor() as cursor:
                cursor.execute(
                    f"INSERT INTO {row._meta.db_table} ({columns}) VALUES ({marks})",  # noqa: S608 - names of our own
                    values,
                )

        self._with_django(insert)

    def _clock(self) -> datetime:
        return self.now or datetime.now(UTC)

    def _with_django(self, work: Callable[[Any], Any]) -> Any:
        """Run in a thread of its own: Django refuses to wait for SQL where an event loop runs."""

        def run() -> Any:
            with closing(self._django()) as connection:
                return work(connection)

        with ThreadPoolExecutor(1) as thread:
            return thread.submit(run).result()

    def _django(self) -> Any:
        engine = "django.db.backends." + ("sqlite3" if self.backend == "sqlite" else "postgresql")
        name = str(self.home / "mobius.sqlite3")
        settings: dict[str, Any] = {"ENGINE": engine, "NAME": name}
        if self.backend == "postgres":
            parts = conninfo_to_dict(self.url)
            settings["NAME"] = parts.pop("dbname")
            settings |= {key.upper(): str(value) for key, value in parts.items()}
        return ConnectionHandler({"default": settings})["default"]


class Clock:
    """A monotonic clock that goes with a warped database."""

    def __init__(self, ground: Ground, start: datetime) -> None:
        self._ground = ground
        self.now = start
        self.seconds = 1000.0
        ground.warp(start)

    def __call__(self) -> float:
        return self.seconds

    def forward(self, seconds: float) -> None:
        self.seconds += seconds
        self.now += timedelta(seconds=seconds)
        self._ground.warp(self.now)


@pytest.fixture
def ground(
    databases: Databases, tmp_path: Path, django_db_blocker: DjangoDbBlocker
) -> Iterator[Ground]:
    with django_db_blocker.unblock():
        ground = Ground(databases, tmp_path)
        yield ground
    ground.close()
    databases.drop(ground.url)
