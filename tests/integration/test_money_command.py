"""`verify_ledger` as an operator runs it."""

import json
from pathlib import Path

import pytest

from tests.harness.gateway import environment, manage
from tests.unit.money.ground import Ground, ground

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
