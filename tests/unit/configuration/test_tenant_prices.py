"""A tenant's own prices and its margin come from a file as versions, and go back into one."""

from datetime import date
from pathlib import Path

import pytest

from llm_gateway import models, pricing, snapshot
from llm_gateway.configuration.apply import apply
from llm_gateway.configuration.document import ConfigurationError
from llm_gateway.configuration.export import export
from llm_gateway.configuration.load import parse
from llm_gateway.types import Price
from tenants.models import AuditEvent, Tenant

pytestmark = pytest.mark.django_db

GATEWAY = """
version: 1
providers: [{name: up, kind: openai_compatible, base_url: "https://up.example/v1"}]
models: [{name: m, provider: up, prices: [{from: 2024-01-01, input: "2", output: "4"}]}]
"""
OWN = '    prices: [{model: m, from: 2025-01-01, input: "1", output: "3", tool_call: "0.01"}]\n'
MARGIN = '    margin: "12.5"\n'


def tenant(*lines: str) -> str:
    return f"{GATEWAY}tenants:\n  - name: acme\n{''.join(lines)}"


def applied(text: str) -> list[str]:
    report = apply(parse(text), folder=Path(), actor="test")
    return [*report.created, *report.updated, *report.removed]


def charged(day: date) -> Price | None:
    configuration = snapshot.read_snapshot().configuration
    (deployment,) = configuration.models["m"]
    terms = configuration.terms.get(Tenant.objects.get(name="acme").pk)
    return pricing.price_for(deployment, terms, day)


TODAY = date(2099, 1, 1)


def test_a_tenant_pays_its_own_price_and_the_file_is_written_back() -> None:
    applied(tenant(OWN))
    price = charged(TODAY)
    assert price is not None
    assert (price.input, price.output, price.tool_call) == (10**9, 3 * 10**9, 10**7)
    before = charged(date(2024, 6, 1))
    assert before is not None
    assert before.input == 2 * 10**9
    assert applied(export()) == []
    assert applied(tenant(OWN)) == []


def test_a_margin_is_a_version_that_is_never_changed() -> None:
    applied(tenant(MARGIN))
    applied(tenant(MARGIN.replace("12.5", "10")))
    assert [row.percent_ppm for row in models.TenantMargin.objects.order_by("pk")] == [
        125_000,
        100_000,
    ]
    price = charged(TODAY)
    assert price is not None
    assert price.margin_ppm == 100_000
    assert "margin: '10'" in export()
    assert applied(export()) == []


def test_what_a_later_file_leaves_out_is_over_from_today_on() -> None:
    applied(tenant(OWN, MARGIN))
    assert len(applied(tenant())) == 2
    now, past = charged(TODAY), charged(date(2025, 6, 1))
    assert now is not None
    assert past is not None
    assert (now.input, now.margin_ppm) == (2 * 10**9, 0)
    assert past.input == 10**9
    assert applied(tenant()) == []
    assert applied(export()) == []


def test_what_the_console_gave_stays() -> None:
    applied(tenant())
    acme = Tenant.objects.get()
    models.Price.objects.create(tenant=acme, model_name="m", valid_from="2025-01-01", input=7)
    models.TenantMargin.objects.create(tenant=acme, valid_from="2025-01-01", percent_ppm=5)
    assert applied(tenant()) == []


def test_the_audit_names_the_tenant() -> None:
    applied(tenant(OWN, MARGIN))
    events = AuditEvent.objects.filter(tenant_name="acme", action="created")
    assert {"price", "tenantmargin"} <= {event.object_type for event in events}


@pytest.mark.parametrize(
    ("lines", "path"),
    [
        (OWN.replace("model: m", "model: n"), "tenants[0].prices[0].model"),
        ('    margin: "12,5"\n', "tenants[0].margin"),
        ("    margin: 12.5\n", "tenants[0].margin"),
        ('    margin: "-200"\n', "tenants[0].margin"),
    ],
)
def test_what_cannot_be_is_named(lines: str, path: str) -> None:
    with pytest.raises(ConfigurationError, match=path.replace("[", r"\[")):
        applied(tenant(lines))
