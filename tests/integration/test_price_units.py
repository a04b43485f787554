"""Nothing that a provider bills is free in silence, and no body hides what it may cost."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.harness.books import Books
from tests.harness.config import budget, configuration, model, route, tenant
from tests.harness.dialects import ANTHROPIC, OPENAI, Dialect, Told
from tests.harness.gateway import GatewayProcess
from tests.upstream.client import Upstream
from tests.upstream.scripts import answer

WINDOW = 128_000
SEARCH = {"type": "web_search_20250305", "name": "web_search", "max_uses": 2}
LASTING = {"type": "text", "text": "hi", "cache_control": {"type": "ephemeral", "ttl": "1h"}}
SOUND = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
SEARCHED = {
    "input_tokens": 10,
    "output_tokens": 2,
    "server_tool_use": {"web_search_requests": 3, "web_fetch_requests": 0},
}


def priced(name: str, provider: str = "anthropic", **lines: str) -> dict[str, Any]:
    row = model(name, provider, price=("1.00", "4.00"))
    row["prices"][0].update(lines)
    return row


def serve(gateway: GatewayProcess, upstream: Upstream, *, hard: bool, **more: Any) -> Books:
    rows = [
        priced("bare"),
        priced("full", tool_call="0.01", cache_write_1h="2.00"),
        priced("spoken", "openai"),
        {**priced("blind"), "context_window": None},
    ]
    routes = [route("bare-then-full", "bare", "full")]
    acme = tenant(budgets=[budget("9", hard=hard)])
    gateway.apply(
        configuration(upstream.base_url, models=rows, routes=routes, tenants=[acme], **more)
    )
    gateway.serve()
    return Books(gateway)


def ask(gateway: GatewayProcess, name: str, dialect: Dialect = ANTHROPIC, **fields: Any) -> Told:
    return dialect.ask(gateway.url, name, **fields)


@pytest.mark.promise("M1")
@pytest.mark.parametrize("database_backend", ["sqlite"], indirect=True)
def test_a_hard_budget_refuses_by_name_what_has_no_price_or_no_bound(
    gateway: GatewayProcess, upstream: Upstream
) -> None:
    books = serve(gateway, upstream, hard=True)
    cases: tuple[tuple[str, Dialect, dict[str, Any], str], ...] = (
        ("bare", ANTHROPIC, {"tools": [SEARCH]}, "tool_call"),
        ("bare", ANTHROPIC, {"content": [LASTING]}, "cache_write_1h_token"),
        ("full", ANTHROPIC, {"tools": [{"type": "advisor_20260301"}]}, "other_model_token"),
        ("spoken", OPENAI, {"content": [SOUND]}, "audio_input_token"),
        ("spoken", OPENAI, {"modalities": ["text", "audio"]}, "audio_output_token"),
        ("spoken", OPENAI, {"web_search_options": {}}, "tool_call"),
    )
    for name, dialect, fields, unit in cases:
        told = ask(gateway, name, dialect, **fields)
        assert (told.status, told.code) == (400, "model_not_priced")
        assert f"no price for {unit}," in dialect.error(told)["message"]
    unbounded: dict[str, dict[str, Any]] = {
        "container": {"container": "c_1"},
        "documents": {"content": [{"type": "document", "source": {"type": "file"}}]},
        "images": {"content": [{"type": "image", "source": {"type": "url", "url": "u"}}]},
    }
    for field, fields in unbounded.items():
        told = ask(gateway, "blind", **fields)
        assert (told.status, ANTHROPIC.error(told)["param"]) == (400, field)
    assert (upstream.calls, books.entries()) == ([], [])


@pytest.mark.promise("M1")
@pytest.mark.parametrize("database_backend", ["sqlite"], indirect=True)
def test_what_a_body_does_not_hold_is_held_by_the_window_and_a_priced_target_takes_over(
    gateway: GatewayProcess, upstream: Upstream
) -> None:
    books = serve(gateway, upstream, hard=True)
    input_nano = WINDOW * 1000
    held: tuple[tuple[str, dict[str, Any], int], ...] = (
        ("bare", {"container": "c_1"}, input_nano),
        ("bare", {"content": [{"type": "document", "source": {"type": "file"}}]}, input_nano),
        ("full", {"tools": [SEARCH]}, 3 * 2 * input_nano + 2 * 10_000_000),
        ("bare-then-full", {"tools": [SEARCH]}, 3 * 2 * input_nano + 2 * 10_000_000),
    )
    for name, fields, least in held:
        told = ask(gateway, name, **fields)
        assert told.status == 200, told.text
        (entry,) = books.entries(told.request_id)
        assert entry["hold_nano"] == least + 8 * 4000  # what the body says, and the answer
        assert 0 < entry["amount_nano"] <= entry["hold_nano"]
    assert books.audit().ok


def lately() -> tuple[str, ...]:
    """Return the span of yesterday and today, of which midnight takes nothing away."""
    today = datetime.now(UTC).date()
    return ("--from", str(today - timedelta(days=1)), "--to", str(today))


def recomputed(gateway: GatewayProcess, *options: str) -> str:
    return gateway.managed("recompute", "--model", "bare", *lately(), *options)


def lines(row: dict[str, Any]) -> Any:
    return json.loads(row["lines"]) if isinstance(row["lines"], str) else row["lines"]


def test_without_a_hard_budget_it_is_flagged_listed_and_corrected(
    gateway: GatewayProcess, upstream: Upstream
) -> None:
    books = serve(gateway, upstream, hard=False)
    upstream.script("bare", answer("found it").but(usage=SEARCHED))
    told = ask(gateway, "bare", tools=[SEARCH])
    assert told.status == 200
    (entry,) = books.until_settled(1, 10)
    assert bool(entry["unpriced"]) is True
    assert entry["amount_nano"] == 10 * 1000 + 2 * 4000
    (unknown,) = (line for line in lines(entry) if line["price_nano"] is None)
    assert (unknown["unit"], unknown["units"], unknown["amount_nano"]) == ("tool_call", 3, 0)
    listed = gateway.managed("prices", "--unpriced")
    assert "bare at anthropic: has no price for tool_call; 1 attempts without one" in listed
    assert ask(gateway, "full").status == 200
    assert [bool(row["unpriced"]) for row in books.until_settled(2, 10)] == [True, False]

    gateway.terminate()
    feed = gateway.home / "feed.yaml"
    feed.write_text('prices: [{model: bare, from: 2020-01-01, tool_call: "0.02"}]\n')
    assert "1 prices added." in gateway.managed("prices", "--feed", str(feed), "--apply")
    assert "has a price for tool_call now" in gateway.managed("prices", "--unpriced")
    assert "1 of 1 attempts corrected: USD 0.060000000" in recomputed(gateway)
    assert "bare" not in gateway.managed("prices", "--unpriced")
    correction = books.entries()[-1]
    assert (correction["kind"], bool(correction["unpriced"])) == ("correction", False)
    for row in books.rows("ledger_entry"):
        assert sum(line["amount_nano"] for line in lines(row)) == row["amount_nano"]
    assert books.audit().ok


@pytest.mark.parametrize("database_backend", ["sqlite"], indirect=True)
def test_a_tenant_pays_the_margin_that_it_paid_then(
    gateway: GatewayProcess, upstream: Upstream
) -> None:
    def applied(margin: str, output: str) -> None:
        row = model("bare", price=("0", output))
        acme = tenant(margin=margin)
        gateway.apply(configuration(upstream.base_url, models=[row], routes=[], tenants=[acme]))

    def charged() -> int:
        return int(sum(row["amount_nano"] for row in books.entries()))

    books = Books(gateway)
    applied("12.5", "4.00")
    gateway.serve()
    assert ask(gateway, "bare", OPENAI).status == 200
    (entry,) = books.until_settled(1, 10)
    margin = lines(entry)[-1]
    versions = {row["id"]: row["percent_ppm"] for row in books.rows("llm_gateway_tenantmargin")}
    assert (margin["unit"], versions[margin["version"]]) == ("margin", 125_000)
    assert charged() == 8 * 4000 * 1125 // 1000
    gateway.terminate()

    applied("50", "8.00")  # in force from today on, like the one it was charged with
    assert "1 of 1 attempts corrected" in recomputed(gateway)
    assert charged() == 8 * 8000 * 1125 // 1000
    assert "0 of 1 attempts corrected" in recomputed(gateway)
    assert "1 of 1 attempts corrected" in recomputed(gateway, "--margins")
    assert charged() == 8 * 8000 * 15 // 10
    assert "0 of 1 attempts corrected" in recomputed(gateway)
    assert books.audit().ok
