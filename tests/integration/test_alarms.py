"""A provider whose bill cannot be right is seen: counted, logged, listed, and told to people."""

import json
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from tenants.models import Tenant
from tenants.money.models import LedgerAlarm
from tests.harness.books import Books
from tests.harness.config import budget, configuration, model, nano_prices, tenant
from tests.harness.dialects import OPENAI, fetch
from tests.harness.gateway import GatewayProcess
from tests.harness.together import until
from tests.upstream.client import Upstream
from tests.upstream.scripts import words

MODELS = [model("alpha", price=("1.00", "4.00"))]
NEGATIVE = {"prompt_tokens": -5, "completion_tokens": 5}
MORE = {"prompt_tokens": 10, "completion_tokens": 90_000}  # than `max_tokens` allows
DEAR = {"prompt_tokens": 10, "completion_tokens": 8, "total_tokens": 18, "cost": 0.5}
RIGHT = DEAR | {"cost": 0.000042}
TOLD = {"negative": NEGATIVE, "more": MORE, "dear": DEAR, "right": RIGHT}
EXPECTED = {"negative": "usage_invalid", "more": "hold_exceeded", "dear": "cost_differs"}

pytestmark = pytest.mark.promise("M9")


def logged(gateway: GatewayProcess) -> dict[str, Any]:
    """Return the warnings of alarms by their request."""
    lines = (line for line in gateway.log.splitlines() if '"ledger.alarm"' in line)
    found = [json.loads(line) for line in lines]
    assert len({line["request_id"] for line in found}) == len(found)
    return {line["request_id"]: line for line in found}


def counted(gateway: GatewayProcess) -> dict[str, float]:
    text = fetch(gateway.url, "GET", "/metrics").text
    lines = [line for line in text.splitlines() if line.startswith("mobius_alarms_total{")]
    return {
        line.partition('kind="')[2].partition('"')[0]: float(line.rpartition(" ")[2])
        for line in lines
    }


def test_what_cannot_be_right_is_counted_logged_and_kept(
    gateway: GatewayProcess, upstream: Upstream
) -> None:
    upstream.prices(**nano_prices(MODELS))
    for name, usage in TOLD.items():
        upstream.script(name, words(8).but(usage=usage))
    gateway.apply(
        configuration(
            upstream.base_url,
            models=MODELS,
            routes=[],
            tenants=[tenant(budgets=[budget("9")])],
        )
    )
    gateway.serve()
    asked: dict[str, list[str]] = {
        name: [
            OPENAI.ask(
                gateway.url, "alpha", stream=stream, content=f"go [[script:{name}]]"
            ).request_id
            for stream in (False, True)
        ]
        for name in TOLD
    }
    until(lambda: counted(gateway) == dict.fromkeys(EXPECTED.values(), 2.0), 10)
    books, lines = Books(gateway), logged(gateway)
    alarms = {row["kind"]: row for row in books.rows("ledger_alarm")}
    assert alarms.keys() == set(EXPECTED.values())
    assert lines.keys() == {one for name in EXPECTED for one in asked[name]}
    for name, kind in EXPECTED.items():
        for request_id in asked[name]:
            (entry,) = books.terminal(request_id)
            assert entry["outcome"] == "settled"
            assert lines[request_id]["alarms"] == [{"kind": kind, "attempt": 1, "model": "alpha"}]
        assert alarms[kind]["request_id"] in asked[name]
    costs = [books.terminal(one)[0]["provider_cost_nano"] for one in asked["dear"] + asked["right"]]
    assert costs == [500_000_000] * 2 + [42_000] * 2
    audit = books.audit()
    assert (audit.code, audit.ok, audit.holds) == (0, True, 0)


@pytest.fixture
def console(client: Client, transactional_db: None) -> Client:
    del transactional_db
    client.force_login(User.objects.create_superuser("operator"))
    return client


def test_the_integrity_page_lists_them(console: Client) -> None:
    now = timezone.now()
    alarm = LedgerAlarm.all_tenants_unsafe.create(
        tenant=Tenant.objects.create(name="acme"),
        kind="hold_exceeded",
        model="alpha",
        day=now.date(),
        request_id="0197a000-0000-7000-8000-000000000001",
        attempt_no=1,
        said="Charged 2 USD, more than the 1 held for it.",
        created_at=now,
    )
    page = console.get("/admin/tenants/ledgercheck/").content.decode()
    for text in ("acme", alarm.kind, alarm.model, str(alarm.request_id), alarm.said):
        assert text in page
