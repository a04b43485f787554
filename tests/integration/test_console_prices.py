"""The console lists what has no price, compares with the price list and adds what was ticked."""

import re
from html import unescape

import pytest
from django.contrib.auth.models import User
from django.test import Client

from llm_gateway.models import Model, Price, Provider, TenantMargin
from tenants.models import AuditEvent, Tenant

pytestmark = pytest.mark.django_db
PRICES = "/admin/llm_gateway/price/"
NEW = {"valid_from": "2026-01-01", "input": "1.00", "output": "2.00"}


@pytest.fixture
def console(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("operator"))
    return client


@pytest.fixture
def model() -> Model:
    provider = Provider.objects.create(name="openai", kind="openai")
    return Model.objects.create(provider=provider, name="gpt-4o")


def page_of(console: Client, title: str) -> str:
    """Follow the button of that name on the list of prices."""
    listed = console.get(PRICES).content.decode()
    found = re.search(rf'href="([^"]*{title}[^"]*)"', listed)
    assert found, title
    return unescape(found[1])


def test_a_model_without_a_price_is_offered_one(console: Client, model: Model) -> None:
    page = console.get(page_of(console, "unpriced")).content.decode()
    assert "gpt-4o at openai" in page
    assert f"/admin/llm_gateway/price/add/?model={model.pk}" in page
    console.post(f"{PRICES}add/", {"model": model.pk, **NEW})
    assert Price.objects.get().input == 10**9
    assert "Every model has a price" in console.get(page_of(console, "unpriced")).content.decode()


def test_only_what_was_ticked_is_added(console: Client, model: Model) -> None:
    other = Model.objects.create(provider=model.provider, name="gpt-4o-mini")
    where = page_of(console, "feed")
    page = console.get(where).content.decode()
    assert Price.objects.count() == 0
    ids = [unescape(one) for one in re.findall(r'name="proposal" value="([^"]+)"', page)]
    (ticked,) = [one for one in ids if one.startswith(f"{other.pk}@")]
    console.post(where, {"proposal": [ticked]})
    price = Price.objects.get()
    assert (price.model, price.input) == (other, 150_000_000)
    (event,) = AuditEvent.objects.filter(object_type="price")
    assert (event.actor, event.action) == ("operator", "created")
    assert f'value="{other.pk}@' not in console.get(where).content.decode()


def test_a_tenant_gets_its_own_price_and_margin(console: Client) -> None:
    acme = Tenant.objects.create(name="acme")
    console.post(f"{PRICES}add/", {"tenant": acme.pk, "model_name": "gpt-4o", **NEW})
    assert Price.objects.get().tenant == acme
    margins = "/admin/llm_gateway/tenantmargin/"
    asked = {"tenant": acme.pk, "valid_from": "2026-01-01", "percent": "12.5"}
    console.post(f"{margins}add/", asked)
    assert TenantMargin.objects.get().percent_ppm == 125_000
    assert "12.5 %" in console.get(margins).content.decode()
    assert AuditEvent.objects.filter(tenant_name="acme", action="created").count() == 2
    assert console.post(f"{margins}add/", asked | {"percent": "x"}).status_code == 200
    assert TenantMargin.objects.count() == 1


def test_a_price_of_nobody_is_refused(console: Client, model: Model) -> None:
    assert console.post(f"{PRICES}add/", NEW).status_code == 200
    both = {"tenant": Tenant.objects.create(name="acme").pk, "model": model.pk, **NEW}
    assert console.post(f"{PRICES}add/", both).status_code == 200
    assert not Price.objects.exists()
