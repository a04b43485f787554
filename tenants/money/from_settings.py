"""Open the process's ledger on the database of the settings."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.utils import ConnectionHandler

from tenants.install import install_secret
from tenants.money.ledger import DEFAULT_CHARGES, Ledger
from tenants.money.lock import ProcessLock
from tenants.money.spool import Spool
from tenants.money.store import LEASE_S, Store
from tenants.money.types import Charges

# What Django understands in OPTIONS and libpq does not.
_DJANGO_ONLY = {"pool", "assume_role", "isolation_level", "server_side_binding"}


def make_ledger(lease_s: float = LEASE_S, charges: Charges = DEFAULT_CHARGES) -> Ledger:
    """Return a ledger that is not started; one for each process.

    The lease and what is charged at its end are the same for all processes of a database.
    """
    home = Path(settings.MOBIUS_HOME)
    embedded = connection.vendor == "sqlite"
    return Ledger(
        open_store(connection, lease_s),
        ledger_key,
        lock=ProcessLock(home / "ledger.lock") if embedded else None,
        spool=Spool(home / "spool"),
        charges=charges,
    )


def ledger_key() -> bytes:
    """Return the key of the hash chain; made on first use."""
    try:
        return install_secret("ledger_key")
    finally:
        connection.close()  # the writer's thread needs Django's connection only for this


def open_store(database: BaseDatabaseWrapper, lease_s: float = LEASE_S) -> Store:
    """Return the ledger's own connection to the database behind Django's, in the ledger's role."""
    configured = settings.LEDGER_DATABASE or database.settings_dict
    if database.vendor == "sqlite":
        from tenants.money.sqlite import SqliteStore  # noqa: PLC0415 - one driver is enough

        return SqliteStore(str(configured["NAME"]), lease_s=lease_s)
    from tenants.money.postgres import PostgresStore  # noqa: PLC0415 - psycopg is optional

    return PostgresStore(lease_s=lease_s, **postgres_parameters(database))


def postgres_parameters(database: BaseDatabaseWrapper) -> dict[str, Any]:
    """Return what libpq needs to reach the ledger's database in its role."""
    configured = settings.LEDGER_DATABASE or database.settings_dict
    given = {
        "dbname": configured["NAME"],
        "user": configured["USER"],
        "password": configured["PASSWORD"],
        "host": configured["HOST"],
        "port": configured["PORT"],
    }
    options = {key: each for key, each in configured["OPTIONS"].items() if key not in _DJANGO_ONLY}
    return {key: each for key, each in given.items() if each} | options


@contextmanager
def writing_connection() -> Iterator[BaseDatabaseWrapper]:
    """Give a connection of Django's in the ledger's role, for what corrects its counters."""
    if settings.LEDGER_DATABASE is None:
        yield connection
        return
    own = ConnectionHandler({"default": settings.LEDGER_DATABASE})["default"]
    try:
        yield own
    finally:
        own.close()
