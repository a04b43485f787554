"""A raise is audited, has an end, and is shown; too many budgets for one call are refused."""

from datetime import UTC, datetime, timedelta

import pytest
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.utils import timezone

from tenants.buckets import MOST_BUCKETS, most_at_once
from tenants.models import ApiKey, AuditEvent, Budget, Project, Tenant
from tenants.raises import limit_in_force, raise_budget

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
LATER = NOW + timedelta(days=1)


@pytest.fixture
def tenant(db: None) -> Tenant:
    del db
    return Tenant.objects.create(name="acme")


def budget(tenant: Tenant, name: str = "monthly", **fields: object) -> Budget:
    given = {"limit_nano": 10**10, **fields}
    return Budget.all_tenants_unsafe.create(tenant=tenant, name=name, **given)


def test_a_raise_counts_until_its_end(tenant: Tenant) -> None:
    row = budget(tenant)
    raise_budget(row, 5 * 10**9, LATER, actor="operator", now=NOW)
    row.refresh_from_db()
    assert limit_in_force(row, NOW) == 15 * 10**9
    assert limit_in_force(row, LATER) == 10**10
    event = AuditEvent.objects.get()
    assert (event.actor, event.action) == ("operator", "raised")
    assert event.changes["raise_nano"] == ["0.00", "5.00"]


@pytest.mark.parametrize(
    ("limit", "amount", "until", "why"),
    [
        (None, 1, LATER, "no limit"),
        (10**10, 1, NOW, "lie ahead"),
        (10**10, 2**63, LATER, "more than can be kept"),
    ],
)
def test_what_cannot_be_a_raise_is_refused(
    tenant: Tenant, limit: int | None, amount: int, until: datetime, why: str
) -> None:
    row = budget(tenant, limit_nano=limit)
    with pytest.raises(ValueError, match=why):
        raise_budget(row, amount, until, actor="operator", now=NOW)
    assert not AuditEvent.objects.exists()


def test_the_command_raises_by_name(tenant: Tenant) -> None:
    budget(tenant)
    until = timezone.now() + timedelta(hours=1)
    call_command("raise_budget", "acme/monthly", "2.50", "--until", until.isoformat())
    row = Budget.all_tenants_unsafe.get()
    assert (row.raise_nano, row.raise_until) == (2_500_000_000, until)


def test_the_command_asks_whose_where_several_have_the_name(tenant: Tenant) -> None:
    project = Project.all_tenants_unsafe.create(tenant=tenant, name="search")
    budget(tenant)
    wanted = budget(tenant, project=project)
    until = (timezone.now() + timedelta(hours=1)).isoformat()
    with pytest.raises(CommandError, match="--project or --key"):
        call_command("raise_budget", "acme/monthly", "1", "--until", until)
    call_command("raise_budget", "acme/monthly", "1", "--until", until, "--project", "search")
    wanted.refresh_from_db()
    assert wanted.raise_nano == 10**9


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("acme/none", "1", "--until", "2999-01-01"), "no budget"),
        (("acme/monthly", "1e3", "--until", "2999-01-01"), "1e3"),
        (("acme/monthly", "1", "--until", "tomorrow"), "tomorrow"),
        (("acme/monthly", "1", "--until", "2020-01-01"), "lie ahead"),
    ],
)
def test_the_command_says_what_is_wrong(
    tenant: Tenant, arguments: tuple[str, ...], why: str
) -> None:
    budget(tenant)
    with pytest.raises(CommandError, match=why):
        call_command("raise_budget", *arguments)


# --- eight buckets ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "most"),
    [
        ([], 0),
        ([None, ""], 2),
        (["a", "b", "c"], 2),  # asked for as one and answered by another
        (["a", "a", "b", None], 4),
    ],
)
def test_a_call_meets_what_is_for_every_name_and_for_two(
    names: list[str | None], most: int
) -> None:
    assert most_at_once(names) == most


def unsaved(tenant: Tenant, **fields: object) -> Budget:
    return Budget(tenant=tenant, name="one-more", limit_nano=1, **fields)


def test_the_ninth_budget_of_one_call_is_refused(tenant: Tenant) -> None:
    for number in range(MOST_BUCKETS - 1):
        budget(tenant, f"b{number}")
    eighth = unsaved(tenant)
    eighth.clean()
    eighth.save()
    eighth.clean()  # itself is not one more
    with pytest.raises(ValidationError, match="9 budgets"):
        unsaved(tenant).clean()


def test_budgets_of_tenant_project_and_key_count_together(tenant: Tenant) -> None:
    project, other = (
        Project.all_tenants_unsafe.create(tenant=tenant, name=name) for name in ("search", "ads")
    )
    key = ApiKey.all_tenants_unsafe.create(
        tenant=tenant, project=project, name="dev", digest="d" * 64, prefix="mob_abcd"
    )
    for number in range(3):
        budget(tenant, f"t{number}")
        budget(tenant, f"p{number}", project=project)
    budget(tenant, "k1", api_key=key)
    budget(tenant, "k2", api_key=key)
    for full in ({}, {"project": project}, {"api_key": key}):
        with pytest.raises(ValidationError, match="9 budgets"):
            unsaved(tenant, **full).clean()
    unsaved(tenant, project=other).clean()
