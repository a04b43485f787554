"""A deployment that keeps failing is left alone, and tried again by one call (faults.md §5)."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.books import Books
from tests.harness.config import configuration, model, nano_prices, openai_provider
from tests.harness.database import SqliteDatabases
from tests.harness.dialects import ANTHROPIC, OPENAI, Dialect, Told
from tests.harness.gateway import GatewayProcess, installed
from tests.upstream.client import Upstream
from tests.upstream.scripts import answer, failing

pytestmark = pytest.mark.timed

THRESHOLD, RECOVERY_S = 3, 2.0
BREAKER = {"failure_threshold": THRESHOLD, "recovery_timeout": RECOVERY_S}
MODELS = [model("steady", "steady"), model("shaky", "shaky"), model("feeble", "feeble")]


@pytest.fixture(scope="module")
def breaking(
    sqlite_databases: SqliteDatabases,
    upstream_process: Upstream,
    tmp_path_factory: pytest.TempPathFactory,
    output: Path,
) -> Iterator[GatewayProcess]:
    providers = [
        openai_provider(
            upstream_process.base_url,
            row["name"],
            circuit_breaker=BREAKER,
            retry={"max_attempts": 1},
        )
        for row in MODELS
    ]
    wanted = configuration(upstream_process.base_url, providers=providers, models=MODELS, routes=[])
    with installed(sqlite_databases, tmp_path_factory.mktemp("home"), output) as gateway:
        gateway.apply(wanted)
        yield gateway.serve()


def open_circuit(gateway: GatewayProcess, upstream: Upstream, name: str, dialect: Dialect) -> None:
    upstream.prices(**nano_prices(MODELS))
    upstream.script(name, *[failing(500)] * THRESHOLD, answer("well again"))
    told = [dialect.ask(gateway.url, name).code for _ in range(THRESHOLD)]
    assert told == ["upstream_error"] * THRESHOLD


def check_open(told: Told, dialect: Dialect) -> None:
    assert (told.status, told.code) == (503, "no_target_available"), told.text
    assert 1 <= int(told.headers["retry-after"]) <= RECOVERY_S * 1.2 + 1
    dialect.error(told)


@pytest.mark.parametrize(("dialect", "name"), [(OPENAI, "shaky"), (ANTHROPIC, "feeble")])
def test_an_open_circuit_answers_at_once_and_a_probe_closes_it(
    breaking: GatewayProcess, upstream: Upstream, dialect: Dialect, name: str
) -> None:
    open_circuit(breaking, upstream, name, dialect)
    opened = time.monotonic()
    durations = []
    for _ in range(10):
        before = time.monotonic()
        check_open(told := dialect.ask(breaking.url, name), dialect)
        durations.append(time.monotonic() - before)
        assert Books(breaking).entries(told.request_id) == []
    # 50 ms are promised; the best of ten, since the machine is shared with other tests.
    assert min(durations) <= 0.05
    assert len(upstream.calls) == THRESHOLD

    told = dialect.ask(breaking.url, name)
    while told.status == 503 and time.monotonic() < opened + 20:
        told = dialect.ask(breaking.url, name)
    assert told.status == 200, told.text
    assert time.monotonic() - opened >= RECOVERY_S * 0.8 - 0.1
    assert len(upstream.calls) == THRESHOLD + 1


def test_a_request_that_is_itself_wrong_opens_nothing(
    breaking: GatewayProcess, upstream: Upstream
) -> None:
    upstream.script("steady", *[failing(400)] * (THRESHOLD + 2), answer("well"))
    told = [OPENAI.ask(breaking.url, "steady").status for _ in range(THRESHOLD + 3)]
    assert told == [400] * (THRESHOLD + 2) + [200]
