"""How long is waited: by the provider, in its place by the model, at most by route, key, caller."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.config import (
    API_KEY,
    configuration,
    key,
    model,
    openai_provider,
    route,
    tenant,
)
from tests.harness.database import SqliteDatabases
from tests.harness.dialects import ANTHROPIC, OPENAI, Dialect, Told
from tests.harness.gateway import GatewayProcess, installed
from tests.harness.together import in_time
from tests.upstream.client import Upstream
from tests.upstream.scripts import answer, stalled

pytestmark = pytest.mark.timed

HASTY = f"{API_KEY}-hasty"
OPENAI_EXPLAIN = Dialect("openai", "/api/v1/llm/explain", "")
SHORT_S, LATE_S = 0.4, 5.0  # what is set, and what a busy machine may take for it


@pytest.fixture(scope="module")
def gateway(
    sqlite_databases: SqliteDatabases,
    upstream_process: Upstream,
    tmp_path_factory: pytest.TempPathFactory,
    output: Path,
) -> Iterator[GatewayProcess]:
    wanted = configuration(
        upstream_process.base_url,
        providers=[
            openai_provider(upstream_process.base_url, retry={"max_attempts": 2}),
            openai_provider(
                upstream_process.base_url,
                "touchy",
                retry={"max_attempts": 2},
                circuit_breaker={"failure_threshold": 2},
            ),
        ],
        models=[
            model("quick", timeouts={"first_token": SHORT_S}),
            model("brief", timeouts={"idle": SHORT_S}),
            model("patient", "touchy"),
            model("steady", "touchy"),
            model("sound"),
        ],
        routes=[
            route("quick-then-sound", "quick", "sound"),
            route("hurried", "steady", "sound", timeouts={"first_token": SHORT_S, "idle": 20}),
        ],
        tenants=[
            tenant(keys=[key(), key("hasty", HASTY, timeouts={"first_token": SHORT_S, "idle": 9})])
        ],
    )
    with installed(sqlite_databases, tmp_path_factory.mktemp("home"), output) as gateway:
        gateway.apply(wanted)
        yield gateway.serve()


def timed(gateway: GatewayProcess, dialect: Dialect, asked: str, **fields: object) -> Told:
    began = time.monotonic()
    told = dialect.ask(gateway.url, asked, stream=True, **fields)
    in_time(time.monotonic() - began, LATE_S)
    return told


@pytest.mark.parametrize("dialect", [OPENAI, ANTHROPIC], ids=lambda each: each.name)
def test_a_model_has_timeouts_of_its_own(
    gateway: GatewayProcess, upstream: Upstream, dialect: Dialect
) -> None:
    upstream.script("quick", stalled())
    told = timed(gateway, dialect, "quick")
    assert (told.status, told.code) == (504, "upstream_timeout")
    upstream.script("brief", stalled(2))
    cut = timed(gateway, dialect, "brief")
    assert (cut.status, cut.clean, dialect.end in cut.text) == (200, False, False)


def test_another_target_answers_in_time(gateway: GatewayProcess, upstream: Upstream) -> None:
    upstream.script("quick", stalled())
    upstream.script("sound", answer("here I am"))
    told = timed(gateway, OPENAI, "quick-then-sound")
    assert (told.status, told.clean) == (200, True)


def test_a_caller_may_wait_for_less_and_that_says_nothing_of_the_model(
    gateway: GatewayProcess, upstream: Upstream
) -> None:
    upstream.script("patient", stalled())
    hasty = {"x-mobius-timeout": f"first_token={SHORT_S}, total=30"}
    for _ in range(2):
        told = timed(gateway, OPENAI, "patient", headers=hasty)
        assert (told.status, told.code) == (504, "upstream_timeout")
    upstream.script("patient", answer("well again"))
    assert timed(gateway, OPENAI, "patient").status == 200


def test_a_route_and_a_key_wait_for_less_and_that_says_nothing_of_the_model(
    gateway: GatewayProcess, upstream: Upstream
) -> None:
    upstream.script("steady", stalled())
    upstream.script("sound", answer("here I am"))
    for _ in range(2):
        assert timed(gateway, OPENAI, "hurried").status == 200
        told = timed(gateway, OPENAI, "steady", key=HASTY)
        assert (told.status, told.code) == (504, "upstream_timeout")
    upstream.script("steady", answer("well again"))
    assert timed(gateway, OPENAI, "steady").status == 200


def test_the_shortest_holds_and_is_told(gateway: GatewayProcess) -> None:
    told = OPENAI_EXPLAIN.ask(
        gateway.url, "hurried", key=HASTY, headers={"x-mobius-timeout": "idle=15,total=60"}
    ).json
    assert {one["timeout"]: (one["seconds"], one["by"]) for one in told["timeouts"]} == {
        "first_token": (SHORT_S, "api_key"),
        "idle": (9, "api_key"),
        "total": (60, "request"),
    }
    assert [one["timeouts"] for one in told["candidates"]] == 2 * [
        {"connect": 2, "first_token": SHORT_S, "idle": 9, "total": 60}
    ]
    usual = OPENAI_EXPLAIN.ask(gateway.url, "hurried").json
    assert [(one["timeout"], one["by"]) for one in usual["timeouts"]] == [
        ("first_token", "route"),
        ("idle", "route"),
    ]


@pytest.mark.parametrize(
    "said", ["first_token=soon", "last_token=3", "idle=1,idle=2", "idle", "total=0", "idle=1,"]
)
def test_what_makes_no_sense_is_refused_by_name(gateway: GatewayProcess, said: str) -> None:
    told = OPENAI.ask(gateway.url, "sound", headers={"x-mobius-timeout": said})
    assert (told.status, told.json["error"]["param"]) == (400, "x-mobius-timeout")
