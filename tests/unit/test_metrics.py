"""What is counted, under few labels; and what the request log says of each provider."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from llm_gateway.metrics import Sample, provider_metrics
from llm_gateway.metrics.prometheus import TENANTS, Metrics
from llm_gateway.recorder import Recorder
from llm_gateway.recorder.journal import Journal
from tests.harness.database import Databases
from tests.unit.request_log import attempt, call, connected


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> Metrics:
    return Metrics(registry)


def value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(f"mobius_{name}", labels)


def test_a_call_counts_once_everywhere(metrics: Metrics, registry: CollectorRegistry) -> None:
    metrics.observe(call(cached_tokens=7, first_token_ms=40.0, cache="miss"))
    whose = {"tenant": "acme", "model": "gpt-4o", "provider": "alpha"}
    assert value(registry, "requests_total", **whose, dialect="openai_chat", status="2xx") == 1
    assert value(registry, "tokens_total", **whose, kind="input") == 100
    assert value(registry, "tokens_total", **whose, kind="cached") == 7
    assert value(registry, "cost_usd_total", **whose) == pytest.approx(0.0011)
    assert value(registry, "cache_total", result="miss") == 1
    target = {"model": "gpt-4o", "provider": "alpha"}
    assert value(registry, "first_token_seconds_sum", **target) == pytest.approx(0.04)
    assert value(registry, "request_seconds_count", **target, dialect="openai_chat") == 1


def test_attempts_tell_retries_from_fallbacks(
    metrics: Metrics, registry: CollectorRegistry
) -> None:
    failed = attempt(category="server", status=500)
    again = attempt(number=2, category="timeout")
    other = attempt(number=3, provider="beta", deployment_id=8)
    metrics.observe(call(attempts=(failed, again, other), provider="beta"))
    alpha, beta = ({"provider": name, "model": "gpt-4o"} for name in ("alpha", "beta"))
    assert value(registry, "attempts_total", **alpha, category="server") == 1
    assert value(registry, "attempts_total", **alpha, category="timeout") == 1
    assert value(registry, "attempts_total", **beta, category="ok") == 1
    assert value(registry, "retries_total", **alpha) == 1
    assert value(registry, "fallbacks_total", **beta) == 1
    assert value(registry, "fallbacks_total", **alpha) is None


def test_errors_count_by_code_and_category(metrics: Metrics, registry: CollectorRegistry) -> None:
    for _ in range(2):
        metrics.observe(
            call(status=429, code="rate_limit_exceeded", category="rate_limit", attempts=())
        )
    labels = {"code": "rate_limit_exceeded", "category": "rate_limit"}
    assert value(registry, "errors_total", **labels) == 2


def test_what_callers_send_makes_no_label(metrics: Metrics) -> None:
    before = len(metrics.render().splitlines())
    metrics.observe(call())
    once = len(metrics.render().splitlines())
    for number in range(50):
        metrics.observe(
            call(requested_model=f"m{number}", end_user=f"u{number}", key_name=f"k{number}")
        )
    assert before < once == len(metrics.render().splitlines())


def test_tenants_beyond_the_cap_share_a_name(metrics: Metrics, registry: CollectorRegistry) -> None:
    for number in range(TENANTS + 30):
        metrics.observe(call(tenant_name=f"t{number}"))
    metrics.observe(call(tenant_name="t0"))
    labels = {"model": "gpt-4o", "provider": "alpha", "dialect": "openai_chat", "status": "2xx"}
    assert value(registry, "requests_total", tenant="t0", **labels) == 2
    assert value(registry, "requests_total", tenant=f"t{TENANTS}", **labels) is None
    assert value(registry, "requests_total", tenant="other", **labels) == 30


def test_a_circuit_shows_its_state(metrics: Metrics, registry: CollectorRegistry) -> None:
    metrics.breaker_changed("alpha", "gpt-4o", "open")
    metrics.breaker_counted("alpha", "gpt-4o", "open")
    metrics.breaker_changed("alpha", "gpt-4o", "half_open")
    metrics.breaker_probed("alpha", "gpt-4o", "failure")
    target = {"provider": "alpha", "model": "gpt-4o"}
    assert value(registry, "circuit_state", **target) == 2
    assert value(registry, "circuit_changes_total", **target, state="open") == 1
    assert value(registry, "circuit_probes_total", **target, outcome="failure") == 1


DID = {"hits": 1, "stored": 2}


def test_a_process_tells_of_itself(metrics: Metrics, registry: CollectorRegistry) -> None:
    metrics.sample(
        Sample(
            in_flight=3,
            limits_away=True,
            recorder_dropped=5,
            contents_left_out=4,
            cache_bytes=7,
            cache_did=DID,
        )
    )
    assert value(registry, "cache_bytes") == 7
    assert value(registry, "cache_did", did="stored") == 2
    assert value(registry, "requests_in_flight") == 3
    assert value(registry, "limits_away") == 1
    assert value(registry, "recorder_dropped") == 5
    assert value(registry, "recorder_contents_left_out") == 4


def test_each_attempt_tells_how_long_the_ledger_took_and_what_was_wrong(
    metrics: Metrics, registry: CollectorRegistry
) -> None:
    one = attempt(admit_ms=0.7, settle_ms=2.0, alarms=("usage_invalid",))
    metrics.observe(call(attempts=(one, attempt(number=2, admit_ms=0.6))))
    assert value(registry, "ledger_seconds_count", operation="admit") == 2
    assert value(registry, "ledger_seconds_sum", operation="settle") == 0.002
    target = {"provider": one.provider, "model": one.model}
    assert value(registry, "alarms_total", kind="usage_invalid", **target) == 1


def test_several_workers_are_summed_up(tmp_path: Path) -> None:
    count = """
import django; django.setup()
from llm_gateway import metrics
from tests.unit.request_log import call
metrics.observe(call()); metrics.sample(metrics.Sample(in_flight=2))
"""
    show = count + "print(metrics.render().decode())"
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    printed = ""
    for program in (count, count, show):
        printed = subprocess.run(  # noqa: S603 - our own program
            [sys.executable, "-c", program],
            env=environment,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
    (requests,) = [
        line for line in printed.splitlines() if line.startswith("mobius_requests_total")
    ]
    assert requests.endswith(" 3.0")


# --- the window of a provider ------------------------------------------------------------------


@pytest.fixture
def alias(databases: Databases, tmp_path: Path, django_db_blocker: Any) -> Iterator[str]:
    url = databases.create(tmp_path)
    with django_db_blocker.unblock(), connected(url) as alias:
        yield alias
    databases.drop(url)


@pytest.fixture
def recorder(alias: str) -> Recorder:
    return Recorder(journal=Journal(alias))


def test_an_empty_log_has_no_providers(alias: str) -> None:
    assert provider_metrics(3600, using=alias) == []
    assert provider_metrics(3600, "alpha", using=alias) == []


def test_a_provider_is_summed_up_by_its_attempts(alias: str, recorder: Recorder) -> None:
    for number in range(1, 20):
        recorder.record(call(attempts=(attempt(duration_ms=10.0 * number, cost_nano=100),)))
    fell_back = (
        attempt(category="server", duration_ms=1000.0),
        attempt(number=2, provider="beta", duration_ms=50.0, cost_nano=7),
    )
    recorder.record(call(provider="beta", attempts=fell_back))
    old = datetime.now(UTC) - timedelta(hours=2)
    recorder.record(call(created_at=old, attempts=(attempt(provider="gamma"),)))
    recorder.record(call(provider="", model="", status=402, outcome="refused", attempts=()))
    asyncio.run(recorder.close())

    alpha, beta = provider_metrics(3600, using=alias)
    assert alpha == {
        "provider": "alpha",
        "requests": 20,
        "success_rate": 0.95,
        "average_ms": 145.0,
        "p95_ms": 190.0,
        "tokens": 19 * 120,
        "cost_usd": "0.000001900",
        "errors": {"server": 1},
    }
    assert (beta["requests"], beta["success_rate"], beta["tokens"]) == (1, 1.0, 120)
    assert provider_metrics(3600, "beta", using=alias) == [beta]
    assert [line["provider"] for line in provider_metrics(3 * 3600, using=alias)] == [
        "alpha",
        "beta",
        "gamma",
    ]
