"""Agent runs are held to money, steps and time by all processes together, and can be stopped."""

import json
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest

from tests.harness.books import Books
from tests.harness.config import (
    API_KEY,
    budget,
    configuration,
    model,
    models,
    nano_prices,
    tenant,
)
from tests.harness.dialects import ANTHROPIC, OPENAI, Told, fetch
from tests.harness.gateway import GatewayProcess
from tests.upstream.client import Upstream
from tests.upstream.scripts import gated

STEPS, AT_ONCE, SECONDS = 5, 24, 3
WITHIN_S = 2.0  # by then a change is in force in every process
CALLS = 4
# An input that costs nothing and an answer as long as its limit: what is held is what it costs.
COSTLY = [model("alpha", price=("0", "4.00")), model("claude", "anthropic", price=("0", "4.00"))]
CALL_NANO = 8 * 4000
NATIVE = {"prompt": "count, please", "model": "alpha", "max_tokens": 8}

pytestmark = pytest.mark.promise("M1")


def serve(gateway: GatewayProcess, upstream: Upstream, **runs: Any) -> Books:
    wanted = configuration(upstream.base_url, tenants=[tenant(budgets=[budget("9")], runs=runs)])
    upstream.prices(**nano_prices(models()))
    gateway.apply(wanted)
    gateway.serve(workers=2 if gateway.environment["REDIS_URL"] else 1)
    return Books(gateway)


def ask(gateway: GatewayProcess, run: str, **how: Any) -> Told:
    return OPENAI.ask(gateway.url, "alpha", headers={"x-mobius-run": run}, **how)


def usd(calls: int) -> str:
    return str(Decimal(calls * CALL_NANO) / 10**9)


def spend(gateway: GatewayProcess, n: int, run: str) -> Told:
    """Ask at one door after the other on behalf of a run."""
    named = {"x-mobius-run": run}
    if n % 4 == 3:
        headers = {"Authorization": f"Bearer {API_KEY}", **named}
        body = json.dumps(NATIVE).encode()
        return fetch(gateway.url, "POST", "/api/v1/llm/complete", body, headers)
    dialect, name = ((OPENAI, "alpha"), (ANTHROPIC, "alpha"), (OPENAI, "claude"))[n % 4]
    return dialect.ask(gateway.url, name, headers=named, stream=bool(n % 2))


def test_a_run_spends_its_ceiling_and_not_a_nano_dollar_more(
    gateway: GatewayProcess, upstream: Upstream
) -> None:
    def ceiling(calls: int) -> None:
        acme = tenant(budgets=[budget("9")], runs={"budget": usd(calls)})
        gateway.apply(configuration(upstream.base_url, models=COSTLY, routes=[], tenants=[acme]))

    upstream.prices(**nano_prices(COSTLY))
    ceiling(CALLS)
    gateway.serve(workers=2 if gateway.environment["REDIS_URL"] else 1)
    with ThreadPoolExecutor(AT_ONCE) as threads:
        told = list(threads.map(lambda n: spend(gateway, n // 2, f"run-{n % 2}"), range(AT_ONCE)))
    assert Counter(each.status for each in told) == {200: 2 * CALLS, 402: AT_ONCE - 2 * CALLS}
    assert len(upstream.calls) == 2 * CALLS
    refused = ask(gateway, "run-1")
    assert (refused.code, refused.headers["x-should-retry"]) == ("insufficient_quota", "false")
    error, limit = OPENAI.error(refused), f"{usd(CALLS)}000"
    assert error["message"] == (
        "Budget runs.budget (tenant, total, run run-1) is used up:"
        f" limit {limit} USD, used {limit}, held 0.000000000."
    )

    books = Books(gateway)
    runs = {row["subject"]: row["used_nano"] for row in books.rows("ledger_bucket")}
    assert runs == {
        "": 2 * CALLS * CALL_NANO,
        **dict.fromkeys(("run-0", "run-1"), CALLS * CALL_NANO),
    }
    assert ask(gateway, "run-2").status == 200  # another run has a ceiling of its own
    assert OPENAI.ask(gateway.url, "alpha").status == 200  # and who names none has none

    ceiling(CALLS + 1)  # in force on the next request, on what was spent already
    assert [ask(gateway, "run-1").status for _ in range(2)] == [200, 402]
    assert f"budget: '{usd(CALLS + 1)}" in gateway.managed("export").replace('"', "'")
    assert books.audit().ok


def test_a_run_has_its_steps_and_no_more(gateway: GatewayProcess, upstream: Upstream) -> None:
    books = serve(gateway, upstream, max_steps=STEPS)
    with ThreadPoolExecutor(AT_ONCE) as threads:
        told = list(threads.map(lambda n: ask(gateway, f"run-{n % 2}"), range(AT_ONCE)))
    assert Counter(each.status for each in told) == {200: 2 * STEPS, 402: AT_ONCE - 2 * STEPS}
    refused = next(each for each in told if each.status == 402)
    assert (refused.code, refused.headers["x-should-retry"]) == ("insufficient_quota", "false")
    assert f"has used its {STEPS} steps" in OPENAI.error(refused)["message"]
    assert len(upstream.calls) == len(books.entries()) == 2 * STEPS
    assert OPENAI.ask(gateway.url, "alpha").status == 200  # who names no run takes no step


def test_a_run_that_is_stopped_or_too_old_ends(gateway: GatewayProcess, upstream: Upstream) -> None:
    books = serve(gateway, upstream)
    upstream.script("alpha", gated("never", 3))
    with ThreadPoolExecutor(1) as thread:
        stopped = thread.submit(ask, gateway, "stopped", stream=True)
        upstream.wait_seen(1)
        gateway.managed("stop", "run", "acme/stopped")
        assert "was stopped" in OPENAI.stream_error(stopped.result(20))["message"]
    assert ask(gateway, "stopped").status == 403

    bounded = tenant(budgets=[budget("9")], runs={"max_seconds": SECONDS})
    gateway.apply(configuration(upstream.base_url, tenants=[bounded]))
    time.sleep(WITHIN_S)
    began = time.monotonic()
    told = ask(gateway, "old", stream=True)
    assert OPENAI.stream_error(told)["code"] == "deadline_exceeded"
    assert SECONDS - 1 < time.monotonic() - began < SECONDS + 4
    upstream.script("alpha")
    late = ask(gateway, "old")
    assert (late.status, late.code) == (402, "insufficient_quota")
    assert f"{SECONDS} seconds" in OPENAI.error(late)["message"]
    assert books.audit().ok
