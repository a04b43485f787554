"""The portal: what a person of a tenant sees at `/` and does there, and a raise from end to end."""

from datetime import timedelta
from http import HTTPStatus
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from llm_gateway.landing.portal import portal
from llm_gateway.models import UsageHour
from tenants.models import ApiKey, AuditEvent, Member, RaiseRequest
from tenants.rights import ROLES
from tenants.seats import find_seat
from tests.integration.seated import USD, Town

pytestmark = pytest.mark.django_db


@pytest.fixture
def ours() -> Town:
    return Town("ours")


@pytest.fixture
def theirs() -> Town:
    return Town("theirs")


def wish(budget: Any, **given: str) -> dict[str, str]:
    until = f"{timezone.now() + timedelta(days=1):%Y-%m-%dT%H:%M}"
    return {"budget": str(budget.pk), "amount": "5", "until": until, "reason": "a demo", **given}


def hold(town: Town, role: str) -> ApiKey:
    """Give the tenant's key to somebody."""
    key: Any = town.rows["ApiKey"]
    key.holder = Member.all_tenants_unsafe.get(user=town.people[role])
    key.save()
    found: ApiKey = key
    return found


def test_a_member_asks_an_admin_approves_and_the_budget_is_raised(ours: Town) -> None:
    budget: Any = ours.rows["Budget"]
    hold(ours, "member")
    asked = ours.client("member").post(reverse("portal-raise"), wish(budget))
    assert asked.status_code == HTTPStatus.FOUND
    row = RaiseRequest.all_tenants_unsafe.latest("pk")
    assert (row.amount_nano, row.state, row.asked_by) == (5 * USD, "open", "member@ours.test")
    approve = reverse("admin:tenants_raiserequest_approve", args=[row.pk])
    for role in ("viewer", "member"):
        assert ours.client(role).post(approve).status_code == HTTPStatus.FORBIDDEN
    ours.client("admin").post(approve)
    ours.client("owner").post(reverse("admin:tenants_raiserequest_refuse", args=[row.pk]))
    row.refresh_from_db()
    budget.refresh_from_db()
    assert (row.state, row.decided_by, budget.raise_nano) == (
        "approved",
        "admin@ours.test",
        5 * USD,
    )
    assert budget.raise_until == row.until
    actions = set(AuditEvent.objects.values_list("action", flat=True))
    assert {"asked", "raised", "approved"} <= actions


def test_what_binds_the_whole_tenant_is_the_operators_to_raise(ours: Town) -> None:
    ours.client("member").post(reverse("portal-raise"), wish(ours.whole))
    row = RaiseRequest.all_tenants_unsafe.latest("pk")
    approve = reverse("admin:tenants_raiserequest_approve", args=[row.pk])
    ours.client("owner").post(approve)
    row.refresh_from_db()
    assert row.state == "open"
    operator = Client()
    operator.force_login(User.objects.create_superuser("operator"))
    operator.post(approve)
    row.refresh_from_db()
    ours.whole.refresh_from_db()
    assert (row.state, ours.whole.raise_nano) == ("approved", 5 * USD)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"amount": "a lot"}, "amount"),
        ({"amount": "0"}, None),
        ({"until": "2020-01-01T00:00"}, None),
    ],
)
def test_a_wish_that_cannot_be_is_refused_and_nothing_typed_is_lost(
    ours: Town, given: dict[str, str], named: str | None
) -> None:
    said = wish(ours.whole, **given)
    answer = ours.client("member").post(reverse("portal-raise"), said)
    assert answer.status_code == HTTPStatus.BAD_REQUEST
    form = answer.context["form"]
    assert (named in form.errors) if named else form.non_field_errors()
    assert all(f'value="{value}"' in answer.content.decode() for value in said.values())
    assert not RaiseRequest.all_tenants_unsafe.filter(reason="a demo").exists()


def test_a_holder_renews_a_key_and_nobody_elses(ours: Town, theirs: Town) -> None:
    key, foreign = hold(ours, "member"), hold(theirs, "member")
    address = reverse("portal-renew", args=[key.public_id])
    User.objects.create_superuser("root")  # without one the console is not set up
    for client, status in (
        (Client(), HTTPStatus.FORBIDDEN),
        (ours.client("viewer"), HTTPStatus.FORBIDDEN),
        (theirs.client("owner"), HTTPStatus.NOT_FOUND),
    ):
        assert client.post(address).status_code == status
    assert ApiKey.all_tenants_unsafe.get(pk=key.pk).digest == key.digest
    renewed = ours.client("member").post(address)
    assert "mob_" in renewed.content.decode()
    assert ApiKey.all_tenants_unsafe.get(pk=key.pk).digest != key.digest
    other = reverse("portal-renew", args=[foreign.public_id])
    assert ours.client("owner").post(other).status_code == HTTPStatus.NOT_FOUND


def test_people_see_what_they_hold_and_admins_all(ours: Town) -> None:
    key: Any = ours.rows["ApiKey"]
    now = timezone.now()
    UsageHour.all_tenants_unsafe.create(
        tenant=ours.tenant, hour=now, dims="d", api_key_id=key.pk, requests=3, cost_nano=USD
    )
    seen = {}
    for role in ROLES:
        seat = find_seat(ours.people[role])
        assert seat is not None
        found = portal(seat, now)
        seen[role] = (len(found["keys"]), found["used"][-1].requests, len(found["meters"]))
    assert seen == {
        "viewer": (0, 0, 1),
        "member": (0, 0, 1),
        "admin": (1, 3, 2),
        "owner": (1, 3, 2),
    }
    hold(ours, "member")
    seat = find_seat(ours.people["member"])
    assert seat is not None
    found = portal(seat, now)
    assert (len(found["keys"]), found["used"][-1].cost, len(found["meters"])) == (1, "1.00", 2)


def test_somebody_of_two_tenants_chooses(ours: Town, theirs: Town) -> None:
    person = ours.people["viewer"]
    Member.all_tenants_unsafe.create(
        tenant=theirs.tenant, email="x@x.test", role="owner", user=person
    )
    client = ours.client("viewer")
    listed = reverse("admin:tenants_apikey_changelist")
    assert theirs.mark not in client.get(listed).content.decode()
    client.post(reverse("portal-tenant"), {"tenant": theirs.tenant.pk})
    shown = client.get(listed).content.decode()
    assert (theirs.mark in shown, ours.mark in shown) == (True, False)
    strange = Client()
    strange.force_login(ours.people["owner"])
    answer = strange.post(reverse("portal-tenant"), {"tenant": theirs.tenant.pk})
    assert answer.status_code == HTTPStatus.NOT_FOUND
