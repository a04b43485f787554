"""What the configuration was is kept once per change, and comes back by a plan that says it all."""

import zlib
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from hypothesis import HealthCheck, given, settings

from llm_gateway import models, vault
from llm_gateway.configuration import schema
from llm_gateway.configuration.apply import apply
from llm_gateway.configuration.export import export
from llm_gateway.configuration.load import parse
from llm_gateway.configuration.rollback import StalePlanError, plan_roll_back, roll_back
from llm_gateway.configuration.states import MOST_STATES, difference, keep_state
from llm_gateway.models import ConfigurationState
from tenants import audit
from tenants.keys import key_digest
from tenants.models import ApiKey, AuditEvent, Budget, Tenant
from tenants.money.models import Bucket
from tests.unit.configuration.files import API_KEY, EVERYTHING, files
from tests.unit.configuration.test_apply import undone

pytestmark = pytest.mark.django_db


def applied(text: str) -> None:
    apply_file(parse(text))


def apply_file(file: schema.File) -> None:
    apply(file, folder=Path("/nowhere"), actor="apply test.yml", prune=True)


def states() -> list[ConfigurationState]:
    return list(ConfigurationState.objects.order_by("number"))


def newest() -> ConfigurationState:
    return states()[-1]


def rolled_back(state: ConfigurationState) -> Any:
    return roll_back(state, actor="operator", version=plan_roll_back(state).version)


# --- what is kept


def test_each_change_is_a_state_whoever_made_it() -> None:
    keep_state()
    applied("tenants: [{name: acme}]")
    Tenant.objects.update(time_zone="Europe/Berlin")
    keep_state()
    tenant = Tenant.objects.get()
    tenant.log_payloads = "full"
    tenant.save()
    audit.record("operator", "updated", tenant)
    keep_state()
    keep_state()
    assert [state.made_by for state in states()] == ["", "apply test.yml", "", "operator"]
    assert [state.number for state in states()] == [1, 2, 3, 4]
    assert newest().text == export()
    assert "+  time_zone: Europe/Berlin" in difference(states()[1].text, states()[2].text)


def test_an_apply_parts_what_was_changed_before_it_and_a_plan_keeps_nothing() -> None:
    Tenant.objects.create(name="acme")
    file = parse("tenants: [{name: globex}]")
    apply(file, folder=Path("/nowhere"), actor="apply", plan=True)
    assert states() == []
    apply(file, folder=Path("/nowhere"), actor="apply")
    first, second = states()
    assert "globex" not in first.text
    assert second.text == export()


def test_a_change_that_no_file_says_makes_no_state() -> None:
    applied(EVERYTHING)
    before = newest()
    ApiKey.all_tenants_unsafe.filter(name="made").update(digest="d" * 64)
    keep_state()
    after = newest()
    assert (after.number, after.at) == (before.number, before.at)
    assert after.version > before.version


def test_no_secret_is_in_a_state() -> None:
    applied(EVERYTHING)
    assert "sk-fake" not in newest().text
    assert API_KEY not in newest().text


def test_the_newest_states_stay() -> None:
    ConfigurationState.objects.bulk_create(
        ConfigurationState(
            number=number,
            at="2026-01-01T00:00Z",
            last_event=0,
            version=-1,
            document=zlib.compress(b"x"),
        )
        for number in range(1, MOST_STATES)
    )
    applied("tenants: [{name: acme}]")
    assert [state.number for state in states()] == [*range(2, MOST_STATES + 2)]


# --- what comes back


def test_what_the_console_made_goes_and_what_it_changed_comes_back() -> None:
    applied(EVERYTHING)
    then = newest()
    acme = Tenant.objects.get()
    models.Provider.objects.update(enabled=False)
    models.Model.objects.update(weight=7)
    models.Route.objects.get(name="smart").delete()
    Budget.all_tenants_unsafe.create(tenant=acme, name="by-hand", limit_nano=1)
    Tenant.objects.create(name="globex")
    plan = plan_roll_back(then)
    assert "- tenant globex" in plan.report.lines
    assert any(line.startswith("- budget") and "by-hand" in line for line in plan.report.lines)
    assert any("Tenant globex is removed" in note for note in plan.notes)
    assert any("configuration file" in note for note in plan.notes)

    report = rolled_back(then)
    assert report.lines == plan.report.lines
    assert export() == then.text
    assert newest().made_by == "operator"
    assert not plan_roll_back(then).report.differs
    event = AuditEvent.objects.get(action="rolled back")
    assert (event.actor, event.object_id) == ("operator", str(then.number))


def test_a_roll_back_makes_nothing_a_files_that_was_the_consoles() -> None:
    Tenant.objects.create(name="acme")
    keep_state()
    Tenant.objects.update(time_zone="Europe/Berlin")
    keep_state()
    Tenant.objects.all().delete()
    rolled_back(newest())
    assert list(Tenant.objects.values_list("managed_by_file", "time_zone")) == [
        (False, "Europe/Berlin")
    ]


def test_secrets_that_are_gone_are_told_before() -> None:
    applied(EVERYTHING)
    then = newest()
    ApiKey.all_tenants_unsafe.filter(name="dev").delete()
    ApiKey.all_tenants_unsafe.filter(name="made").update(revoked_at="2026-11-20T12:00Z")
    models.ProviderKey.objects.filter(name="spare").delete()
    notes = plan_roll_back(then).notes
    assert "API key acme/made was revoked since then and stays revoked." in notes
    assert any("acme/dev" in note and "new secret" in note for note in notes)
    assert any("openai/spare has no secret" in note for note in notes)

    report = rolled_back(then)
    dev, made = (ApiKey.all_tenants_unsafe.get(name=name) for name in ("dev", "made"))
    assert dev.digest == key_digest(report.keys["acme/dev"])
    assert made.revoked_at is not None
    main = models.ProviderKey.objects.get(name="main", provider__tenant=None)
    assert vault.reveal(main) == "sk-fake-000000000001"


def test_a_budget_that_comes_back_counts_anew_and_the_plan_says_so() -> None:
    applied(EVERYTHING)
    then = newest()
    assert not any("nothing used" in note for note in plan_roll_back(then).notes)
    budget = Budget.all_tenants_unsafe.get(name="monthly")
    bucket = Bucket.all_tenants_unsafe.create(
        tenant=budget.tenant,
        budget_id=budget.pk,
        period_key="month",
        starts_at="2026-11-01T00:00Z",
        used_nano=5,
    )
    budget.name = "renamed"
    budget.save()
    notes = plan_roll_back(then).notes
    assert any("nothing used" in note for note in notes)
    assert any("renamed since then" in note for note in notes)
    rolled_back(then)
    bucket.refresh_from_db()
    assert (bucket.used_nano, bucket.budget_id) == (5, budget.pk)
    assert Budget.all_tenants_unsafe.get(name="monthly").pk != budget.pk


def test_a_price_of_then_holds_by_a_newer_version() -> None:
    applied(EVERYTHING)
    then = newest()
    applied(EVERYTHING.replace('"10.00"', '"12.00"'))
    rolled_back(then)
    versions = models.Price.objects.filter(model__provider__name="mock").order_by("pk")
    assert [version.output // 10**9 for version in versions] == [10, 12, 10]
    assert export() == then.text


def test_a_plan_that_is_not_true_any_more_is_not_carried_out() -> None:
    applied(EVERYTHING)
    then = newest()
    plan = plan_roll_back(then)
    Tenant.objects.update(time_zone="UTC")
    with pytest.raises(StalePlanError):
        roll_back(then, actor="operator", version=plan.version)
    assert Tenant.objects.get().time_zone == "UTC"


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(then=files(), since=files())
def test_any_configuration_comes_back_from_any_other(then: schema.File, since: schema.File) -> None:
    with undone():
        apply_file(then)
        keep_state()
        state = newest()
        apply_file(since)
        rolled_back(state)
        assert not plan_roll_back(state).report.differs


# --- the command


def test_the_command_lists_shows_plans_and_rolls_back(capsys: pytest.CaptureFixture[str]) -> None:
    applied("tenants: [{name: acme}]")
    then = newest()
    Tenant.objects.update(time_zone="Europe/Berlin")
    call_command("history")
    assert len(capsys.readouterr().out.splitlines()) == len(states())
    call_command("history", "--show", str(then.number))
    assert "+  time_zone: Europe/Berlin" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        call_command("history", "--rollback", str(then.number), "--plan")
    assert "~ tenant acme" in capsys.readouterr().out
    assert Tenant.objects.get().time_zone == "Europe/Berlin"
    call_command("history", "--rollback", str(then.number))
    assert Tenant.objects.get().time_zone == "UTC"
    with pytest.raises(CommandError, match="no state 999"):
        call_command("history", "--show", "999")
