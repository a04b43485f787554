"""Open the process's ledger on the database of the settings."""

from pathlib import Path

from django.conf import settings
from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper

from tenants.install import install_secret
from tenants.money.ledger import Ledger
from tenants.money.lock import ProcessLock
from tenants.money.spool import Spool
from tenants.money.store import Store

# What Django understands in OPTIONS and libpq does not.
_DJANGO_ONLY = {"pool", "assume_role", "isolation_level", "server_side_binding"}


def make_ledger() -> Ledger:
    """Return a ledger that is not started; one for each process."""
    home = Path(settings.MOBIUS_HOME)
    embedded = connection.vendor == "sqlite"
    return Ledger(
        open_store(connection),
        ledger_key,
        lock=ProcessLock(home / "ledger.lock") if embedded else None,
        spool=Spool(home / "spool"),
    )


def ledger_key() -> bytes:
    """Return the key of the hash chain; made on first use."""
    try:
        return install_secret("ledger_key")
    finally:
        connection.close()  # the writer's thread needs Django's connection only for this


def open_store(database: BaseDatabaseWrapper) -> Store:
    """Return the ledger's own connection to the database behind Django's."""
    configured = database.settings_dict
    if database.vendor == "sqlite":
        from tenants.money.sqlite import SqliteStore  # noqa: PLC0415 - one driver is enough

        return SqliteStore(str(configured["NAME"]))
    from tenants.money.postgres import PostgresStore  # noqa: PLC0415 - psycopg is optional

    given = {
        "dbname": configured["NAME"],
        "user": configured["USER"],
        "password": configured["PASSWORD"],
        "host": configured["HOST"],
        "port": configured["PORT"],
    }
    options = {key: each for key, each in configured["OPTIONS"].items() if key not in _DJANGO_ONLY}
    return PostgresStore(**{key: each for key, each in given.items() if each}, **options)
