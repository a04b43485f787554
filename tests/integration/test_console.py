"""Walk through the console as its operator would, over a real database."""

import html
import re
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any
from uuid import uuid4

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.utils import timezone

from llm_gateway import vault
from llm_gateway.admin.discovery import _lines
from llm_gateway.models import (
    CircuitChange,
    ConfigurationState,
    GatewaySettings,
    KeyTimeouts,
    Model,
    Price,
    Provider,
    ProviderKey,
    RequestLog,
    Route,
    RouteTarget,
    RunningNow,
)
from llm_gateway.providers.control import DiscoveredModel
from tenants.admin.base import ConsoleAdmin
from tenants.alerts.models import AlertDelivery, AlertSink
from tenants.keys import key_digest
from tenants.models import (
    ApiKey,
    AuditEvent,
    Budget,
    Managed,
    Member,
    Project,
    RaiseRequest,
    RateLimit,
    Tenant,
)
from tenants.money.checks import LedgerCheck
from tenants.money.models import Alert, Bucket, Entry, Hold
from tests.integration.seated import sum_up_log
from tests.upstream.client import Upstream

pytestmark = pytest.mark.django_db

XSS = "<img src=x onerror=alert(1)>"
SECRET = "CANARY-provider-key-0123456789abcdef"
NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
WRITTEN_BY_THE_GATEWAY = (
    *(RequestLog, AuditEvent, Bucket, Hold, Entry),
    *(Alert, AlertDelivery, LedgerCheck, CircuitChange, RunningNow, ConfigurationState),
    RaiseRequest,  # written where it is asked for
)


@pytest.fixture
def console(client: Client) -> Client:
    operator = User.objects.create_superuser("operator")
    client.force_login(operator)
    return client


@pytest.fixture
def tenant() -> Tenant:
    return Tenant.objects.create(name="acme")


@pytest.fixture
def provider() -> Provider:
    return Provider.objects.create(name="openai", kind="openai")


def log(**values: Any) -> RequestLog:
    given = {
        "id": uuid4(),
        "created_at": timezone.now(),
        "tenant_name": "acme",
        "endpoint": "/v1/chat/completions",
        "dialect": "openai",
        "requested_model": "gpt",
        "model": "gpt",
        "provider": "openai",
        "stream": False,
        "status": 200,
        "outcome": "ok",
    }
    return RequestLog.objects.create(**(given | values))


def everything(tenant: Tenant, provider: Provider) -> None:
    """Make a row of every kind, with a name that would be markup if it were not text."""
    project = Project.all_tenants_unsafe.create(tenant=tenant, name="search")
    key = ApiKey.all_tenants_unsafe.create(
        tenant=tenant, project=project, name="dev", digest="d" * 64, prefix="mob_abcd"
    )
    Member.all_tenants_unsafe.create(tenant=tenant, email="owner@acme.test", role="owner")
    budget = Budget.all_tenants_unsafe.create(tenant=tenant, name=XSS, limit_nano=10**9)
    RateLimit.all_tenants_unsafe.create(tenant=tenant, api_key=key, requests_per_minute=5)
    vault.put(ProviderKey(provider=provider), SECRET)
    model = Model.objects.create(provider=provider, name="gpt")
    tiers = [{"above_input_tokens": 1000, "input": 2 * 10**9}]
    Price.objects.create(model=model, valid_from="2025-01-01", input=10**9, tiers=tiers)
    route = Route.objects.create(name="smart", when={"tags": {"team": XSS}})
    RouteTarget.objects.create(route=route, model="gpt")
    bucket = Bucket.all_tenants_unsafe.create(
        tenant=tenant, budget_id=budget.pk, period_key="day", starts_at=NOW, used_nano=10**8
    )
    alerted(bucket)
    attempts = [{"provider": XSS, "model": "gpt", "status": 529, "duration_ms": 12.5}]
    log(
        tenant=tenant,
        api_key=key,
        end_user=XSS,
        error=XSS,
        lines=[{"unit": "input_token", "units": 10, "amount_nano": 2500}],
        decision={
            "attempts": attempts,
            "limits": [{"limit": "requests", "used": 3}],
            "candidates": ["openai/gpt", XSS],
            "dropped": [{"name": "demo/mock", "cause": "capability", "reason": XSS}],
            "steps": [{"at_ms": 3.5, "reason": XSS}],
        },
    )
    AuditEvent.objects.create(actor=XSS, action="updated", changes={"name": [XSS, "plain"]})


def alerted(bucket: Bucket) -> None:
    """Make an alert that could not be told, and a check that found it."""
    alert = Alert.objects.create(bucket=bucket, threshold_ppm=800_000, created_at=NOW)
    sink = AlertSink.objects.create(name="pager", kind="webhook", address="https://hooks.test")
    sink.put_secret(SECRET)
    data: dict[str, Any] = {
        "tenant": "acme",
        "budget": XSS,
        "scope": "tenant",
        "owner": XSS,
        "subject": XSS,
    }
    data |= {"period": "day", "starts_at": XSS, "ends_at": None, "threshold": 0.8}
    AlertDelivery.objects.create(
        alert=alert,
        sink=sink,
        message={"id": "1", "type": XSS, "data": data | {"used": XSS, "limit": XSS}},
        created_at=NOW,
        next_at=NOW,
        error=XSS,
    )
    LedgerCheck.objects.create(
        at=NOW,
        ok=False,
        entries=1,
        holds=0,
        differences=[{"what": XSS, "budget": XSS}],
        difference_count=1,
        days=[{"day": "2026-11-20", "log_nano": 1, "settled_nano": 2, "later_nano": 3}],
        took_s=0.1,
    )


def addresses() -> list[str]:
    """Return every page of every model, with a search that is all wildcards and quotes."""
    found = []
    for model in admin.site._registry:
        base = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
        found += [base, f"{base}?q=%25_%27%22%3Cx%3E"]
        row = model._base_manager.first()
        if model not in WRITTEN_BY_THE_GATEWAY:
            found.append(f"{base}add/")
        if row is not None:
            found += [f"{base}{row.pk}/change/", f"{base}{row.pk}/history/"]
    return found


def test_every_page_answers_and_shows_names_as_text(
    console: Client, tenant: Tenant, provider: Provider
) -> None:
    everything(tenant, provider)
    for address in ["/admin/", "/", *addresses()]:
        answer = console.get(address, follow=True)
        assert answer.status_code == HTTPStatus.OK, address
        page = answer.content.decode()
        assert "<img src=x" not in page, address
        assert SECRET not in page, address


def test_every_model_but_the_plumbing_has_its_page() -> None:
    shown = {model.__name__ for model in admin.site._registry}
    assert shown >= {
        *("Provider", "ProviderKey", "Model", "Price", "Route", "GatewaySettings", "RequestLog"),
        *("Tenant", "Project", "Member", "ApiKey", "Budget", "RateLimit", "AuditEvent"),
        *("Bucket", "Hold", "Entry", "User", "Group"),
        *("Alert", "AlertSink", "AlertDelivery", "LedgerCheck"),
    }


def test_nobody_but_an_operator_sees_the_console(client: Client) -> None:
    client.force_login(User.objects.create_user("clerk", is_staff=True))
    for address in ["/admin/", *addresses()]:
        assert client.get(address).status_code == HTTPStatus.FOUND, address


def test_what_the_gateway_wrote_cannot_be_touched(
    console: Client, tenant: Tenant, provider: Provider
) -> None:
    everything(tenant, provider)
    for model in WRITTEN_BY_THE_GATEWAY:
        base = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
        row = model._base_manager.first()
        assert console.get(f"{base}add/").status_code == HTTPStatus.FORBIDDEN
        if row is not None:
            for verb in ("change", "delete"):
                answer = console.post(f"{base}{row.pk}/{verb}/", {"post": "yes"})
                assert answer.status_code == HTTPStatus.FORBIDDEN


# --- secrets -----------------------------------------------------------------------------------


def provider_form(provider: Provider, **values: str) -> dict[str, str]:
    return {
        "name": provider.name,
        "kind": provider.kind,
        "base_url": provider.base_url,
        "enabled": "on",
        "max_concurrent_requests": "100",
        "charge_by": "prices",
        "on_disconnect": "drain",
        "options": "{}",
        "keys-TOTAL_FORMS": "0",
        "keys-INITIAL_FORMS": "0",
        **values,
    }


def change_page(row: Any) -> str:
    return f"/admin/{row._meta.app_label}/{row._meta.model_name}/{row.pk}/change/"


def test_a_provider_key_goes_in_and_never_comes_out(console: Client, provider: Provider) -> None:
    new = {"keys-TOTAL_FORMS": "1", "keys-0-name": "main", "keys-0-weight": "1"}
    form = provider_form(provider, **new, **{"keys-0-secret": SECRET, "keys-0-enabled": "on"})
    assert console.post(change_page(provider), form).status_code == HTTPStatus.FOUND
    key = provider.keys.get()
    assert vault.reveal(key) == SECRET
    page = console.get(change_page(key)).content.decode()
    assert SECRET not in page
    assert f"…{SECRET[-4:]}" in page
    assert key.fingerprint in page

    kept = {"name": "main", "weight": "2", "enabled": "on", "secret": ""}
    assert console.post(change_page(key), kept).status_code == HTTPStatus.FOUND
    key.refresh_from_db()
    assert (vault.reveal(key), key.weight) == (SECRET, 2)
    assert SECRET not in str(list(AuditEvent.objects.values()))


def test_a_new_address_wipes_the_secret_and_says_so(console: Client, provider: Provider) -> None:
    vault.put(ProviderKey(provider=provider), SECRET)
    form = provider_form(provider, base_url="https://other.example.com/v1")
    page = console.post(change_page(provider), form, follow=True).content.decode()
    assert "secrets were wiped" in page
    assert provider.keys.get().sealed is None


def test_an_address_inside_is_refused(console: Client, provider: Provider) -> None:
    form = provider_form(provider, base_url="http://169.254.169.254/v1")
    assert console.post(change_page(provider), form).status_code == HTTPStatus.OK
    provider.refresh_from_db()
    assert provider.base_url == ""


def issue(console: Client, tenant: Tenant, **values: str) -> Any:
    none = {"own_timeouts-TOTAL_FORMS": "0", "own_timeouts-INITIAL_FORMS": "0"}
    form = {"tenant": str(tenant.pk), "name": "dev", "scopes": "inference", **none, **values}
    return console.post("/admin/tenants/apikey/add/", form)


def test_an_api_key_is_shown_once_with_requests_to_paste(
    console: Client, tenant: Tenant, provider: Provider
) -> None:
    Model.objects.create(provider=provider, name="gpt-4o")
    answer = issue(console, tenant)
    page = html.unescape(answer.content.decode())
    secret = re.search(r"mob_[\w-]{43}", page)[0]  # type: ignore[index] # it is there
    key = ApiKey.all_tenants_unsafe.get()
    assert key.digest == key_digest(secret)
    assert "api_key=" in page
    assert '"model": "gpt-4o"' in page
    assert answer["Cache-Control"] == "private, no-store"

    rest = [console.get(address, follow=True) for address in ("/admin/", *addresses())]
    assert all(secret not in later.content.decode() for later in rest)
    assert secret not in str(dict(console.session.items()))
    assert secret not in str(list(AuditEvent.objects.values()))


def test_rotating_and_revoking_ask_first_and_are_written_down(
    console: Client, tenant: Tenant
) -> None:
    issue(console, tenant)
    key = ApiKey.all_tenants_unsafe.get()
    first = key.digest
    assert (
        "Make a new secret"
        in console.get(f"/admin/tenants/apikey/{key.pk}/rotate/").content.decode()
    )
    key.refresh_from_db()
    assert key.digest == first
    console.post(f"/admin/tenants/apikey/{key.pk}/rotate/", {"grace": "3600"})
    key.refresh_from_db()
    assert (key.digest != first, key.old_digest) == (True, first)
    assert "works too" in console.get(change_page(key)).content.decode()
    console.post(f"/admin/tenants/apikey/{key.pk}/rotate/", {"grace": "0"})
    key.refresh_from_db()
    assert key.old_digest is None

    for method, revoked in ((console.get, 0), (console.post, 1)):
        method(f"/admin/tenants/apikey/{key.pk}/revoke/")
        found = ApiKey.all_tenants_unsafe.filter(revoked_at__isnull=False)
        assert found.count() == revoked
    done = AuditEvent.objects.filter(object_type="apikey").values_list("action", flat=True)
    assert set(done) == {"created", "rotated", "revoked"}


def test_a_key_cannot_be_made_for_the_project_of_another_tenant(
    console: Client, tenant: Tenant
) -> None:
    other = Tenant.objects.create(name="globex")
    foreign = Project.all_tenants_unsafe.create(tenant=other, name="ml")
    page = issue(console, tenant, project=str(foreign.pk)).content.decode()
    assert "belongs to another tenant" in page
    assert not ApiKey.all_tenants_unsafe.exists()


# --- changes -----------------------------------------------------------------------------------


def test_a_change_is_audited_with_before_and_after(console: Client, tenant: Tenant) -> None:
    budget = Budget.all_tenants_unsafe.create(tenant=tenant, name="monthly", limit_nano=10**9)
    form = {
        "name": "monthly",
        "tenant": str(tenant.pk),
        "limit_nano": "2.50",
        "period": "month",
        "mode": "strict",
        "thresholds": "0.5, 0.8",
        "raise_nano": "0",
    }
    assert console.post(change_page(budget), form).status_code == HTTPStatus.FOUND
    budget.refresh_from_db()
    assert (budget.limit_nano, budget.thresholds, budget.hard) == (2_500_000_000, [0.5, 0.8], False)
    event = AuditEvent.objects.get()
    assert (event.actor, event.action, event.tenant_name) == ("operator", "updated", "acme")
    assert event.changes["limit_nano"] == ["1.00", "2.50"]


def test_a_deletion_is_audited(console: Client, tenant: Tenant) -> None:
    console.post(f"/admin/tenants/tenant/{tenant.pk}/delete/", {"post": "yes"})
    assert not Tenant.objects.exists()
    assert AuditEvent.objects.get().action == "removed"


@pytest.mark.parametrize(
    ("field", "inputs", "kept"),
    [
        (
            "timeouts",
            {"timeouts_connect": "0.5", "timeouts_total": "90"},
            {"connect": 0.5, "total": 90},
        ),
        (
            "retry",
            {"retry_strategy": "linear", "retry_initial_delay": "0"},
            {"strategy": "linear", "initial_delay": 0},
        ),
        ("circuit_breaker", {"circuit_breaker_adaptive": "on"}, {"adaptive": True}),
    ],
)
def test_a_record_reopens_as_it_was_saved(
    console: Client, provider: Provider, field: str, inputs: dict[str, str], kept: dict[str, Any]
) -> None:
    form = provider_form(provider, **inputs)
    assert console.post(change_page(provider), form).status_code == HTTPStatus.FOUND
    provider.refresh_from_db()
    assert getattr(provider, field) == kept
    opened = console.get(change_page(provider)).context["adminform"].form
    assert opened[field].field.widget.decompress(opened[field].value()).count(None) == len(
        opened[field].field.fields
    ) - len(kept)


def test_how_long_a_key_may_wait_is_said_on_its_page(console: Client, tenant: Tenant) -> None:
    row = {"own_timeouts-TOTAL_FORMS": "1", "own_timeouts-0-timeouts_first_token": "2.5"}
    issue(console, tenant, **row)
    key = ApiKey.all_tenants_unsafe.get()
    assert KeyTimeouts.objects.get(api_key=key).timeouts == {"first_token": 2.5}
    assert 'value="2.5"' in console.get(change_page(key)).content.decode()
    assert AuditEvent.objects.filter(object_type="keytimeouts", action="created").exists()


def test_how_long_a_route_may_wait_is_said_on_its_page(console: Client, provider: Provider) -> None:
    Model.objects.create(provider=provider, name="gpt")
    route = Route.objects.create(name="smart")
    form = {
        "name": "smart",
        "strategy": "fallback",
        "targets-TOTAL_FORMS": "0",
        "targets-INITIAL_FORMS": "0",
    }
    refused = console.post(change_page(route), form | {"timeouts_total": "0"})
    assert refused.status_code == HTTPStatus.OK
    told = console.post(change_page(route), form | {"timeouts_idle": "3", "timeouts_total": "9"})
    assert told.status_code == HTTPStatus.FOUND
    route.refresh_from_db()
    assert route.timeouts == {"idle": 3, "total": 9}


def test_what_a_file_would_refuse_the_form_refuses(console: Client, provider: Provider) -> None:
    form = provider_form(provider, timeouts_connect="0")
    answer = console.post(change_page(provider), form)
    assert answer.status_code == HTTPStatus.OK
    provider.refresh_from_db()
    assert provider.timeouts == {}


def test_an_object_from_a_file_warns(console: Client, tenant: Tenant) -> None:
    assert "configuration file" not in console.get(change_page(tenant)).content.decode()
    Tenant.objects.update(managed_by_file=True)
    assert "overwritten by the next" in console.get(change_page(tenant)).content.decode()


@pytest.mark.parametrize(
    "model",
    [model for model in admin.site._registry if issubclass(model, Managed)],
    ids=lambda model: model.__name__,
)
def test_whatever_a_file_can_own_is_marked_in_list_and_form(model: type[Managed]) -> None:
    pages: Any = admin.site._registry[model]
    assert "from_file" in pages.list_display
    assert "managed_by_file" in pages.list_filter
    assert pages.change_form_before_template == ConsoleAdmin.change_form_before_template


def test_rows_of_a_file_are_marked_on_the_page_they_belong_to(
    console: Client, tenant: Tenant
) -> None:
    Project.all_tenants_unsafe.create(tenant=tenant, name="by-hand")
    mark = "From a configuration file"
    assert mark not in console.get(change_page(tenant)).content.decode()
    Project.all_tenants_unsafe.create(tenant=tenant, name="filed", managed_by_file=True)
    assert console.get(change_page(tenant)).content.decode().count(mark) == 1


def test_the_settings_say_that_a_file_sets_them(console: Client) -> None:
    settings = GatewaySettings.objects.create()
    assert "manage.py apply" in console.get(change_page(settings)).content.decode()


# --- models ------------------------------------------------------------------------------------


def model_form(provider: Provider, name: str) -> dict[str, str]:
    empty = {
        f"{prefix}-{part}": "0"
        for prefix in ("prices", "prices-2")
        for part in ("TOTAL_FORMS", "INITIAL_FORMS")
    }
    return {"provider": str(provider.pk), "name": name, "weight": "1", "enabled": "on", **empty}


def test_a_model_saved_without_prices_gets_the_catalogues(
    console: Client, provider: Provider
) -> None:
    console.post("/admin/llm_gateway/model/add/", model_form(provider, "gpt-4o"))
    assert Model.objects.get().prices.exists()
    assert "$2.50" in console.get("/admin/llm_gateway/model/").content.decode()


def test_a_model_that_no_catalogue_knows_is_shown_unpriced(
    console: Client, provider: Provider
) -> None:
    form = model_form(provider, "nobody-knows-this")
    page = console.post("/admin/llm_gateway/model/add/", form, follow=True).content.decode()
    assert "unpriced" in page
    assert not Price.objects.exists()


def test_a_new_price_is_a_new_version(console: Client, provider: Provider) -> None:
    model = Model.objects.create(provider=provider, name="own")
    row = {
        "prices-2-TOTAL_FORMS": "1",
        "prices-2-0-valid_from": "2026-01-01",
        "prices-2-0-input": "1.25",
        "prices-2-0-tiers": "above 200000: input=2.50 output=15.00",
    }
    answer = console.post(change_page(model), model_form(provider, "own") | row)
    assert answer.status_code == HTTPStatus.FOUND
    price = model.prices.get()
    assert price.input == 1_250_000_000
    assert price.tiers == [
        {"above_input_tokens": 200000, "input": 2_500_000_000, "output": 15_000_000_000}
    ]
    assert (
        "above 200000: input=2.50 output=15.00" in console.get(change_page(price)).content.decode()
    )


def test_the_mock_provider_offers_its_models(console: Client) -> None:
    mock = Provider.objects.create(name="demo", kind="mock")
    page = f"/admin/llm_gateway/provider/{mock.pk}/discover_models/"
    assert 'value="mock"' in console.get(page).content.decode()
    console.post(page, {"model": ["mock", "never-listed"]})
    assert list(mock.models.values_list("name", flat=True)) == ["mock"]


def test_a_server_is_asked_through_the_sdk(console: Client, upstream: Upstream) -> None:
    server = Provider.objects.create(
        name="local",
        kind="openai_compatible",
        base_url=f"{upstream.base_url}/v1",
        allow_private_network=True,
    )
    page = f"/admin/llm_gateway/provider/{server.pk}/test_provider/"
    console.get(page)
    assert upstream.seen().calls == []
    told = console.post(page, follow=True).content.decode()
    assert "local works" in told


def typed(upstream: Upstream, secret: str, **values: str) -> dict[str, str]:
    new = Provider(name="typed", kind="openai_compatible", base_url=f"{upstream.base_url}/v1")
    form = provider_form(new, allow_private_network="on", **values)
    return form | {"keys-TOTAL_FORMS": "1", "keys-0-name": "main", "keys-0-secret": secret}


def test_a_typed_key_is_tried_before_anything_is_saved(console: Client, upstream: Upstream) -> None:
    page = "/admin/llm_gateway/provider/test-typed/0/"
    assert page in console.get("/admin/llm_gateway/provider/add/").content.decode()
    told = console.post(page, typed(upstream, SECRET)).content.decode()
    assert "main works" in told
    assert SECRET not in told
    assert not Provider.objects.exists()
    assert not AuditEvent.objects.exists()


def test_a_typed_key_that_cannot_be_tried_says_why(
    console: Client, upstream: Upstream, provider: Provider
) -> None:
    saved = f"/admin/llm_gateway/provider/test-typed/{provider.pk}/"
    assert "No key was typed" in console.post(saved, typed(upstream, "")).content.decode()
    told = console.post(saved, typed(upstream, SECRET, base_url="no address"))
    assert "base_url" in told.content.decode()
    assert upstream.seen().calls == []
    provider.refresh_from_db()
    assert provider.name == "openai"


def test_discovery_says_what_a_model_will_cost_and_where_that_is_from(provider: Provider) -> None:
    priced, unknown = _lines(
        provider, [DiscoveredModel(id="gpt-4o"), DiscoveredModel(id="nobody-knows-this")]
    )
    assert (
        priced["price"]
        == "$2.50 in, $10.00 out per 1M tokens, from genai-prices 0.2.3: openai/gpt-4o"
    )
    assert unknown["price"] == "unpriced: the catalogue does not know it"


# --- overview ----------------------------------------------------------------------------------


def test_an_empty_overview_says_what_to_do(console: Client) -> None:
    page = html.unescape(console.get("/admin/").content.decode())
    assert "No request yet" in page
    assert "curl http://testserver/v1/chat/completions" in page


def days(first: int, final: int) -> str:
    """Return a range of days, each so many days ago."""
    today = timezone.now()
    begin, end = (f"{today - timedelta(days=ago):%Y-%m-%d}" for ago in (first, final))
    return f"from={begin}&to={end}"


@pytest.mark.parametrize(
    "chosen",
    ["", "range=24h", "range=7d", "range=30d", "range=90d", "range=nonsense", days(3, 0)],
)
@pytest.mark.parametrize(
    "narrowed", ["", "tenant=acme", "project=search&key=dev", "provider=openai"]
)
def test_the_overview_links_into_the_log_it_counted(
    console: Client, tenant: Tenant, chosen: str, narrowed: str
) -> None:
    named = {"tenant": tenant, "project_name": "search", "key_name": "dev"}
    log(outcome="failed", code="upstream_error", **named)
    log(outcome="failed", code="upstream_error", tenant=tenant, created_at=NOW.replace(year=2024))
    sum_up_log()
    page = html.unescape(console.get(f"/admin/?{chosen}&{narrowed}").content.decode())
    link = re.search(
        r'href="(/admin/llm_gateway/requestlog/\?[^"]*code=upstream_error[^"]*)"', page
    )
    assert link is not None
    rows = console.get(link[1]).context["cl"].result_list
    assert [(row.code, row.created_at.year > 2024) for row in rows] == [("upstream_error", True)]


def test_days_that_are_over_end_with_their_last_moment(console: Client, tenant: Tenant) -> None:
    midnight = timezone.now().replace(hour=0, minute=0, second=0, microsecond=0)
    for ago in (timedelta(days=3), timedelta(days=2), timedelta(days=2, microseconds=1)):
        log(tenant=tenant, created_at=midnight - ago)
    sum_up_log()
    answer = console.get(f"/admin/?{days(3, 3)}")
    tile = answer.context["tiles"][0]
    assert tile.value == "2"
    assert len(console.get(tile.href).context["cl"].result_list) == 2


@pytest.mark.parametrize(
    ("asked", "trouble"),
    [
        ("to=2026-01-01", "from: say on which day it begins"),
        ("from=yesterday", "from: a day is written"),
        ("from=2026-02-30", "from: a day is written"),
        ("from=1999-12-31", "from: a day between 2000 and today"),
        ("from=2020-01-01", "from: at most 1098 days before to"),
        ("from=2020-01-01&to=9999-12-31", "to: a day between 2000 and today"),
        ("from=2026-01-02&to=2026-01-01", "from: lies after to"),
    ],
)
def test_days_that_cannot_be_are_told(
    console: Client, tenant: Tenant, asked: str, trouble: str
) -> None:
    log(tenant=tenant)
    sum_up_log()
    page = console.get(f"/admin/?{asked}")
    assert trouble in page.content.decode()
    assert page.context["page"].preset == "24h"


def test_a_row_of_the_overview_narrows_it(console: Client, tenant: Tenant) -> None:
    other = Tenant.objects.create(name="other")
    for owner, key in ((tenant, "dev"), (tenant, "dev"), (tenant, "prod"), (other, "dev")):
        log(tenant=owner, tenant_name=owner.name, key_name=key, tags={"team": "a&b"})
    sum_up_log()
    seen = console.get("/admin/?range=7d&by=key")
    assert [row[1] for row in seen.context["shares"]["rows"]] == ["2", "1", "1"]
    link = re.search(r'href="([^"]*)">acme / dev<', html.unescape(seen.content.decode()))
    assert link is not None
    seen = console.get(f"/admin/{link[1]}")
    assert seen.context["page"].preset == "7d"
    assert seen.context["tiles"][0].value == "2"
    by_tag = console.get(f"/admin/{link[1]}&by=tag".replace("by=key&", ""))
    tagged = re.search(r'href="([^"]*)">team=a&b<', html.unescape(by_tag.content.decode()))
    assert tagged is not None
    seen = console.get(f"/admin/{tagged[1]}")
    assert seen.context["tiles"][0].value == "2"
    assert {tile.href for tile in seen.context["tiles"]} == {""}  # the log knows no tags


def test_a_request_is_found_by_its_id(console: Client, tenant: Tenant) -> None:
    wanted, _ = log(tenant=tenant), log(tenant=tenant)
    rows = console.get(f"/admin/llm_gateway/requestlog/?q={wanted.pk}").context["cl"].result_list
    assert [row.pk for row in rows] == [wanted.pk]


def test_the_number_of_queries_does_not_grow_with_the_log(
    console: Client, tenant: Tenant, django_assert_max_num_queries: Any
) -> None:
    for number in range(30):
        log(tenant=tenant, model=f"gpt-{number}", code=f"code-{number}")
    sum_up_log()
    for address in ("/admin/", "/admin/llm_gateway/requestlog/"):
        with django_assert_max_num_queries(17, connection=connection):
            console.get(address)


# --- landing and headers -----------------------------------------------------------------------


def test_the_landing_page_counts_for_operators_only(client: Client) -> None:
    stranger = client.get("/").content.decode()
    assert "/v1/chat/completions" in stranger
    assert "requests logged" not in stranger
    client.force_login(User.objects.create_superuser("operator"))
    assert "requests logged" in client.get("/").content.decode()


def test_the_landing_page_needs_nothing_from_elsewhere_and_no_script(client: Client) -> None:
    page = client.get("/").content.decode()
    assert "<script" not in page
    links = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert links
    assert all(link.startswith("/") for link in links)


def test_pages_are_neither_kept_nor_framed(console: Client) -> None:
    for address in ("/", "/admin/", "/admin/login/", "/nowhere"):
        answer = console.get(address)
        assert answer["Cache-Control"] == "private, no-store"
        assert "frame-ancestors 'none'" in answer["Content-Security-Policy"]
        assert "'unsafe-inline'" not in answer["Content-Security-Policy"].partition("style-src")[0]
        assert answer["X-Content-Type-Options"] == "nosniff"
        assert answer["Referrer-Policy"] == "same-origin"
    assert "unsafe" not in console.get("/")["Content-Security-Policy"]


def test_a_tenants_answers_are_cleared_once_that_is_confirmed(
    console: Client, tenant: Tenant
) -> None:
    page = f"/admin/tenants/tenant/{tenant.pk}/clear_cache/"
    assert "Clear them" in console.get(page).content.decode()
    tenant.refresh_from_db()
    assert tenant.cache_generation == 0
    console.post(page)
    tenant.refresh_from_db()
    assert tenant.cache_generation == 1
    assert AuditEvent.objects.filter(action="cache cleared").count() == 1
