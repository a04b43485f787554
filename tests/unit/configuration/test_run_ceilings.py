"""The ceiling of agent runs is a budget: a file makes, changes, exports and removes it."""

from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.apps import apps
from django.core.exceptions import ValidationError
from django.db import connection

from llm_gateway.configuration.apply import apply
from llm_gateway.configuration.changes import Report
from llm_gateway.configuration.document import ConfigurationError
from llm_gateway.configuration.export import export
from llm_gateway.configuration.load import parse
from tenants.buckets import RUN_CEILING
from tenants.models import Budget, Tenant

pytestmark = pytest.mark.django_db


def applied(runs: str, **tenant: str) -> Report:
    more = "".join(f", {name}: {value}" for name, value in tenant.items())
    text = f"tenants: [{{name: acme, runs: {runs}{more}}}]"
    return apply(parse(text), folder=Path("/nowhere"), actor="apply test.yml")


def ceiling() -> Budget:
    found: Budget = Budget.objects.of(Tenant.objects.get()).get(name=RUN_CEILING)
    return found


def test_a_ceiling_is_a_hard_budget_for_each_run_and_keeps_its_row_when_it_changes() -> None:
    first = applied('{budget: "2.00", max_steps: 5}')
    assert f"budget acme/{RUN_CEILING}" in first.created
    made = ceiling()
    assert (made.limit_nano, made.per, made.period, made.hard, made.mode) == (
        *(2_000_000_000, "run", "total"),
        *(True, "strict"),
    )
    assert Tenant.objects.get().runs == {"max_steps": 5}
    assert not applied('{budget: "2.00", max_steps: 5}').differs
    assert applied('{budget: "3.00", max_steps: 5}').updated == [f"budget acme/{RUN_CEILING}"]
    assert (ceiling().pk, ceiling().limit_nano) == (made.pk, 3_000_000_000)


def test_it_is_exported_where_it_was_said_and_not_among_the_budgets() -> None:
    applied('{budget: "2.00", max_steps: 5}', budgets='[{name: run, limit: "9", per: run}]')
    exported = parse(export())
    (tenant,) = exported.tenants
    assert (tenant.runs.budget, tenant.runs.max_steps) == (2_000_000_000, 5)
    assert [budget.name for budget in tenant.budgets] == ["run"]
    assert not apply(exported, folder=Path("/nowhere"), actor="again").differs


def test_left_out_again_it_goes_but_not_one_that_the_console_made() -> None:
    applied('{budget: "2.00"}')
    assert applied("{}").removed == [f"budget acme/{RUN_CEILING}"]
    Budget.all_tenants_unsafe.create(
        tenant=Tenant.objects.get(), name=RUN_CEILING, limit_nano=1, period="total", per="run"
    )
    assert applied("{}").removed == []
    assert parse(export()).tenants[0].runs.budget == 1


@pytest.mark.parametrize(
    ("tenant", "said"),
    [
        ({"budgets": f"[{{name: {RUN_CEILING}, limit: 1}}]"}, "budgets[0].name: runs.budget is"),
        (
            {"budgets": "[" + ",".join(f"{{name: b{n}, limit: 1}}" for n in range(8)) + "]"},
            "9 budgets bind one call; 8 may",
        ),
    ],
)
def test_its_name_is_taken_and_it_counts_among_the_budgets_of_a_call(
    tenant: dict[str, str], said: str
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        applied('{budget: "2.00"}', **tenant)
    assert [said in str(problem) for problem in refused.value.problems] == [True]


@pytest.mark.parametrize(
    "other", [{"hard": False}, {"period": "day"}, {"per": ""}, {"limit_nano": None}]
)
def test_the_console_cannot_make_another_kind_of_budget_of_its_name(other: dict[str, Any]) -> None:
    tenant = Tenant.objects.create(name="acme")
    usual = {"limit_nano": 1, "period": "total", "per": "run"}
    Budget(tenant=tenant, name=RUN_CEILING, **usual).clean()
    with pytest.raises(ValidationError, match="the ceiling of each agent run"):
        Budget(tenant=tenant, name=RUN_CEILING, **usual | other).clean()


def test_one_that_was_only_written_down_becomes_a_budget() -> None:
    Tenant.objects.create(name="acme", runs={"budget": "2.00", "max_steps": 5})
    Tenant.objects.create(name="globex", runs={"max_seconds": 9})
    migration = import_module("tenants.migrations.0006_run_ceilings")
    migration.keep_ceilings(apps, SimpleNamespace(connection=connection))
    (made,) = Budget.all_tenants_unsafe.all()
    assert (str(made), made.limit_nano, made.is_run_ceiling) == (
        *(f"acme/{RUN_CEILING}", 2_000_000_000),
        True,
    )
    assert [tenant.runs for tenant in Tenant.objects.order_by("name")] == [
        {"max_steps": 5},
        {"max_seconds": 9},
    ]
