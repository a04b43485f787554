"""An operator sees what became of circuits and decides about one; asked first, written down."""

from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from llm_gateway.models import CircuitChange, CircuitOrder, Model, Provider
from llm_gateway.service.circuit_log import forget_changes
from llm_gateway.service.circuit_orders import OrderError, give_order
from llm_gateway.snapshot import read_snapshot, read_version
from tenants.models import AuditEvent

pytestmark = pytest.mark.django_db

PAGE = "/admin/llm_gateway/circuitchange/"
NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


@pytest.fixture
def console(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("operator"))
    return client


@pytest.fixture
def model() -> Model:
    provider = Provider.objects.create(name="openai", kind="openai")
    return Model.objects.create(provider=provider, name="gpt")


def changed(at: datetime = NOW, reason: str = "5 failures in a row") -> CircuitChange:
    return CircuitChange.objects.create(
        at=at,
        deployment_id=1,
        provider="openai",
        model="gpt",
        before="closed",
        after="open",
        reason=reason,
        error="server",
        process="host:1",
    )


def test_the_page_tells_what_became_of_circuits(console: Client) -> None:
    assert "No circuit has changed yet" in console.get(PAGE).content.decode()
    changed(reason="<img src=x>")
    page = console.get(PAGE).content.decode()
    assert "closed → open" in page
    assert "host:1" in page
    assert "<img src=x" not in page


@pytest.mark.parametrize("action", ["reset", "force_open", "force_closed"])
def test_a_decision_is_asked_for_given_once_and_audited(
    console: Client, model: Model, action: str
) -> None:
    give_order(model, "reset", "somebody", now=timezone.now())
    address = f"{PAGE}{model.pk}/decide/{action}/"
    before = read_version()
    assert console.get(address).status_code == 200
    assert read_version() == before
    forced = action != "reset"
    answer = console.post(address, {"minutes": 5} if forced else {}, follow=True)
    assert "In force in a second" in answer.content.decode()
    (order,) = CircuitOrder.objects.all()
    assert (order.action, order.given_by) == (action, "operator")
    assert (order.until is not None) == forced
    assert read_version() > before
    given = read_snapshot().orders[model.pk]
    assert (given.id, given.action, given.by) == (order.pk, action, "operator")
    event = AuditEvent.objects.order_by("-id")[0]
    assert (event.actor, event.action) == ("operator", f"circuit {action}")
    assert event.object_id == str(model.pk)


def test_a_forced_state_has_an_end(console: Client, model: Model) -> None:
    address = f"{PAGE}{model.pk}/decide/force_open/"
    for minutes in ("", "0", "999999999"):
        assert console.post(address, {"minutes": minutes}).status_code == 200
    now = timezone.now()
    for action, until in (
        ("force_open", None),
        ("force_open", now),
        ("force_closed", now + timedelta(days=32)),
        ("reset", now + timedelta(minutes=1)),
        ("explode", None),
    ):
        with pytest.raises(OrderError):
            give_order(model, action, "operator", now=now, until=until)
    assert not CircuitOrder.objects.exists()


def test_what_nobody_decides_about_leads_back_to_the_list(console: Client, model: Model) -> None:
    for address in (f"{PAGE}999/decide/reset/", f"{PAGE}{model.pk}/decide/explode/"):
        assert console.post(address).status_code == 302
    assert not CircuitOrder.objects.exists()


def test_nobody_else_decides(client: Client, model: Model) -> None:
    client.force_login(User.objects.create_user("clerk", is_staff=True))
    client.post(f"{PAGE}{model.pk}/decide/reset/")
    assert not CircuitOrder.objects.exists()


def test_old_changes_are_forgotten(model: Model) -> None:
    del model
    old, new = changed(NOW - timedelta(days=32)), changed(NOW - timedelta(days=30))
    forget_changes(NOW, 1)
    assert list(CircuitChange.objects.all()) == [new]
    assert old != new
