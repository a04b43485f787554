"""The portal: what a person of a tenant sees at `/` and does there, and a raise from end to end."""

from datetime import timedelta
from http import HTTPStatus
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.contrib.auth.models import User
from django.template.loader import render_to_string
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from llm_gateway.configuration.states import keep_state
from llm_gateway.insight.partitions import first_id
from llm_gateway.landing.portal import portal
from llm_gateway.models import ConfigurationState, RequestLog, UsageHour
from tenants.models import ApiKey, AuditEvent, Member, RaiseRequest, Tenant
from tenants.money.models import Bucket
from tenants.money.periods import period_key, span
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
        seen[role] = (len(found["keys"]), int(found["used"][-1].requests), len(found["meters"]))
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


def test_a_meter_says_what_remains_and_when_it_is_reached(ours: Town) -> None:
    """Half a dollar a day for ten days; a dollar of the limit is not used."""
    now = timezone.now()
    project: Any = ours.rows["Project"]
    budget: Any = ours.rows["Budget"]
    budget.period, budget.limit_nano = "total", 6 * USD
    budget.save()
    for day in range(1, 11):
        UsageHour.all_tenants_unsafe.create(
            tenant=ours.tenant,
            hour=(now - timedelta(days=day)).replace(minute=0, second=0, microsecond=0),
            dims=f"{day}",
            project_id=project.pk,
            cost_nano=USD // 2,
        )
    start = span(now, "total", ours.tenant.time_zone).start
    Bucket.all_tenants_unsafe.create(
        tenant=ours.tenant,
        budget_id=budget.pk,
        period_key=period_key("total", ours.tenant.time_zone, start),
        starts_at=start,
        used_nano=5 * USD,
        held_nano=USD // 4,
    )
    seat = find_seat(ours.people["admin"])
    assert seat is not None
    (meter,) = [one for one in portal(seat, now)["meters"] if one.id == budget.pk]
    assert (meter.used, meter.held, meter.remaining) == ("5.00", "0.25", "0.75")
    assert meter.rate == "0.50"
    assert meter.reached is not None
    # A dollar is not used yet, at half a dollar a day.
    assert abs(meter.reached - now - timedelta(days=2)) < timedelta(hours=1)
    page = render_to_string("portal/portal.html", {"meters": [meter], "seat": seat})
    assert "$0.75 remaining" in page
    assert f"Reached on {meter.reached:%Y-%m-%d} at this rate, $0.50 a day" in page


def asked_again(town: Town) -> None:
    """Ask the same three times within an hour, for a dollar each."""
    now = timezone.now().replace(minute=30) - timedelta(hours=2)
    for _ in range(3):
        RequestLog.objects.create(
            id=UUID(int=first_id(now).int | uuid4().int >> 50),
            created_at=now,
            tenant=town.tenant,
            tenant_name=town.tenant.name,
            endpoint="/v1/chat/completions",
            dialect="openai_chat",
            requested_model=town.mark,
            model=town.mark,
            provider=town.mark,
            stream=False,
            status=200,
            outcome="ok",
            digest="d" * 32,
            cost_nano=USD,
        )


def left_unused(town: Town) -> ApiKey:
    key: Any = town.rows["ApiKey"]
    ApiKey.all_tenants_unsafe.update(created_at=timezone.now() - timedelta(days=99))
    found: ApiKey = key
    return found


def follow(client: Client, status: int = HTTPStatus.FOUND, **said: Any) -> str:
    """Post a form of the page of advice; return where it leads, or the page."""
    answer = client.post(reverse("portal-advice-follow"), said)
    assert answer.status_code == status
    return answer.content.decode()


def test_advice_is_followed_by_an_owner_and_taken_back(ours: Town, theirs: Town) -> None:
    asked_again(ours)
    before = keep_state_number()
    for role in ROLES:
        page = ours.client(role).get(reverse("portal-advice")).content.decode()
        assert "at least $2.00" in page
        assert f"Switch the cache on for {ours.mark}" in page
        assert ("Switch the cache on</button>" in page) == (role == "owner")
    assert ours.mark not in theirs.client("owner").get(reverse("portal-advice")).content.decode()
    for role in ROLES[:-1]:
        follow(ours.client(role), HTTPStatus.FORBIDDEN, kind="cache_answers")
    assert not Tenant.objects.get(pk=ours.tenant.pk).cache
    owner = ours.client("owner")
    follow(owner, kind="cache_answers", tenant=theirs.mark)
    kept = Tenant.objects.get(pk=ours.tenant.pk)
    assert kept.cache == {"enabled": True, "ttl": 3600}
    assert not Tenant.objects.get(pk=theirs.tenant.pk).cache
    event = AuditEvent.objects.filter(object_type="tenant").latest("pk")
    assert (event.actor, event.changes["cache"]) == ("owner@ours.test", [{}, kept.cache])
    assert keep_state_number() == before + 1
    assert "on already" in follow(owner, HTTPStatus.BAD_REQUEST, kind="cache_answers")

    assert "No such" in follow(theirs.client("owner"), HTTPStatus.BAD_REQUEST, event=event.pk)
    follow(ours.client("admin"), HTTPStatus.FORBIDDEN, event=event.pk)
    follow(owner, event=event.pk)
    assert Tenant.objects.get(pk=ours.tenant.pk).cache == {}
    assert "changed since" in follow(owner, HTTPStatus.BAD_REQUEST, event=event.pk)
    assert keep_state_number() == before + 2


def test_an_unused_key_is_ended_with_a_click_and_lives_again_with_another(ours: Town) -> None:
    key, admin = left_unused(ours), ours.client("admin")
    page = admin.get(reverse("portal-advice")).content.decode()
    assert "End the key now" in page
    follow(ours.client("member"), HTTPStatus.FORBIDDEN, kind="unused_key", subject=key.name)
    follow(admin, kind="unused_key", subject=key.name)
    ended = ApiKey.all_tenants_unsafe.get(pk=key.pk)
    assert ended.expires_at is not None
    assert ended.expires_at <= timezone.now()
    page = admin.get(reverse("portal-advice")).content.decode()
    event = AuditEvent.objects.latest("pk")
    assert f"The key ended: {key}, by admin@ours.test" in page
    assert f'name="event" value="{event.pk}"' in page
    follow(admin, event=event.pk)
    assert ApiKey.all_tenants_unsafe.get(pk=key.pk).expires_at is None
    assert AuditEvent.objects.latest("pk").action == "took advice back"
    # Somebody has set an end of their own since it was taken back.
    ApiKey.all_tenants_unsafe.filter(pk=key.pk).update(expires_at=timezone.now())
    assert "changed since" in follow(admin, HTTPStatus.BAD_REQUEST, event=event.pk)


@pytest.mark.parametrize(
    ("said", "trouble"),
    [
        ({"kind": "cheaper_model"}, "kind: this advice is not followed with a click"),
        ({}, "kind: this advice is not followed with a click"),
        ({"event": "x"}, "event: that is no number"),
        ({"event": "9" * 30}, "event: that is no number"),
        ({"event": "1"}, "No such advice was followed"),
        ({"kind": "unused_key", "subject": "nobody"}, "no such key"),
    ],
)
def test_what_cannot_be_followed_is_said(ours: Town, said: dict[str, str], trouble: str) -> None:
    assert trouble in follow(ours.client("owner"), HTTPStatus.BAD_REQUEST, **said)


def test_a_key_that_is_used_again_is_not_ended(ours: Town) -> None:
    key = left_unused(ours)
    ApiKey.all_tenants_unsafe.filter(pk=key.pk).update(last_used_at=timezone.now())
    answer = follow(
        ours.client("admin"), HTTPStatus.BAD_REQUEST, kind="unused_key", subject=key.name
    )
    assert "used again" in answer
    assert ApiKey.all_tenants_unsafe.get(pk=key.pk).expires_at is None


def keep_state_number() -> int:
    keep_state()
    return ConfigurationState.objects.latest("number").number
