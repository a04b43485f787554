"""Make the database's own functions and triggers; run after every migrate, as often as one likes.

They hold what no process may forget: configuration counts its changes, append-only tables refuse
to be rewritten. SQLite drops triggers when a migration remakes a table, hence after each.
"""

from collections.abc import Iterable

from django.apps import apps
from django.db import models, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from tenants.money import postgres_functions

APPEND_ONLY = ("ledger_entry", "tenants_auditevent")

# Written with every request or so; nobody's configuration depends on it.
_VOLATILE = {"last_used_at"}

_COUNT_UP = (
    "INSERT INTO tenants_configversion (id, version) VALUES (1, 1)"
    " ON CONFLICT (id) DO UPDATE SET version = tenants_configversion.version + 1;"
)


def install(connection: BaseDatabaseWrapper) -> None:
    """Make functions and triggers for the tables that exist."""
    tables = set(connection.introspection.table_names())
    if "tenants_configversion" not in tables:
        return
    statements = _postgresql if connection.vendor == "postgresql" else _sqlite
    watched = [model for model in configuration_models() if _table(model) in tables]
    append_only = [table for table in APPEND_ONLY if table in tables]
    with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO tenants_configversion (id, version) VALUES (1, 0) ON CONFLICT DO NOTHING"
        )
        for statement in statements(watched, append_only, ledger="ledger_bucket" in tables):
            cursor.execute(statement)


def configuration_models() -> list[type[models.Model]]:
    """Return the models whose every change is counted."""
    return [model for model in apps.get_models() if getattr(model, "is_configuration", False)]


def _table(model: type[models.Model]) -> str:
    return model._meta.db_table  # noqa: SLF001 - Django's documented name


def _columns(model: type[models.Model]) -> str:
    fields = model._meta.concrete_fields  # noqa: SLF001 - Django's documented name
    names = (field.column for field in fields)
    return ", ".join(f'"{name}"' for name in names if name not in _VOLATILE)


def _postgresql(
    watched: Iterable[type[models.Model]], append_only: Iterable[str], *, ledger: bool
) -> Iterable[str]:
    yield _function("mobius_configuration_changed", f"{_COUNT_UP} RETURN NULL;")
    yield _function(
        "mobius_append_only",
        # Emptying an empty table is no loss, and what test runners do between tests.
        """IF TG_OP = 'TRUNCATE' THEN
             EXECUTE format('SELECT count(*) FROM (SELECT 1 FROM %I LIMIT 1) r', TG_TABLE_NAME)
               INTO n;
             IF n = 0 THEN RETURN NULL; END IF;
           END IF;
           RAISE EXCEPTION '% is append-only: % refused', TG_TABLE_NAME, TG_OP
             USING ERRCODE = 'insufficient_privilege';""",
    )
    for model in watched:
        table = _table(model)
        yield f"DROP TRIGGER IF EXISTS mobius_configuration ON {table}"
        yield (
            f"CREATE TRIGGER mobius_configuration AFTER INSERT OR DELETE OR TRUNCATE"
            f" OR UPDATE OF {_columns(model)} ON {table}"
            f" FOR EACH STATEMENT EXECUTE FUNCTION mobius_configuration_changed()"
        )
    for table in append_only:
        for name, events, each in (
            ("mobius_append_only", "UPDATE OR DELETE", "ROW"),
            ("mobius_append_only_whole", "TRUNCATE", "STATEMENT"),
        ):
            yield f"DROP TRIGGER IF EXISTS {name} ON {table}"
            yield (
                f"CREATE TRIGGER {name} BEFORE {events} ON {table}"
                f" FOR EACH {each} EXECUTE FUNCTION mobius_append_only()"
            )
    if ledger:
        yield postgres_functions.LEDGER_NOW
        yield "DROP FUNCTION IF EXISTS ledger_apply"
        yield postgres_functions.LEDGER_APPLY
        yield postgres_functions.STORAGE


def _function(name: str, body: str) -> str:
    return (
        f"CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql"
        f" AS $$ DECLARE n bigint; BEGIN {body} END $$"
    )


def _sqlite(
    watched: Iterable[type[models.Model]], append_only: Iterable[str], *, ledger: bool
) -> Iterable[str]:
    del ledger  # SQLite has no stored functions: the writer does statement by statement
    for model in watched:
        table = _table(model)
        events = {"insert": "INSERT", "delete": "DELETE", "update": f"UPDATE OF {_columns(model)}"}
        for name, event in events.items():
            yield f"DROP TRIGGER IF EXISTS mobius_{table}_{name}"
            yield (
                f"CREATE TRIGGER mobius_{table}_{name} AFTER {event} ON {table}"
                f" BEGIN {_COUNT_UP} END"
            )
    for table in append_only:
        for event in ("UPDATE", "DELETE"):
            name = f"mobius_{table}_no_{event.lower()}"
            yield f"DROP TRIGGER IF EXISTS {name}"
            yield (
                f"CREATE TRIGGER {name} BEFORE {event} ON {table}"
                f" BEGIN SELECT RAISE(ABORT, '{table} is append-only: {event} refused'); END"
            )
