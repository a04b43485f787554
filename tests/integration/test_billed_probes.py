"""A probe that costs something is asked where somebody's hard budget pays, and never beyond it."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.books import Books
from tests.harness.config import budget, configuration, model, openai_provider, tenant
from tests.harness.database import SqliteDatabases
from tests.harness.gateway import GatewayProcess, installed
from tests.harness.together import until
from tests.upstream.client import Upstream
from tests.upstream.scripts import answer

PATIENCE_S = 30.0
ASKED = {"interval": 0, "probe_interval": 0.1}
NOBODY_PAYS = ("unlimited", "unasked")


@pytest.fixture(scope="module")
def gateway(
    sqlite_databases: SqliteDatabases,
    upstream_process: Upstream,
    tmp_path_factory: pytest.TempPathFactory,
    output: Path,
) -> Iterator[GatewayProcess]:
    def provider(name: str, **health_check: object) -> dict[str, object]:
        checks = {**ASKED, **health_check}
        return openai_provider(upstream_process.base_url, name, health_check=checks)

    wanted = configuration(
        upstream_process.base_url,
        providers=[
            provider("paid", probe_as="probes"),
            provider("unlimited", probe_as="rich"),
            provider("unasked"),
        ],
        models=[model("lone", "paid"), *(model(name, name) for name in NOBODY_PAYS)],
        routes=[],
        # What one may cost at most fits for a while: 16 tokens of output, and a word.
        tenants=[tenant("probes", budgets=[budget("0.0004")], keys=[]), tenant("rich")],
    )
    with installed(sqlite_databases, tmp_path_factory.mktemp("home"), output) as gateway:
        gateway.apply(wanted)
        yield gateway


def test_probes_spend_the_hard_budget_of_who_pays_and_no_more(
    gateway: GatewayProcess, upstream: Upstream
) -> None:
    for name in ("lone", *NOBODY_PAYS):
        upstream.script(name, answer(" ".join(["pong"] * 16)))
    gateway.serve()
    books = Books(gateway)
    log = "llm_gateway_requestlog"

    def refused() -> bool:
        return any(row["status"] == 402 for row in books.rows(log))

    until(refused, PATIENCE_S)
    rows = books.rows(log)
    assert {(row["tenant_name"], row["endpoint"], row["requested_model"]) for row in rows} == {
        ("probes", "probe", "lone")
    }
    assert {call.model for call in upstream.calls} == {"lone"}
    assert len(upstream.calls) >= 1
    spent = sum(entry["amount_nano"] for entry in books.terminal())
    assert 0 < spent <= 400_000
    assert books.audit().ok
    assert "unlimited is not probed in the name of rich: it has no hard budget" in gateway.log


def test_who_pays_has_to_be_there(gateway: GatewayProcess) -> None:
    missing = openai_provider("http://127.0.0.1:9", "missing", health_check={"probe_as": "nobody"})
    wanted = configuration("http://127.0.0.1:9", providers=[missing], models=[], routes=[])
    run = gateway.manage("apply", str(_written(gateway, wanted)))
    assert run.code != 0
    assert "providers[0].health_check.probe_as" in run.stderr
    assert "there is no tenant 'nobody'" in run.stderr


def _written(gateway: GatewayProcess, wanted: object) -> Path:
    path = gateway.home / "missing.json"
    path.write_text(json.dumps(wanted))
    return path
