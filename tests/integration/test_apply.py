"""The commands as operators type them, on both databases: exit codes, stdout and stderr."""

import json
import stat
from pathlib import Path

import pytest

from tests.harness.canary import canary, master_key
from tests.harness.gateway import MASTER_KEY, GatewayProcess, Run
from tests.unit.configuration.files import EVERYTHING

PROVIDER_SECRET, KEY_VALUE = canary("provider-key"), canary("api-key")
REPORT = {"created", "updated", "unchanged", "removed", "keys"}


def written(gateway: GatewayProcess, text: str, name: str = "mobius.yml") -> str:
    path = gateway.home / name
    path.write_text(text)
    return str(path)


def complaint(run: Run) -> str:
    """Return what a refused command says: one sentence on stderr, nothing on stdout."""
    assert (run.code, run.stdout) == (1, "")
    return run.stderr.strip()


def test_apply_plan_export_and_prune_agree(gateway: GatewayProcess) -> None:
    file = written(gateway, EVERYTHING)
    plan = gateway.manage("apply", file, "--plan", "--json")
    assert plan.code == 2
    first = json.loads(gateway.managed("apply", file, "--json"))
    assert first.keys() == REPORT
    assert json.loads(plan.stdout)["created"] == first["created"]
    assert list(first["keys"]) == ["acme/made"]
    assert first["keys"]["acme/made"].startswith("mob_")

    exported = gateway.managed("export")
    again = written(gateway, exported, "exported.yml")
    unchanged = gateway.manage("apply", again, "--plan", "--prune")
    assert (unchanged.code, unchanged.stdout.splitlines()) == (
        0,
        [f"0 would be created, 0 updated, 0 removed; {len(first['created']) - 2} unchanged."],
    )

    less = written(gateway, "tenants: [{name: acme}]", "less.yml")
    removed = json.loads(gateway.managed("apply", less, "--prune", "--json"))["removed"]
    assert "provider openai" in removed
    assert gateway.managed("export").splitlines() == [
        "version: 1",
        "tenants:",
        "- name: acme",
    ]


def test_secrets_come_from_the_environment_and_from_files(gateway: GatewayProcess) -> None:
    (gateway.home / "provider-secret").write_text(PROVIDER_SECRET)
    file = written(
        gateway,
        "providers: [{name: o, kind: openai, keys: [{name: main, value: file:provider-secret}]}]\n"
        "tenants: [{name: acme, keys: [{name: dev, value: env:DEV_KEY}]}]\n",
    )
    assert complaint(gateway.manage("apply", file)) == (
        "CommandError: tenants[0].keys[0].value: the environment variable DEV_KEY is not set"
    )
    report = json.loads(gateway.manage("apply", file, "--json", DEV_KEY=KEY_VALUE).stdout)
    assert report["keys"] == {}
    assert not json.loads(gateway.manage("apply", file, "--json", DEV_KEY=KEY_VALUE).stdout)[
        "updated"
    ]


def test_a_wrong_file_is_refused_and_nothing_of_it_stays(gateway: GatewayProcess) -> None:
    before = gateway.managed("export")
    wrong = written(gateway, EVERYTHING.replace("model: own", "model: owm"))
    assert complaint(gateway.manage("apply", wrong)) == (
        "CommandError: routes[0].targets[1].model: there is no model 'owm'; did you mean own?"
    )
    missing = complaint(gateway.manage("apply", str(gateway.home / "nowhere.yml")))
    assert missing.endswith("nowhere.yml cannot be read: No such file or directory")
    assert gateway.managed("export") == before


def test_a_rotated_master_key_opens_everything_alone(gateway: GatewayProcess) -> None:
    file = written(gateway, EVERYTHING)
    gateway.managed("apply", file)
    new = master_key()
    refused = gateway.manage("rotate_master_key", MOBIUS_MASTER_KEY=new)
    assert "does not open with this master key" in complaint(refused)
    said = gateway.managed("rotate_master_key", MOBIUS_MASTER_KEY=f"{new},{MASTER_KEY}")
    assert said.startswith("3 provider keys and ")
    # The key's value is only known by its digest: the pepper has to be the same one.
    plan = gateway.manage("apply", file, "--plan", MOBIUS_MASTER_KEY=new)
    assert (plan.code, plan.stdout.partition(";")[0]) == (
        0,
        "0 would be created, 0 updated, 0 removed",
    )


@pytest.mark.parametrize("database_backend", ["sqlite"], indirect=True)
def test_the_demo_is_set_up_once_and_said_every_time(gateway: GatewayProcess) -> None:
    first = gateway.managed("setup_demo", "--port", "8123")
    starts = ("Console URL ", "Login admin / ", "Key mob_", "curl http://127.0.0.1:8123/v1/chat/")
    for line, start in zip(first.splitlines(), starts, strict=True):
        assert line.startswith(start)
    assert gateway.managed("setup_demo", "--port", "8123", LLM_DAILY_BUDGET="1") == first
    kept = Path(gateway.home, "demo_login")
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert json.loads(kept.read_text())["key"] in first


@pytest.mark.parametrize("database_backend", ["sqlite"], indirect=True)
def test_an_installation_with_tenants_of_its_own_gets_no_demo(gateway: GatewayProcess) -> None:
    gateway.managed("apply", written(gateway, "tenants: [{name: acme}]"))
    assert "no demo login" in gateway.managed("setup_demo")
    assert "- name: demo" not in gateway.managed("export")


@pytest.mark.parametrize("database_backend", ["sqlite"], indirect=True)
def test_a_wrong_environment_value_stops_the_demo_by_name(gateway: GatewayProcess) -> None:
    assert complaint(gateway.manage("setup_demo", LLM_DAILY_BUDGET="lots")) == (
        "CommandError: LLM_DAILY_BUDGET: 'lots' is not an amount in US dollars such as \"2.50\""
    )
    assert not Path(gateway.home, "demo_login").exists()
