"""Agent runs are held to steps and time by all processes together, and can be stopped."""

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.harness.books import Books
from tests.harness.config import budget, configuration, models, nano_prices, tenant
from tests.harness.dialects import OPENAI, Told
from tests.harness.gateway import GatewayProcess
from tests.upstream.client import Upstream
from tests.upstream.scripts import gated

STEPS, AT_ONCE = 5, 24

pytestmark = pytest.mark.promise("M1")


def serve(gateway: GatewayProcess, upstream: Upstream, **runs: Any) -> Books:
    wanted = configuration(upstream.base_url, tenants=[tenant(budgets=[budget("9")], runs=runs)])
    upstream.prices(**nano_prices(models()))
    gateway.apply(wanted)
    gateway.serve(workers=2 if gateway.environment["REDIS_URL"] else 1)
    return Books(gateway)


def ask(gateway: GatewayProcess, run: str, **how: Any) -> Told:
    return OPENAI.ask(gateway.url, "alpha", headers={"x-mobius-run": run}, **how)


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
    books = serve(gateway, upstream, max_seconds=8)
    began = time.monotonic()
    upstream.script("alpha", gated("never", 3))
    with ThreadPoolExecutor(2) as threads:
        stopped, old = (
            threads.submit(ask, gateway, run, stream=True) for run in ("stopped", "old")
        )
        upstream.wait_seen(2)
        gateway.managed("stop", "run", "acme/stopped")
        assert "was stopped" in OPENAI.stream_error(stopped.result(20))["message"]
        assert OPENAI.stream_error(old.result(20))["code"] == "deadline_exceeded"
    assert 6 < time.monotonic() - began < 12
    upstream.script("alpha")
    assert ask(gateway, "stopped").status == 403
    late = ask(gateway, "old")
    assert (late.status, late.code) == (402, "insufficient_quota")
    assert "8 seconds" in OPENAI.error(late)["message"]
    assert books.audit().ok
