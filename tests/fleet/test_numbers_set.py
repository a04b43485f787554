"""Sixty hostile numbers as limit, price and rate, by file and console: exact, or refused (M9)."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from django.contrib.admin import site
from django.contrib.auth.models import User
from django.test import Client, RequestFactory

from llm_gateway.models import Model, Price, Provider
from tenants.models import Budget, RateLimit, Tenant
from tests.fleet.literals import HOSTILE, Literal
from tests.harness.books import Books
from tests.harness.database import Databases
from tests.harness.gateway import GatewayProcess, installed

pytestmark = pytest.mark.promise("M9")

NANO, MOST_NANO, MOST_COUNT = 10**9, 2**62, 2**31 - 1
AMOUNT = re.compile(r"(0|[1-9][0-9]{0,9})(\.[0-9]{1,9})?")
INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
WHOLE = re.compile(r"\.0*$")  # Django's forms take 1.0 for 1
REFUSED = object()  # what a value means that nothing may be made of


# --- what each literal means, said apart from the code that reads it


def plain(literal: Literal) -> str | int | None:
    """Return what stands there: text, an integer, nothing; or else its own spelling as text."""
    text = literal.text
    if text.startswith('"'):
        return f"{text[1:-1]}"
    if text == "null":
        return None
    return int(text) if INTEGER.fullmatch(text) else f"\0{text}"


def dollars(value: str | int | None) -> Any:
    """Return nano-dollars, None for no amount, or REFUSED."""
    if value is None:
        return None
    if not AMOUNT.fullmatch(str(value)):
        return REFUSED
    whole, _, part = str(value).partition(".")
    nano = int(whole) * NANO + int(part.ljust(9, "0") or 0)
    return nano if nano <= MOST_NANO else REFUSED


def rate(value: str | int | None) -> Any:
    """Return a count from 1, None for no limit, or REFUSED."""
    if value is None:
        return None
    return value if isinstance(value, int) and 1 <= value <= MOST_COUNT else REFUSED


# --- by file


@dataclass(frozen=True, slots=True)
class Place:
    """A number of the file: its path for literal n, and what it means there."""

    path: str
    reads: Any

    def at(self, n: int) -> str:
        return self.path.format(n=n, m=n + 1)


PLACES = [
    Place("tenants[{n}].budgets[0].limit", dollars),
    Place("tenants[{n}].rate_limits.requests_per_minute", rate),
    Place("tenants[{n}].rate_limits.tokens_per_minute", rate),
    Place("tenants[{n}].rate_limits.concurrency", rate),
    Place("tenants[{n}].runs.budget", dollars),
    Place("models[{n}].prices[0].input", dollars),
    Place("models[{n}].prices[0].request", dollars),
]


def file_of(rows: Sequence[tuple[int, Sequence[str]]]) -> str:
    """Return a configuration with a tenant and a model for each row of values, one a place."""
    tenants, models = "", ""
    for n, (limit, requests, tokens, concurrency, run, price, fee) in rows:
        tenants += (
            f"  - {{name: t{n}, budgets: [{{name: b, limit: {limit}}}], runs: {{budget: {run}}},"
            f" rate_limits: {{requests_per_minute: {requests}, tokens_per_minute: {tokens},"
            f" concurrency: {concurrency}}}}}\n"
        )
        models += (
            f"  - {{name: m{n}, provider: openai,"
            f" prices: [{{from: 2020-01-01, input: {price}, request: {fee}}}]}}\n"
        )
    provider = (
        "  - {name: openai, kind: openai, keys: [{name: main, value: CANARY-provider-key}]}\n"
    )
    return f"version: 1\nproviders:\n{provider}models:\n{models}tenants:\n{tenants}"


@pytest.fixture
def gateway(databases: Databases, tmp_path: Path, output: Path) -> Iterator[GatewayProcess]:
    with installed(databases, tmp_path, output) as gateway:
        yield gateway


def test_a_file_sets_a_number_exactly_or_refuses_it_by_its_path(gateway: GatewayProcess) -> None:
    values = [plain(literal) for literal in HOSTILE]
    texts = [literal.text for literal in HOSTILE]
    path = gateway.home / "hostile.yaml"
    path.write_text(file_of([(n, [text] * len(PLACES)) for n, text in enumerate(texts)]))
    run = gateway.manage("apply", str(path))
    assert run.code == 1
    assert "Traceback" not in run.stderr
    told = run.stderr.replace("CommandError: ", "")
    refused = {
        place.at(n)
        for place in PLACES
        for n, value in enumerate(values)
        if place.reads(value) is REFUSED
    }
    assert {line.split(": ")[0] for line in told.splitlines()} == refused

    # Nothing of it was taken; what may be set is set, to the nano-dollar.
    kept = [
        (n, [text if place.reads(values[n]) is not REFUSED else "null" for place in PLACES])
        for n, text in enumerate(texts)
    ]
    path.write_text(file_of(kept))
    gateway.managed("apply", str(path))
    check_kept(Books(gateway), values)


def check_kept(books: Books, values: Sequence[str | int | None]) -> None:
    names = {row["id"]: row["name"] for row in books.rows("tenants_tenant")}
    limits = {
        (names[row["tenant_id"]], row["name"]): row["limit_nano"]
        for row in books.rows("ledger_budget")
    }
    rates = {names[row["tenant_id"]]: row for row in books.rows("tenants_ratelimit")}
    models = {row["id"]: row["name"] for row in books.rows("llm_gateway_model")}
    prices = {models[row["model_id"]]: row for row in books.rows("llm_gateway_price")}
    for n, value in enumerate(values):
        amount = None if dollars(value) is REFUSED else dollars(value)
        count = None if rate(value) is REFUSED else rate(value)
        assert limits[f"t{n}", "b"] == amount
        assert limits.get((f"t{n}", "runs.budget")) == amount
        row = rates.get(f"t{n}", {})
        assert row.get("requests_per_minute") == row.get("tokens_per_minute") == count
        assert row.get("concurrency") == count
        price = prices.get(f"m{n}", {})  # without any line there is none
        assert price.get("input") == price.get("request") == amount


# --- by the console


@pytest.fixture
def console(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("operator"))
    return client


def typed(literal: Literal) -> str:
    """Return what somebody types: without the quotes that JSON has."""
    return literal.text.strip('"')


@dataclass(frozen=True, slots=True)
class Form:
    """A form and its numbers, which are all typed alike; what none of them changes stands beside.

    `nothing` is what an input left empty means.
    """

    page: str
    names: tuple[str, ...]
    beside: dict[str, str]
    count: bool = False
    nothing: dict[str, int] = field(default_factory=dict)

    def means(self, text: str) -> Any:
        """Return what is to be kept: spaces around a number are no part of it."""
        text = text.strip()
        if not text:
            return None
        if not self.count:
            return dollars(text)
        try:
            number = int(WHOLE.sub("", text))
        except ValueError:
            return REFUSED
        return number if 0 <= number < 2**63 else REFUSED


def forms(tenant: Tenant, model: Model) -> list[Form]:
    owner = {"tenant": str(tenant.pk)}
    budget = {**owner, "name": "b", "period": "month", "mode": "strict"}
    price = {"model": str(model.pk), "valid_from": "2026-01-01"}
    rates = ("requests_per_minute", "tokens_per_minute", "concurrency")
    return [
        Form("tenants/budget", ("limit_nano", "raise_nano"), budget, nothing={"raise_nano": 0}),
        Form("tenants/ratelimit", rates, owner, count=True),
        Form("llm_gateway/price", ("input", "request", "cache_read"), price),
    ]


MADE: dict[str, Any] = {
    "tenants/budget": Budget,
    "tenants/ratelimit": RateLimit,
    "llm_gateway/price": Price,
}


@pytest.mark.django_db
def test_a_form_sets_a_number_exactly_or_refuses_it_at_its_input(
    console: Client, rf: RequestFactory
) -> None:
    tenant = Tenant.objects.create(name="acme")
    provider = Provider.objects.create(name="openai", kind="openai")
    model = Model.objects.create(provider=provider, name="own")
    request = rf.get("/admin/")
    request.user = User.objects.get()
    for form, literal in product(forms(tenant, model), HOSTILE):
        sent = {**form.beside, **dict.fromkeys(form.names, typed(literal))}
        read = site.get_model_admin(MADE[form.page]).get_form(request)(sent)
        meant = form.means(typed(literal))
        if read.is_valid():
            check_kept_by(console, form, sent, meant)
        else:
            assert read.errors.keys() >= {*form.names} or (meant is None and read.errors), literal
            assert meant in {REFUSED, None}, (literal, read.errors)


def check_kept_by(console: Client, form: Form, sent: dict[str, str], meant: Any) -> None:
    """Send a form through the console: its row has exactly what was meant."""
    rows = MADE[form.page]._base_manager
    answer = console.post(f"/admin/{form.page}/add/", sent)
    if answer.status_code == 200:  # what is no number's fault, such as a price without a line
        assert meant is None
        return
    row = rows.get()
    kept = {name: getattr(row, name) for name in form.names}
    assert kept == {name: form.nothing.get(name) if meant is None else meant for name in kept}
    rows.all().delete()


@pytest.mark.django_db
def test_a_raise_is_exact_or_refused(console: Client) -> None:
    tenant = Tenant.objects.create(name="acme")
    budget = Budget.all_tenants_unsafe.create(tenant=tenant, name="b", limit_nano=NANO)
    until = datetime(2999, 1, 1, tzinfo=UTC)
    for literal in HOSTILE:
        form = {"amount": typed(literal), "until": "2999-01-01T00:00"}
        answer = console.post(f"/admin/tenants/budget/{budget.pk}/raise_limit/", form)
        budget.refresh_from_db()
        meant = dollars(typed(literal).strip() or None)
        if answer.status_code == 302:
            assert (budget.raise_nano, budget.raise_until) == (meant, until)
        else:
            assert answer.status_code == 200
            assert answer.context["form"].errors
            assert meant in {REFUSED, None} or meant > MOST_NANO - NANO
