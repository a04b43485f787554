"""Without traffic a provider is known by its model list, which spends nothing and risks nobody."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from tests.harness.books import Books
from tests.harness.config import API_KEY, configuration, model, openai_provider
from tests.harness.database import SqliteDatabases
from tests.harness.dialects import OPENAI
from tests.harness.faultproxy import FaultProxy
from tests.harness.gateway import GatewayProcess, installed
from tests.harness.together import until
from tests.upstream.client import Upstream
from tests.upstream.scripts import answer

pytestmark = pytest.mark.timed

PATIENCE_S = 30.0
BREAKER = {"failure_threshold": 2, "recovery_timeout": 0.5, "max_recovery_timeout": 1}


@pytest.fixture(scope="module")
def way(upstream_process: Upstream) -> Iterator[FaultProxy]:
    place = urlsplit(upstream_process.base_url)
    assert place.hostname
    assert place.port
    with FaultProxy(place.hostname, place.port) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def gateway(
    sqlite_databases: SqliteDatabases,
    way: FaultProxy,
    upstream_process: Upstream,
    tmp_path_factory: pytest.TempPathFactory,
    output: Path,
) -> Iterator[GatewayProcess]:
    idle = openai_provider(
        f"http://127.0.0.1:{way.port}",
        "idle",
        circuit_breaker=BREAKER,
        health_check={"interval": 0.5},
    )
    listless = openai_provider(
        "http://127.0.0.1:9",  # nobody listens there
        "listless",
        circuit_breaker=BREAKER,
        health_check={"interval": 0.5},
    )
    wanted = configuration(
        upstream_process.base_url,
        providers=[idle, listless, openai_provider(upstream_process.base_url, "unasked")],
        models=[model("lone", "idle"), model("ghost", "listless"), model("other", "unasked")],
        routes=[],
    )
    with installed(sqlite_databases, tmp_path_factory.mktemp("home"), output) as gateway:
        gateway.apply(wanted)
        yield gateway.serve()


def health(gateway: GatewayProcess, name: str = "lone") -> Any:
    headers = {"Authorization": f"Bearer {API_KEY}"}
    listed = httpx2.get(f"{gateway.url}/api/v1/llm/models", headers=headers, timeout=20).json()
    return next(one["health"] for one in listed["data"] if one["model"] == name)


def metric(gateway: GatewayProcess, name: str, *labels: str) -> float:
    lines = httpx2.get(f"{gateway.url}/metrics", timeout=20).text.splitlines()
    found = [one for one in lines if one.startswith(name) and all(each in one for each in labels)]
    return sum(float(one.rpartition(" ")[2]) for one in found)


def test_an_idle_provider_is_known_by_its_list_and_comes_back_with_one_call(
    gateway: GatewayProcess, upstream: Upstream, way: FaultProxy
) -> None:
    upstream.script("lone", answer("well again"))
    until(lambda: health(gateway)["said_by"] == "probe", PATIENCE_S)
    assert health(gateway)["probe"]["error"] == ""
    assert health(gateway, "other")["probe"] is None

    way.refuse()
    until(lambda: health(gateway)["state"] == "open", PATIENCE_S)
    assert health(gateway)["probe"]["error"] != ""
    changes = "mobius_circuit_changes_total"
    until(lambda: metric(gateway, changes, 'state="half_open"') > 0, PATIENCE_S)
    assert OPENAI.ask(gateway.url, "lone").status == 503

    way.restore()
    until(lambda: health(gateway)["probe"]["error"] == "", PATIENCE_S)
    assert health(gateway)["state"] == "half_open"
    assert upstream.calls == []  # a list says nothing of a model: the last probe is a caller's
    assert OPENAI.ask(gateway.url, "lone").status == 200
    assert health(gateway)["state"] in {"ramp", "closed"}
    assert health(gateway)["said_by"] == "traffic"
    assert len(upstream.calls) == 1
    assert metric(gateway, "mobius_model_list_looks_total", 'provider="idle"', '"ok"') > 0
    assert metric(gateway, "mobius_model_list_looks_total", 'provider="unasked"') == 0
    books = Books(gateway)
    assert len(books.entries()) == 1

    def opened_by() -> set[str]:
        rows = books.rows("llm_gateway_circuitchange")
        return {row["source"] for row in rows if row["after"] == "open"}

    until(lambda: opened_by() == {"probe"}, PATIENCE_S)


def test_a_list_that_was_never_there_says_nothing(gateway: GatewayProcess) -> None:
    looks = "mobius_model_list_looks_total"
    until(lambda: metric(gateway, looks, 'provider="listless"') >= 3, PATIENCE_S)
    assert health(gateway, "ghost")["state"] == "closed"
