"""`verify_ledger` as an operator runs it."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tenants.ids import new_id
from tenants.money.ops import Admit
from tests.harness.gateway import environment, manage
from tests.unit.money.ground import Clock, Ground, ground
from tests.unit.money.ground_values import request

__all__ = ["ground"]


@pytest.mark.promise("D3")
def test_verify_ledger_says_what_differs_and_rebuild_mends_it(ground: Ground, output: Path) -> None:
    variables = environment(ground.home, ground.url)
    clean = manage(output, variables, "verify_ledger", "--json")
    assert (clean.code, json.loads(clean.stdout)) == (
        0,
        {"ok": True, "entries": 0, "terminal_entries": 0, "holds": 0, "differences": []},
    )
    rule = ground.budget(1000)
    ground.run(
        "INSERT INTO ledger_bucket (tenant_id, budget_id, subject, period_key, starts_at,"
        " alerted_ppm, used_nano, held_nano) VALUES (1, ?, '', 'total UTC', {now}, 0, 5, 0)",
        (rule.id,),
    )
    wrong = manage(output, variables, "verify_ledger")
    assert wrong.code == 1
    assert wrong.stdout.splitlines()[0].startswith(f"{rule.name} total UTC: used is 0.000000005")
    assert manage(output, variables, "verify_ledger", "--rebuild").code == 0


def test_migrating_again_changes_nothing(ground: Ground, output: Path) -> None:
    again = manage(output, environment(ground.home, ground.url), "migrate")
    assert again.code == 0, again.stderr
    before = ground.run("SELECT version FROM tenants_configversion")
    ground.budget(5)
    assert ground.run("SELECT version FROM tenants_configversion") > before


STATUS = """
from datetime import UTC, datetime
from tenants.money.status import budget_status
from tenants.types import BudgetRule
rules = [
    BudgetRule(id=id, name="b", scope="tenant", owner_id=1, period="day", zone="UTC",
               limit_nano=1000, hard=True, mode="strict") for id in ({used}, {unused})
]
for each in budget_status(1, [(rule, "") for rule in rules], datetime(2026, 5, 6, 3, tzinfo=UTC)):
    print(each.used_nano, each.held_nano, each.remaining_nano, each.period.end.date())
"""


def test_the_status_of_a_budget_is_that_of_its_running_period(ground: Ground, output: Path) -> None:
    used, unused = ground.budget(1000, period="day"), ground.budget(1000, period="day")
    clock = Clock(ground, datetime(2026, 5, 5, 23, tzinfo=UTC))
    session = ground.session(clock)
    session.commit([Admit(new_id(), request(300, used))])
    clock.forward(7200)
    session.commit([Admit(new_id(), request(100, used))])
    session.store.close()
    script = STATUS.format(used=used.id, unused=unused.id)
    run = manage(output, environment(ground.home, ground.url), "shell", "-v", "0", "-c", script)
    assert run.stdout.splitlines() == ["0 100 900 2026-05-07", "0 0 1000 2026-05-07"], run.stderr
