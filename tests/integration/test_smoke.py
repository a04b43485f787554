"""One request of each kind through a real gateway, and its ledger against the upstream's bill."""

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import httpx2
import pytest

from tests.harness.config import API_KEY, PROVIDER_KEY, budget, configuration, nano_prices, tenant
from tests.harness.gateway import GatewayProcess
from tests.upstream.client import Upstream

NANO = Decimal(10) ** 9
LIMIT = Decimal("1.00")


@pytest.fixture
def client(gateway: GatewayProcess, upstream: Upstream) -> Iterator[httpx2.Client]:
    """Yield a client of a gateway that serves the standard configuration under one budget."""
    wanted = configuration(upstream.base_url, tenants=[tenant(budgets=[budget(str(LIMIT))])])
    upstream.prices(**nano_prices(wanted["models"]))
    gateway.apply(wanted)
    gateway.serve()
    headers = {"Authorization": f"Bearer {API_KEY}"}
    with httpx2.Client(base_url=gateway.url, headers=headers, timeout=20) as client:
        yield client


def chat(client: httpx2.Client, **fields: Any) -> httpx2.Response:
    messages = [{"role": "user", "content": "count to four, please"}]
    body = {"model": "alpha", "messages": messages, **fields}
    return client.post("/v1/chat/completions", json=body)


def test_whole_and_streamed_answers_arrive_and_the_ledger_equals_the_bill(
    client: httpx2.Client, gateway: GatewayProcess, upstream: Upstream
) -> None:
    whole = chat(client)
    assert whole.status_code == 200, whole.text
    assert whole.json()["choices"][0]["message"]["content"] == "w1 w2 w3 w4 w5 w6 w7 w8"

    streamed = chat(client, stream=True)
    events = [event.removeprefix("data: ") for event in streamed.text.split("\n\n") if event]
    assert events[-1] == "[DONE]"
    pieces = [json.loads(event)["choices"][0]["delta"].get("content") for event in events[:-1]]
    assert "".join(filter(None, pieces)) == "w1 w2 w3 w4 w5 w6 w7 w8"

    claude = chat(client, model="claude", max_tokens=4)
    assert claude.json()["choices"][0]["message"]["content"] == "w1 w2 w3 w4"

    assert upstream.order == ["alpha", "alpha", "claude"]
    assert {call.headers.get("authorization") for call in upstream.calls[:2]} == {
        f"Bearer {PROVIDER_KEY}"
    }
    bill = upstream.bill()
    assert Decimal(whole.headers["x-mobius-cost-usd"]) * NANO == bill.rows[0].cost_nano_usd
    left = Decimal(claude.headers["x-mobius-budget-remaining-usd"])
    assert (LIMIT - left) * NANO == bill.total_nano_usd
    ledger = json.loads(gateway.managed("verify_ledger", "--json"))
    assert (ledger["ok"], ledger["terminal_entries"], ledger["holds"]) == (True, 3, 0)


def test_a_gateway_that_was_killed_serves_again(
    client: httpx2.Client, gateway: GatewayProcess
) -> None:
    assert chat(client).status_code == 200
    gateway.kill9()
    gateway.serve()
    assert chat(client).status_code == 200


def test_a_gateway_that_is_asked_to_stop_ends_well(
    client: httpx2.Client, gateway: GatewayProcess
) -> None:
    assert chat(client).status_code == 200
    assert gateway.terminate() == 0
