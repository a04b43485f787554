"""Give two PostgreSQL roles no more than they need: one serves, the other alone writes the ledger.

Triggers refuse to rewrite entries whoever asks, but the owner of a table may switch them off. With
roles, nothing that a serving process can log in as is that owner.
"""

from collections.abc import Iterator

from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper
from msgspec import Struct

APP, WRITER = "mobius_app", "mobius_writer"
_ALL = "SELECT, INSERT, UPDATE, DELETE"

# Table: what the application may, what the writer may. Of all others: everything, nothing.
LEDGER: dict[str, tuple[str, str]] = {
    "ledger_budget": (_ALL, "SELECT"),
    "ledger_bucket": ("SELECT", "SELECT, INSERT, UPDATE"),
    "ledger_hold": ("SELECT", _ALL),
    "ledger_entry": ("SELECT", "SELECT, INSERT"),
    "ledger_writer": ("SELECT", "SELECT, INSERT, UPDATE"),
    "ledger_alert": ("SELECT, UPDATE (sent_at)", "SELECT, INSERT"),
    "ledger_alarm": ("SELECT, UPDATE (sent_at)", "SELECT, INSERT"),
    "ledger_idempotency": ("SELECT", _ALL),
    "ledger_run": ("SELECT, INSERT, UPDATE (stopped_at)", "SELECT, INSERT, UPDATE"),
    "ledger_check": (_ALL, ""),
}
OTHERS: dict[str, tuple[str, str]] = {"tenants_auditevent": ("SELECT, INSERT", "")}

# Who makes and drops partitions has to own them.
_PARTITIONED = """SELECT c.relname, r.rolname FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner
 WHERE c.relnamespace = 'public'::regnamespace
  AND (c.relkind = 'p' OR (c.relkind = 'r' AND c.relispartition)) ORDER BY c.relkind DESC"""


class RoleError(Exception):
    """A role that would not bind; the text says why."""


class Roles(Struct, frozen=True, kw_only=True):
    app: str = APP
    writer: str = WRITER


def grant(connection: BaseDatabaseWrapper, roles: Roles) -> list[str]:
    """Make the roles that are missing and give both what they need; return those it made.

    All of it or nothing, as often as one likes. Needs the owner of the tables. Raises RoleError.
    """
    with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
        made = [role for role in (roles.app, roles.writer) if not _exists(cursor, role)]
        for role in made:
            cursor.execute(f"CREATE ROLE {_quoted(role)} NOLOGIN")
        for role in (roles.app, roles.writer):
            _check_binds(cursor, role)
        for statement in _grants(roles, connection.introspection.table_names(cursor)):
            cursor.execute(statement)
        _own_partitions(cursor, roles.app)
    return made


def _exists(cursor: CursorWrapper, role: str) -> bool:
    cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role])
    return cursor.fetchone() is not None


def _check_binds(cursor: CursorWrapper, role: str) -> None:
    cursor.execute(
        "SELECT rolsuper, pg_has_role(rolname, tableowner, 'MEMBER') FROM pg_roles, pg_tables"
        " WHERE rolname = %s AND tablename = 'ledger_entry' AND schemaname = 'public'",
        [role],
    )
    row = cursor.fetchone()
    if row is None:
        raise RoleError("There is no ledger here yet: run `manage.py migrate` first.")
    if row[0]:
        raise RoleError(f"{role} is a superuser: nothing binds it.")
    if row[1]:
        raise RoleError(f"{role} owns the ledger's tables, so no grant binds it.")


def _grants(roles: Roles, tables: list[str]) -> Iterator[str]:
    app, writer = _quoted(roles.app), _quoted(roles.writer)
    yield f"GRANT USAGE ON SCHEMA public TO {app}, {writer}"
    # What a later migration adds works at once; the next run trims it where it is the ledger's.
    yield f"ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT {_ALL} ON TABLES TO {app}"
    for table in sorted(tables):
        yield f"REVOKE ALL ON {_quoted(table)} FROM {app}, {writer}"
        for role, may in zip((app, writer), may_do(table), strict=True):
            if may:
                yield f"GRANT {may} ON {_quoted(table)} TO {role}"


def may_do(table: str) -> tuple[str, str]:
    """Return what the application and the writer may do with a table."""
    return (LEDGER | OTHERS).get(table, (_ALL, ""))


def _own_partitions(cursor: CursorWrapper, app: str) -> None:
    """Let the application make and drop the partitions of its request log."""
    cursor.execute(_PARTITIONED)
    others = [(table, owner) for table, owner in cursor.fetchall() if owner != app]
    if not others:
        return
    cursor.execute(f"GRANT CREATE ON SCHEMA public TO {_quoted(app)}")
    cursor.execute(f"GRANT {_quoted(app)} TO CURRENT_USER")
    for table, _ in others:
        cursor.execute(f"ALTER TABLE {_quoted(table)} OWNER TO {_quoted(app)}")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
