"""What belongs together goes to one deployment while that answers; the fastest is found again."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.harness.config import API_KEY, SINCE, configuration, model, nano_prices, route, tenant
from tests.harness.dialects import ANTHROPIC, OPENAI
from tests.harness.gateway import GatewayProcess, installed
from tests.upstream.client import Upstream
from tests.upstream.scripts import delayed, failing, words

pytestmark = pytest.mark.timed

QUICK = ("quick-1", "quick-2")
READ = [{"from": SINCE, "input": "2.00", "output": "1.00", "cache_read": "0.10"}]
MODELS = [
    *(model(name, price=("1.00", "1.00")) for name in ("a", "b", "c", "d", *QUICK)),
    model("reads", prices=READ),
    model("plain", price=("1.50", "1.00")),
]
LONG = "You answer questions about ships. " * 400


@pytest.fixture(scope="module")
def sticking(
    sqlite_databases: Any,
    upstream_process: Upstream,
    tmp_path_factory: pytest.TempPathFactory,
    output: Path,
) -> Iterator[GatewayProcess]:
    names = ("a", "b", "c", "d")
    wanted = configuration(
        upstream_process.base_url,
        models=MODELS,
        routes=[
            route("session", *names, strategy="weighted", affinity="session"),
            route("turns", *names, strategy="round_robin", affinity="prompt"),
            route("quick", "quick-1", "quick-2", strategy="fastest"),
            route("thrifty", "reads", "plain", strategy="cheapest", affinity="prompt"),
        ],
        tenants=[tenant()],
    )
    with installed(sqlite_databases, tmp_path_factory.mktemp("home"), output) as gateway:
        gateway.apply(wanted)
        yield gateway.serve()


@pytest.fixture
def ready(sticking: GatewayProcess, upstream: Upstream) -> GatewayProcess:
    upstream.prices(**nano_prices(MODELS))
    return sticking


def answered_by(gateway: GatewayProcess, name: str, **how: Any) -> str:
    told = how.pop("dialect", OPENAI).ask(gateway.url, name, **how)
    assert told.status == 200, told.body
    return str(told.headers["x-mobius-model"])


def test_a_session_is_a_run_a_conversation_a_key_of_the_prompts_or_a_user(
    ready: GatewayProcess, upstream: Upstream
) -> None:
    del upstream
    ways: list[Callable[[int], dict[str, Any]]] = [
        lambda n: {"headers": {"x-mobius-run": f"run-{n}"}},
        lambda n: {"prompt_cache_key": f"key-{n}"},
        lambda n: {"user": f"user-{n}"},
        lambda n: {"dialect": ANTHROPIC, "metadata": {"user_id": f"user-{n}"}},
    ]
    for way in ways:
        firsts = [answered_by(ready, "session", **way(n)) for n in range(8)]
        again = [answered_by(ready, "session", content=f"more {n}", **way(n)) for n in range(8)]
        assert firsts == again
        assert len(set(firsts)) > 1
    assert len({answered_by(ready, "session") for _ in range(24)}) > 1


def test_a_native_conversation_stays_where_it_began(
    ready: GatewayProcess, upstream: Upstream
) -> None:
    del upstream
    with httpx2.Client(
        base_url=ready.url, headers={"Authorization": f"Bearer {API_KEY}"}, timeout=20
    ) as client:
        for _ in range(4):
            name: str | None = "new"
            models = set()
            for _turn in range(3):
                body = {"model": "session", "prompt": "on", "conversation": name, "max_tokens": 8}
                told = client.post("/api/v1/llm/complete", json=body)
                assert told.status_code == 200, told.text
                name = told.headers.get("x-mobius-conversation") or told.json()["conversation"]
                models.add(told.json()["model"])
            assert len(models) == 1


def test_the_same_long_beginning_goes_to_the_same_model(
    ready: GatewayProcess, upstream: Upstream
) -> None:
    del upstream

    def messages(system: str, n: int) -> list[dict[str, str]]:
        return [{"role": "system", "content": system}, {"role": "user", "content": f"turn {n}"}]

    for n in range(4):
        long = [messages(f"{n} {LONG}", turn) for turn in range(4)]
        assert len({answered_by(ready, "turns", messages=each) for each in long}) == 1
    short = [messages("Be brief.", turn) for turn in range(8)]
    assert len({answered_by(ready, "turns", messages=each) for each in short}) > 1


def test_a_failure_comes_before_it(ready: GatewayProcess, upstream: Upstream) -> None:
    at_home = answered_by(ready, "session", user="somebody")
    upstream.script(at_home, failing(500), words(3))
    assert answered_by(ready, "session", user="somebody") != at_home
    assert answered_by(ready, "session", user="somebody") == at_home


def test_the_cheapest_is_where_the_prompt_is_warm(
    ready: GatewayProcess, upstream: Upstream
) -> None:
    del upstream
    asked: dict[str, Any] = {
        "messages": [{"role": "system", "content": LONG}, {"role": "user", "content": "hello"}]
    }
    assert answered_by(ready, "thrifty", **asked) == "plain"
    in_order = {"x-mobius-strategy": "fallback"}
    assert answered_by(ready, "thrifty", headers=in_order, **asked) == "reads"
    assert answered_by(ready, "thrifty", **asked) == "reads"
    assert answered_by(ready, "thrifty", content=f"another {LONG}") == "plain"


def test_the_fastest_is_whoever_is_fast_now(ready: GatewayProcess, upstream: Upstream) -> None:
    fast, slow = words(3), delayed(300) + words(3)
    upstream.script("quick-1", fast)
    upstream.script("quick-2", slow)
    asked = [answered_by(ready, "quick") for _ in range(12)]
    assert set(asked) == set(QUICK)  # each was tried
    assert set(asked[2:]) == {"quick-1"}
    upstream.script("quick-1", delayed(600) + words(3))
    upstream.script("quick-2", fast)
    asked = [answered_by(ready, "quick") for _ in range(12)]
    # Five slow answers of nine are enough to leave it.
    assert asked == ["quick-1"] * 5 + ["quick-2"] * 7
