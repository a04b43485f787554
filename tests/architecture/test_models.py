"""What models promise is there in both databases: triggers, migrations, tenant-scoped managers."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.apps import apps
from django.core.management import call_command

from tenants.database import APPEND_ONLY
from tenants.models import AuditEvent, TenantOwned
from tenants.money.models import Entry
from tests.harness.database import Databases

OURS = [model for model in apps.get_models() if model.__module__.startswith(("llm_", "tenants"))]
CONFIGURATION = [model for model in OURS if getattr(model, "is_configuration", False)]
OWNED = [model for model in OURS if issubclass(model, TenantOwned)]
# Of the operator as well as of tenants: shared providers and sinks have none, and log and audit
# keep what outlives its tenant; an operator stops whatever runs.
NOT_SCOPED = {"Provider", "RequestLog", "AlertSink", "Price", "TenantMargin", "StopAsked"} | {
    "AuditEvent"
}


@pytest.fixture
def triggers(databases: Databases, tmp_path: Path) -> Iterator[set[tuple[str, str]]]:
    """Yield (table, trigger) of a freshly migrated database."""
    url = databases.create(tmp_path)
    if databases.backend == "sqlite":
        with sqlite3.connect(url.partition(":///")[2]) as lite:
            rows = lite.execute("SELECT tbl_name, name FROM sqlite_master WHERE type = 'trigger'")
            found = set(rows.fetchall())
        lite.close()
    else:
        query = "SELECT tgrelid::regclass::text, tgname FROM pg_trigger WHERE NOT tgisinternal"
        with psycopg.connect(url) as postgres:
            found = set(postgres.execute(query).fetchall())
    yield found
    databases.drop(url)


def test_every_change_of_configuration_is_counted(
    triggers: set[tuple[str, str]], databases: Databases
) -> None:
    assert len(CONFIGURATION) > 8
    for model in CONFIGURATION:
        table = model._meta.db_table
        names = {name for place, name in triggers if place == table}
        if databases.backend == "sqlite":
            assert {f"mobius_{table}_{on}" for on in ("insert", "update", "delete")} <= names
        else:
            assert "mobius_configuration" in names


def test_what_is_append_only_refuses_to_be_rewritten(
    triggers: set[tuple[str, str]], databases: Databases
) -> None:
    assert {Entry._meta.db_table, AuditEvent._meta.db_table} == set(APPEND_ONLY)
    for table in APPEND_ONLY:
        names = {name for place, name in triggers if place == table}
        if databases.backend == "sqlite":
            assert {f"mobius_{table}_no_update", f"mobius_{table}_no_delete"} <= names
        else:
            assert {"mobius_append_only", "mobius_append_only_whole"} <= names


@pytest.mark.django_db
def test_no_migration_is_missing() -> None:
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)


@pytest.mark.parametrize("model", OWNED, ids=lambda model: model.__name__)
def test_rows_of_a_tenant_are_not_listed_without_one(model: Any) -> None:
    with pytest.raises(TypeError, match=r"objects\.of\(tenant\)"):
        model.objects.all()
    with pytest.raises(TypeError, match=r"objects\.of\(tenant\)"):
        model.objects.filter(pk=1)


def test_every_other_model_with_a_tenant_is_named_here() -> None:
    with_tenant = {
        model.__name__
        for model in OURS
        if any(field.name in {"tenant", "tenant_id"} for field in model._meta.get_fields())
    }
    assert with_tenant - {model.__name__ for model in OWNED} == NOT_SCOPED
