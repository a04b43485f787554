"""Two PostgreSQL roles: who faces callers cannot touch the ledger, who writes it cannot rewrite it.

One installation serves in both roles; then each tries what it may not, and its owner what it can.
"""

import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from msgspec import Struct
from psycopg import errors, sql

from tenants.roles import LEDGER, OTHERS
from tests.harness.books import Books
from tests.harness.canary import canary
from tests.harness.config import budget, configuration, model, nano_prices, tenant
from tests.harness.database import PostgresDatabases
from tests.harness.dialects import ANTHROPIC, OPENAI
from tests.harness.gateway import GatewayProcess, installed
from tests.upstream.client import Upstream

MODELS = [model("alpha", price=("0", "4.00"))]
COST_NANO = 8 * 4000
PASSWORD = canary("role-password")
ASKED = 4
REWRITES = (
    "UPDATE ledger_entry SET amount_nano = 0",
    "DELETE FROM ledger_entry",
    "TRUNCATE ledger_entry",
)
# What only the writer may do, or nobody.
NOT_THE_APPS = (
    *REWRITES,
    "INSERT INTO ledger_entry DEFAULT VALUES",
    "UPDATE ledger_bucket SET used_nano = 0",
    "DELETE FROM ledger_bucket",
    "DELETE FROM ledger_hold",
    "UPDATE ledger_writer SET last_seq = 0",
    "DELETE FROM ledger_alert",
    "UPDATE ledger_alert SET threshold_ppm = 1",
    "DELETE FROM ledger_idempotency",
    "UPDATE ledger_run SET steps = 0",
    "UPDATE tenants_auditevent SET actor = 'nobody'",
    "DELETE FROM tenants_auditevent",
    "ALTER TABLE ledger_entry DISABLE TRIGGER USER",
    "DROP FUNCTION ledger_now()",
    "SELECT ledger_apply('{}', '{}', '{}', '{}', '{}', '[]', '[]', 1, 0, '')",
)
NOT_THE_WRITERS = (
    *REWRITES,
    "DELETE FROM ledger_bucket",
    "UPDATE ledger_budget SET limit_nano = NULL",
    "SELECT * FROM tenants_installsecret",
    "SELECT * FROM tenants_apikey",
    "SELECT * FROM llm_gateway_requestlog",
    "ALTER TABLE ledger_entry DISABLE TRIGGER USER",
)
BACKGROUND = "from llm_gateway.service.periodic import *; deliver_alerts(); verify_ledger()"

pytestmark = pytest.mark.promise("D3")


class Split(Struct):
    """An installation that serves in two roles. `url` is its owner's."""

    gateway: GatewayProcess
    url: str
    app: str
    writer: str

    def url_of(self, role: str) -> str:
        parts = urlsplit(self.url)
        place = f"{parts.hostname}:{parts.port or 5432}"
        return parts._replace(netloc=f"{role}:{PASSWORD}@{place}").geturl()

    def owner(self, statement: str) -> list[tuple[object, ...]]:
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(sql.SQL(statement))
            return cursor.fetchall() if cursor.description else []

    def as_owner(self, *arguments: str) -> str:
        return self.gateway.managed(*arguments, DATABASE_URL=self.url, LEDGER_DATABASE_URL="")


@pytest.fixture(scope="module")
def split(
    postgres_databases: PostgresDatabases,
    upstream_process: Upstream,
    tmp_path_factory: pytest.TempPathFactory,
    output: Path,
) -> Iterator[Split]:
    home, name = tmp_path_factory.mktemp("split"), f"{os.getpid()}_{secrets.token_hex(3)}"
    roles = [f"mobius_app_{name}", f"mobius_writer_{name}"]
    with installed(postgres_databases, home, output) as gateway:
        found = Split(gateway, gateway.environment["DATABASE_URL"], *roles)
        for _ in range(2):  # again changes nothing
            gateway.managed("grant_roles", "--app", roles[0], "--writer", roles[1])
        for role in roles:
            found.owner(f"ALTER ROLE {role} LOGIN PASSWORD '{PASSWORD}'")
        gateway.environment |= {
            "DATABASE_URL": found.url_of(found.app),
            "LEDGER_DATABASE_URL": found.url_of(found.writer),
        }
        upstream_process.reset()
        upstream_process.prices(**nano_prices(MODELS))
        rule = budget("1", soft=[0.00001])
        wanted = configuration(
            upstream_process.base_url, models=MODELS, routes=[], tenants=[tenant(budgets=[rule])]
        )
        gateway.apply(wanted)
        gateway.serve()
        spend(gateway)
        yield found
    with psycopg.connect(urlsplit(found.url)._replace(path="/postgres").geturl()) as server:
        for role in roles:
            server.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


def spend(gateway: GatewayProcess) -> None:
    """Go where the writer writes: entries, claims, steps of a run, a threshold."""
    key = {"Idempotency-Key": "once"}
    told = [
        OPENAI.ask(gateway.url, "alpha", headers=key),
        OPENAI.ask(gateway.url, "alpha", headers=key),
        OPENAI.ask(gateway.url, "alpha", stream=True, headers={"x-mobius-run": "r"}),
        ANTHROPIC.ask(gateway.url, "alpha", stream=True),
        OPENAI.ask(gateway.url, "alpha"),
    ]
    assert {each.status for each in told} == {200}
    assert told[1].headers["x-mobius-replayed"] == "true"


def passed(split: Split, role: str, statements: Sequence[str]) -> list[str]:
    """Run each statement in a role; return those that no grant refused."""
    with psycopg.connect(split.url_of(role), autocommit=True) as connection:
        return [each for each in statements if not refused(connection, each)]


def refused(connection: psycopg.Connection, statement: str) -> bool:
    try:
        connection.execute(sql.SQL(statement))
    except errors.InsufficientPrivilege as error:
        # The trigger's own refusal has the same class: the role has to be refused before.
        return "append-only" not in str(error)
    return False


def test_the_gateway_works_in_both_roles(split: Split) -> None:
    gateway = split.gateway
    gateway.managed("stop", "run", "acme/r")
    stopped = OPENAI.ask(gateway.url, "alpha", headers={"x-mobius-run": "r"})
    assert stopped.status == 403
    gateway.managed("retention")
    gateway.managed("shell", "-c", BACKGROUND)
    books = Books(gateway)
    assert [row["ok"] for row in books.rows("ledger_check")] == [True]
    assert [row["sent_at"] is not None for row in books.rows("ledger_alert")] == [True]
    assert [row["amount_nano"] for row in books.entries()] == [COST_NANO] * ASKED
    assert gateway.managed("verify_ledger", "--rebuild")


def test_the_role_that_serves_cannot_write_the_ledger(split: Split) -> None:
    assert passed(split, split.app, NOT_THE_APPS) == []


def test_the_role_that_writes_the_ledger_cannot_rewrite_it(split: Split) -> None:
    assert passed(split, split.writer, NOT_THE_WRITERS) == []


def test_without_the_grants_the_triggers_refuse_and_without_both_nobody_does(split: Split) -> None:
    """Mutation control: what refuses above are the grants."""
    split.owner(f"GRANT UPDATE, DELETE, TRUNCATE ON ledger_entry TO {split.writer}")
    with psycopg.connect(split.url_of(split.writer)) as connection:
        for statement in REWRITES:
            with pytest.raises(errors.InsufficientPrivilege, match="append-only"):
                connection.execute(sql.SQL(statement))
            connection.rollback()
        split.owner("ALTER TABLE ledger_entry DISABLE TRIGGER USER")
        cursor = connection.execute(sql.SQL(REWRITES[1]))
        assert cursor.rowcount == ASKED
        connection.rollback()
    split.owner("ALTER TABLE ledger_entry ENABLE TRIGGER USER")
    split.as_owner("grant_roles", "--app", split.app, "--writer", split.writer)
    assert passed(split, split.writer, REWRITES) == []


def test_every_table_of_the_ledger_is_granted_by_name(split: Split) -> None:
    tables = {str(name) for (name,) in split.owner("SELECT tablename FROM pg_tables")}
    assert {name for name in tables if name.startswith("ledger_")} == LEDGER.keys()
    assert OTHERS.keys() <= tables


def test_who_migrates_is_told_that_serving_so_is_not_the_least(split: Split) -> None:
    arguments = ("check", "--deploy", "--database", "default")
    for url, warns in ((split.url, True), (split.url_of(split.app), False)):
        run = split.gateway.manage(*arguments, DATABASE_URL=url)
        assert ("mobius.W001" in run.stderr) is warns, run.stderr


def test_roles_that_bind_nothing_are_refused(split: Split) -> None:
    owner = urlsplit(split.url).username
    assert owner
    environment = {"DATABASE_URL": split.url, "LEDGER_DATABASE_URL": ""}
    for arguments, says in (
        (("--app", owner), f"{owner} is a superuser"),
        (("--app", "same", "--writer", "same"), "have to be two roles"),
    ):
        run = split.gateway.manage("grant_roles", *arguments, **environment)
        assert (run.code, says in run.stderr) == (1, True)


def test_a_ledger_in_another_database_is_refused(split: Split) -> None:
    other = urlsplit(split.url_of(split.writer))._replace(path="/postgres").geturl()
    run = split.gateway.manage("check", LEDGER_DATABASE_URL=other)
    assert run.code != 0
    assert "LEDGER_DATABASE_URL has to name the same PostgreSQL database" in run.stderr


@contextmanager
def tampered(split: Split, *statements: str) -> Iterator[None]:
    """Do what only the owner can, and put everything back."""
    split.owner("CREATE TABLE kept AS SELECT * FROM ledger_entry")
    split.owner("ALTER TABLE ledger_entry DISABLE TRIGGER USER")
    for statement in statements:
        split.owner(statement)
    try:
        yield
    finally:
        split.owner("DELETE FROM ledger_entry")
        split.owner("INSERT INTO ledger_entry OVERRIDING SYSTEM VALUE SELECT * FROM kept")
        split.owner("DROP TABLE kept")
        split.owner("ALTER TABLE ledger_entry ENABLE TRIGGER USER")


def test_what_its_owner_tampers_with_is_named(split: Split) -> None:
    books = Books(split.gateway)
    changed, deleted, following = sorted(books.entries(), key=lambda row: row["writer_seq"])[:3]
    with tampered(
        split,
        f"UPDATE ledger_entry SET amount_nano = 1 WHERE id = {changed['id']}",  # noqa: S608 - ours
        f"DELETE FROM ledger_entry WHERE id = {deleted['id']}",  # noqa: S608 - ours
    ):
        audit = books.audit()
    assert (audit.code, audit.ok) == (1, False)
    named = {each["row"]: each["what"] for each in audit.differences if "row" in each}
    assert len(named) == 2
    for entry, says in ((changed, "was changed"), (following, "1 before it are missing")):
        assert says in named[f"entry {entry['request_id']}/1 attempt 0"]
    assert books.audit().ok


def test_counters_are_rebuilt_as_they_were(split: Split) -> None:
    books = Books(split.gateway)
    before = books.rows("ledger_bucket")
    split.owner("UPDATE ledger_bucket SET used_nano = 1, held_nano = 2")
    assert books.audit().code == 1
    split.gateway.managed("verify_ledger", "--rebuild")
    assert books.rows("ledger_bucket") == before
