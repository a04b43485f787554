"""Open the process's ledger on the database of the settings."""

from django.db.backends.base.base import BaseDatabaseWrapper

from tenants.money.store import Store


def open_store(connection: BaseDatabaseWrapper) -> Store:
    """Return the ledger's own connection to the database behind Django's."""
    settings = connection.settings_dict
    if connection.vendor == "sqlite":
        from tenants.money.sqlite import SqliteStore  # noqa: PLC0415 - one driver is enough

        return SqliteStore(str(settings["NAME"]))
    from tenants.money.postgres import PostgresStore  # noqa: PLC0415 - psycopg is optional

    given = {
        "dbname": settings["NAME"],
        "user": settings["USER"],
        "password": settings["PASSWORD"],
        "host": settings["HOST"],
        "port": settings["PORT"],
    }
    options = {key: value for key, value in settings["OPTIONS"].items() if key not in _DJANGO_ONLY}
    return PostgresStore(**{key: value for key, value in given.items() if value}, **options)


# What Django understands in OPTIONS and libpq does not.
_DJANGO_ONLY = {"pool", "assume_role", "isolation_level", "server_side_binding"}
