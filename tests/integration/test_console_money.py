"""The console's pages of money: how near the limits are, what waits, and raises decided there."""

import re
from datetime import timedelta
from html import unescape
from http import HTTPStatus
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from llm_gateway.admin import money
from llm_gateway.models import InvoiceLine, Model, Provider, UsageHour
from tenants.models import ApiKey, AuditEvent, Budget, RaiseRequest, Tenant
from tenants.money.checks import LedgerCheck
from tenants.money.models import Bucket
from tenants.money.periods import period_key, span
from tenants.rights import ROLES
from tests.integration.seated import USD, Town

pytestmark = pytest.mark.django_db
MONEY = "/admin/money/"
AS_PART = {"HX-Request": "true"}


@pytest.fixture
def ours() -> Town:
    return Town("ours")


@pytest.fixture
def theirs() -> Town:
    return Town("theirs")


@pytest.fixture
def operator() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("operator"))
    return client


def fill(budget: Any, nano: int, subject: str = "") -> None:
    """Let so much be used of a budget in its running period."""
    now = timezone.now()
    kind, zone = budget.period, budget.tenant.time_zone
    within = span(now, kind, zone)
    Bucket.all_tenants_unsafe.create(
        tenant=budget.tenant,
        budget_id=budget.pk,
        subject=subject,
        period_key=period_key(kind, zone, within.start),
        starts_at=within.start,
        ends_at=within.end,
        used_nano=nano,
    )


def text_of(client: Client, query: str = "") -> str:
    answer = client.get(MONEY + query)
    assert answer.status_code == HTTPStatus.OK
    return unescape(answer.content.decode())


@pytest.mark.parametrize("role", ROLES)
def test_people_of_a_tenant_see_their_own_money(role: str, ours: Town, theirs: Town) -> None:
    fill(theirs.whole, USD // 2)
    for query in ("", f"?tenant={theirs.mark}", f"?after=1.{theirs.whole.pk}"):
        page = text_of(ours.client(role), query)
        assert ours.mark in page
        assert theirs.mark not in page


def test_operators_see_who_is_nearest_first_a_page_at_a_time(
    ours: Town, theirs: Town, operator: Client
) -> None:
    fill(ours.whole, USD // 4)
    fill(theirs.rows["Budget"], USD * 3 // 4)
    Tenant.objects.create(name="unlimited")
    page = text_of(operator)
    places = [page.index(f"tenant={name}") for name in (theirs.mark, ours.mark, "unlimited")]
    assert places == sorted(places)
    assert "75%" in page
    assert "$0.75 of $1.00" in page


def test_one_that_is_no_page_is_said(ours: Town, operator: Client) -> None:
    for query in ("after=x", "after=1.", "after=1.2.3", f"after={'9' * 50}.1", "after=٣.1"):
        page = text_of(operator, f"?{query}")
        assert "after: no page of this list ends there" in page
        assert ours.mark in page
    assert operator.get(f"{MONEY}?tenant=nobody").status_code == HTTPStatus.NOT_FOUND
    assert operator.post(MONEY).status_code == HTTPStatus.METHOD_NOT_ALLOWED


def test_a_tenant_has_a_meter_for_each_bucket(ours: Town, operator: Client) -> None:
    ours.whole.thresholds = [0.5, 0.9]
    ours.whole.save()
    fill(ours.whole, USD * 6 // 10)
    each = Budget.all_tenants_unsafe.create(
        tenant=ours.tenant, name="teams", limit_nano=USD, per="tag.team", hard=False
    )
    for number in range(money.BUCKETS + 2):
        fill(each, USD // 10 * number, f"team-{number}")
    page = text_of(operator, f"?tenant={ours.mark}")
    assert "told at 50% (passed), 90%" in page
    assert "Hard limit" in page
    assert "Soft limit" in page
    subjects = re.findall(r"<code>team-(\d)</code>", page)
    assert subjects == ["6", "5", "4", "3", "2"]
    assert "$0.60 used and $0.00 held of $1.00: $0.40 remaining, renews" in page


def test_a_raise_is_approved_from_the_page_with_a_click(ours: Town) -> None:
    until = timezone.now() + timedelta(days=1)
    asked: Any = ours.rows["RaiseRequest"]
    RaiseRequest.all_tenants_unsafe.filter(pk=asked.pk).update(until=until, reason="a fair")
    assert "a fair" not in text_of(ours.client("viewer"))
    assert "It waits for an admin" in text_of(ours.client("member"))
    admin = ours.client("admin")
    page = text_of(admin)
    assert f"asks for <strong>$1.00</strong> more for {ours.mark}" in page
    assert f"until {until:%Y-%m-%d %H:%M} UTC: a fair" in page
    (approve,) = re.findall(r'formaction="([^"]+/approve[^"]*)"', page)
    (back,) = re.findall(r'name="next" value="([^"]+)"[^§]+formaction', page)
    answer = admin.post(approve, {"next": back})
    assert (answer.status_code, answer["Location"]) == (HTTPStatus.FOUND, back)
    page = text_of(admin)
    assert "in force" in page
    assert f"$1.00 of it is a raise until {until:%Y-%m-%d %H:%M} UTC" in page
    Budget.all_tenants_unsafe.update(raise_until=timezone.now())
    RaiseRequest.all_tenants_unsafe.update(until=timezone.now())
    page = text_of(admin)
    assert "approved, over" in page
    assert "is a raise until" not in page
    away = admin.post(approve, {"next": "https://evil.test/"})
    assert away["Location"].startswith("/admin/")


def test_a_member_asks_from_the_page_and_is_led_back_to_it(ours: Town) -> None:
    client = ours.client("member")
    page = text_of(client)
    assert page.count("Ask for a raise") == 2
    assert "Ask for a raise" not in text_of(ours.client("viewer"))
    said = {
        "budget": str(ours.whole.pk),
        "amount": "5",
        "until": f"{timezone.now() + timedelta(days=1):%Y-%m-%dT%H:%M}",
        "reason": "a demo",
        "next": MONEY,
    }
    assert client.post("/portal/raises/", said)["Location"] == MONEY
    assert "a demo" in text_of(client)
    assert "It waits for an operator" in text_of(client)


def test_operators_see_at_a_glance_what_waits_for_them(ours: Town, operator: Client) -> None:
    def told() -> dict[str, tuple[str, bool]]:
        states = operator.get(MONEY).context["states"]
        return {one.title: (one.value, one.good) for one in states}

    before = told()
    assert before["Raises asked for"] == ("1 waiting", False)
    assert before["Price inbox"] == ("1 without a price", False)
    assert before["Invoice drift"] == ("none", True)
    assert before["Ledger"] == ("not checked", False)
    now = timezone.now()
    provider = Provider.objects.create(name="openai", kind="openai")
    Model.objects.create(provider=provider, name="gpt-4o")
    InvoiceLine.objects.create(
        provider=provider, day=now.date(), model="gpt-4o", cost_nano=11 * USD, imported_at=now
    )
    UsageHour.all_tenants_unsafe.create(
        tenant=ours.tenant, hour=now, dims="d", provider="openai", cost_nano=10 * USD
    )
    check = LedgerCheck.objects.create(at=now, ok=True, entries=1, holds=0, took_s=0.1)
    RaiseRequest.all_tenants_unsafe.update(state="refused")
    after = told()
    assert after["Raises asked for"] == ("0 waiting", True)
    assert after["Price inbox"] == ("2 without a price", False)
    assert after["Price list"] == ("1 differ", False)
    assert after["Invoice drift"] == ("+10.00%", False)
    assert after["Ledger"] == ("adds up", True)
    check.at = now - timedelta(hours=3)
    check.save()
    assert told()["Ledger"] == ("adds up", False)
    for one in operator.get(MONEY).context["states"]:
        assert operator.get(one.href).status_code == HTTPStatus.OK, one.title


def test_operators_follow_advice_for_a_tenant_and_people_their_own(
    ours: Town, theirs: Town, operator: Client
) -> None:
    ApiKey.all_tenants_unsafe.update(created_at=timezone.now() - timedelta(days=99))
    page = f"{MONEY}advice/"
    assert operator.get(page)["Location"] == MONEY  # advice is for one
    (part,) = re.findall(
        r'hx-get="([^"]+advice[^"]+)"', text_of(operator, f"advice/?tenant={ours.mark}")
    )
    shown = operator.get(part, headers=AS_PART).content.decode()
    assert f'name="subject" value="{ours.mark}"' in shown
    said = {"tenant": theirs.mark, "kind": "unused_key", "subject": theirs.mark}
    for role in ROLES:
        for headers in ({}, AS_PART):
            answer = ours.client(role).get(f"{page}?tenant={theirs.mark}", headers=headers)
            assert theirs.mark not in answer.content.decode()
            assert ours.mark in answer.content.decode()
        done = ours.client(role).post(f"{page}follow/", said)
        assert done.status_code == (
            HTTPStatus.FOUND if role in {"admin", "owner"} else HTTPStatus.FORBIDDEN
        )
    keys = ApiKey.objects.of(theirs.tenant)
    assert keys.get().expires_at is None
    operator.post(f"{page}follow/", said)
    assert keys.get().expires_at is not None
    event = AuditEvent.objects.latest("pk")
    assert (event.actor, event.tenant_id) == ("operator", theirs.tenant.pk)
    operator.post(f"{page}follow/", {"tenant": theirs.mark, "event": event.pk})
    assert keys.get().expires_at is None
