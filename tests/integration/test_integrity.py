"""The integrity page says what the last check found; both books agree day by day."""

import json
import time
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from itertools import count
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import User
from django.test import Client
from structlog.testing import capture_logs

from llm_gateway.insight.agreement import days_of_both
from llm_gateway.insight.partitions import first_id
from llm_gateway.models import RequestLog
from tenants.models import Budget, Tenant
from tenants.money.checks import KEPT, LedgerCheck, check_if_due, check_ledger
from tenants.money.models import Bucket, Entry, Hold, Writer
from tests.harness.books import Books
from tests.harness.config import budget, configuration, model, nano_prices, tenant
from tests.harness.dialects import OPENAI
from tests.harness.gateway import GatewayProcess
from tests.upstream.client import Upstream

PAGE, CHECK = "/admin/tenants/ledgercheck/", "/admin/tenants/ledgercheck/check/"
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
MODELS = [model("alpha", price=("0", "4.00"))]
COST_NANO = 8 * 4000

CHECK_BOTH = """
import json
from llm_gateway.service.periodic import verify_ledger
check = verify_ledger()
print(json.dumps([check.ok, check.entries, check.days]))
"""


def test_the_check_of_a_served_installation_finds_both_books_equal(
    gateway: GatewayProcess, upstream: Upstream
) -> None:
    upstream.prices(**nano_prices(MODELS))
    gateway.apply(
        configuration(
            upstream.base_url,
            models=MODELS,
            routes=[],
            tenants=[tenant(budgets=[budget("1")])],
        )
    )
    gateway.serve()
    assert {OPENAI.ask(gateway.url, "alpha").status for _ in range(3)} == {200}
    assert gateway.terminate() == 0  # the request log is written behind the answers
    ok, entries, days = json.loads(gateway.managed("shell", "-c", CHECK_BOTH).splitlines()[-1])
    assert (ok, entries) == (True, 3)
    (today,) = days
    assert today["settled_nano"] == today["log_nano"] == 3 * COST_NANO
    assert today["later_nano"] == 0
    (row,) = Books(gateway).rows("ledger_check")
    assert row["ok"]


# --- the page -------------------------------------------------------------------------------------


@pytest.fixture
def console(client: Client, transactional_db: None) -> Client:
    # A check reads in a snapshot of its own and cannot be part of a test's transaction.
    del transactional_db
    client.force_login(User.objects.create_superuser("operator"))
    return client


@pytest.fixture
def bucket(console: Client) -> Bucket:
    del console
    acme = Tenant.objects.create(name="acme")
    rule = Budget.all_tenants_unsafe.create(tenant=acme, name="monthly", limit_nano=10**10)
    made: Bucket = Bucket.all_tenants_unsafe.create(
        tenant=acme, budget_id=rule.pk, period_key="month UTC 2026-11", starts_at=NOW
    )
    return made


def test_nothing_was_checked_yet(console: Client) -> None:
    assert "Nothing was checked yet" in console.get(PAGE).content.decode()


def test_a_check_runs_on_post_alone(console: Client) -> None:
    assert console.get(CHECK).status_code == HTTPStatus.FOUND
    assert not LedgerCheck.objects.exists()
    page = console.post(CHECK, follow=True).content.decode()
    assert "The ledger adds up." in page
    assert LedgerCheck.objects.get().ok


def test_a_counter_that_is_no_sum_is_named_with_its_budget(console: Client, bucket: Bucket) -> None:
    Bucket.all_tenants_unsafe.update(used_nano=5)
    with capture_logs() as logs:
        page = console.post(CHECK, follow=True).content.decode()
    assert "The ledger does not add up: 1 difference." in page
    assert "monthly" in page
    assert bucket.period_key in page
    assert [line["log_level"] for line in logs] == ["error", "info"]


def test_it_says_when_nobody_checks_any_more(console: Client) -> None:
    check_ledger(NOW - timedelta(days=300), time.monotonic)
    assert "should run every hour" in console.get(PAGE).content.decode()


def test_holds_are_shown_by_the_process_that_has_them(console: Client, bucket: Bucket) -> None:
    beats = {"alive": datetime.now(UTC), "dead": NOW - timedelta(days=300)}
    for number, (host, beat) in enumerate(beats.items()):
        writer = Writer.objects.create(host=host, pid=1, started_at=NOW, heartbeat_at=beat)
        Hold.all_tenants_unsafe.create(
            id=UUID(int=number),
            **spent(bucket, number),
            writer_id=writer.pk,
            amount_nano=5,
            deadline_at=NOW,
        )
    page = console.get(PAGE).content.decode()
    for text in ("alive:1", "dead:1", "in flight", "becomes an entry when it expires"):
        assert text in page


def spent(bucket: Bucket, number: int, at: datetime = NOW) -> dict[str, Any]:
    return {
        "tenant_id": bucket.tenant_id,
        "request_id": UUID(int=first_id(at).int + number),
        "attempt_no": 0,
        "model": "alpha",
        "created_at": at,
    }


# --- when, and over what --------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_a_check_waits_until_the_last_one_is_old_enough() -> None:
    def check(at: datetime) -> LedgerCheck | None:
        return check_if_due(at, time.monotonic, every_s=3600)

    assert check(NOW)
    assert check(NOW + timedelta(minutes=59)) is None
    assert check(NOW + timedelta(minutes=60))
    assert check(NOW + KEPT + timedelta(minutes=1))
    assert LedgerCheck.objects.count() == 2  # the first is forgotten


@pytest.mark.django_db
def test_a_day_is_that_of_the_request_however_late_its_entry() -> None:
    acme = Tenant.objects.create(name="acme")
    bucket = Bucket(tenant=acme)
    numbers = count(1)
    yesterday = NOW - timedelta(days=1)

    def entry(at: datetime, nano: int, kind: str = "attempt", outcome: str = "settled") -> None:
        number = next(numbers)
        Entry.all_tenants_unsafe.create(
            **spent(bucket, number, at) | {"created_at": NOW},
            kind=kind,
            seq=0,
            outcome=outcome,
            estimated=False,
            amount_nano=nano,
            hold_nano=nano,
            writer_id=1,
            writer_seq=number,
        )

    entry(yesterday, 100)
    entry(yesterday, 40, outcome="orphan")
    entry(yesterday, -10, kind="correction")
    entry(yesterday, -7, kind="adjustment")
    entry(NOW, 7)
    entry(NOW - timedelta(days=40), 1)
    log(yesterday, 90)
    log(NOW, 7)
    today, before = days_of_both(NOW, 31)
    assert (today.settled_nano, today.later_nano, today.differs_nano) == (7, 0, 0)
    assert (before.settled_nano, before.later_nano, before.differs_nano) == (90, 33, 0)


def log(at: datetime, nano: int) -> None:
    RequestLog.objects.create(
        id=UUID(int=first_id(at).int + 1),
        created_at=at,
        tenant_name="acme",
        endpoint="/v1/chat/completions",
        dialect="openai",
        requested_model="alpha",
        stream=False,
        status=200,
        outcome="ok",
        cost_nano=nano,
    )
