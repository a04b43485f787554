"""An operator sees what the configuration was and rolls back: planned, done, written down."""

import re

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from llm_gateway.configuration.states import keep_state
from llm_gateway.models import ConfigurationState, Provider
from tenants.keys import key_digest
from tenants.models import ApiKey, AuditEvent, Tenant

pytestmark = pytest.mark.django_db

LIST = "/admin/llm_gateway/configurationstate/"
XSS = "<img src=x onerror=alert(1)>"


@pytest.fixture
def console(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("operator"))
    return client


@pytest.fixture
def first() -> ConfigurationState:
    Tenant.objects.create(name="acme")
    keep_state()
    return ConfigurationState.objects.get()


def plan_page(state: ConfigurationState) -> str:
    return reverse("admin:llm_gateway_configurationstate_roll_back", args=[state.pk])


def version_in(page: str) -> str:
    found = re.search(r'name="version" value="(\d+)"', page)
    assert found
    return found[1]


@pytest.mark.usefixtures("first")
def test_the_list_has_what_was_changed_a_moment_ago(console: Client) -> None:
    Tenant.objects.update(time_zone="Europe/Berlin")
    page = console.get(LIST).content.decode()
    assert ConfigurationState.objects.count() == 2
    assert "not in the audit" in page
    assert "Configuration history" in page


@pytest.mark.usefixtures("first")
def test_differences_are_text(console: Client) -> None:
    Provider.objects.create(name="mock", kind="mock", options={"answer": XSS})
    keep_state()
    for state in ConfigurationState.objects.all():
        page = console.get(f"{LIST}{state.pk}/change/").content.decode()
        assert "&lt;img src=x" in page
        assert XSS not in page


def test_a_plan_changes_nothing_and_a_roll_back_does_what_it_said(
    console: Client, first: ConfigurationState
) -> None:
    Tenant.objects.update(time_zone="Europe/Berlin")
    Tenant.objects.create(name="globex")
    page = console.get(plan_page(first)).content.decode()
    assert "~ tenant acme" in page
    assert "Tenant globex is removed" in page
    assert Tenant.objects.count() == 2

    Tenant.objects.create(name="initech")
    stale = console.post(plan_page(first), {"version": version_in(page)})
    assert "was changed meanwhile" in stale.content.decode()
    assert Tenant.objects.count() == 3
    for odd in ("", "x", "9" * 5000):
        assert console.post(plan_page(first), {"version": odd}).status_code == 200
    assert Tenant.objects.count() == 3

    version = version_in(stale.content.decode())
    done = console.post(plan_page(first), {"version": version}, follow=True)
    assert "is that of configuration 1 again" in done.content.decode()
    assert Tenant.objects.get().time_zone == "UTC"
    assert ConfigurationState.objects.first().made_by == "operator"  # type: ignore[union-attr] # it is there
    event = AuditEvent.objects.get(action="rolled back")
    assert (event.actor, event.object_name) == ("operator", "configuration 1")


def test_secrets_that_had_to_be_made_anew_are_shown_once(console: Client) -> None:
    acme = Tenant.objects.create(name="acme")
    ApiKey.all_tenants_unsafe.create(tenant=acme, name="dev", digest="d" * 64, prefix="mob_abcd")
    keep_state()
    ApiKey.all_tenants_unsafe.all().delete()
    then = ConfigurationState.objects.get()
    page = console.get(plan_page(then)).content.decode()
    assert "comes back with a new secret" in page
    shown = console.post(plan_page(then), {"version": version_in(page)}).content.decode()
    found = re.search(r"mob_[\w-]{43}", shown)
    assert found
    assert ApiKey.all_tenants_unsafe.get().digest == key_digest(found[0])


def test_it_is_for_operators_alone(client: Client, first: ConfigurationState) -> None:
    client.force_login(User.objects.create_user("person", is_staff=True))
    for address in (LIST, plan_page(first)):
        assert client.get(address).status_code == 302
    assert client.post(plan_page(first), {"version": "1"}).status_code == 302
