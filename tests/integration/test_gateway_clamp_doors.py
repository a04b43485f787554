"""The other doors tell of a shortened answer, and end one whose hold is used up by its length."""

import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

from tests.harness.books import Books
from tests.harness.config import (
    API_KEY,
    anthropic_provider,
    budget,
    configuration,
    key,
    model,
    models,
    nano_prices,
    openai_provider,
    provider,
    tenant,
)
from tests.harness.database import SqliteDatabases
from tests.harness.dialects import Told, fetch
from tests.harness.gateway import GatewayProcess, installed
from tests.upstream.client import Upstream
from tests.upstream.scripts import paced, stream

RICH_KEY = API_KEY + "-rich"
FEWEST, ASKED = 256, 4000
TOO_LONG = paced(1) + stream(*(f"w{n} " for n in range(3000))).but(obeys_limit=False)
SHORT = 8
LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens", "maxOutputTokens")

pytestmark = pytest.mark.promise("M1")
NAMES = ("alpha", "claude", "gem")
MODELS = pytest.mark.parametrize("model", NAMES)
SHAPES = pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "whole"])


@pytest.fixture(scope="module")
def clamping(
    sqlite_databases: SqliteDatabases,
    upstream_process: Upstream,
    tmp_path_factory: pytest.TempPathFactory,
    output: Path,
) -> Iterator[GatewayProcess]:
    """Serve acme, whose budget shortens what is asked for, and globex, which has enough."""
    budgets = [
        budget(limit, name=f"of-{name}", model=name, mode="clamp")
        for name, limit in (("alpha", "0.0080"), ("claude", "0.0300"), ("gem", "0.0080"))
    ]
    url = upstream_process.base_url
    sections = {
        "providers": [
            openai_provider(url),
            anthropic_provider(url),
            provider("google", "gemini", url),
        ],
        "models": [*models(), model("gem", "google")],
    }
    rich = tenant("globex", budgets=[budget("90")], keys=[key("main", RICH_KEY)])
    with installed(sqlite_databases, tmp_path_factory.mktemp("home"), output) as gateway:
        gateway.apply(configuration(url, tenants=[tenant(budgets=budgets), rich], **sections))
        yield gateway.serve()


@pytest.fixture
def scripted(upstream: Upstream) -> Upstream:
    upstream.prices(**nano_prices(models()))
    return upstream


def post(gateway: GatewayProcess, path: str, body: Any, api_key: str) -> Told:
    headers = {"Authorization": f"Bearer {api_key}"}
    return fetch(gateway.url, "POST", path, json.dumps(body).encode(), headers)


def ask_gemini(
    gateway: GatewayProcess, model: str, most: int, *, streamed: bool, api_key: str = API_KEY
) -> Told:
    method = "streamGenerateContent?alt=sse" if streamed else "generateContent"
    body = {
        "contents": [{"role": "user", "parts": [{"text": "count, please"}]}],
        "generationConfig": {"maxOutputTokens": most},
    }
    return post(gateway, f"/v1beta/models/{model}:{method}", body, api_key)


def ask_native(
    gateway: GatewayProcess, model: str, most: int, *, streamed: bool, api_key: str = API_KEY
) -> Told:
    body = {"prompt": "count, please", "model": model, "max_tokens": most}
    return post(gateway, f"/api/v1/llm/{'stream' if streamed else 'complete'}", body, api_key)


def ask_responses(
    gateway: GatewayProcess, model: str, most: int, *, streamed: bool, api_key: str = API_KEY
) -> Told:
    body = {"model": model, "input": "count, please", "max_output_tokens": most}
    return post(gateway, "/v1/responses", {**body, "stream": streamed}, api_key)


def ask_completions(
    gateway: GatewayProcess, model: str, most: int, *, streamed: bool, api_key: str = API_KEY
) -> Told:
    body = {"model": model, "prompt": "count, please", "max_tokens": most}
    return post(gateway, "/v1/completions", {**body, "stream": streamed}, api_key)


# Each with the word by which it says that an answer reached its limit.
DOORS = {
    ask_gemini: "MAX_TOKENS",
    ask_native: "length",
    ask_responses: "max_output_tokens",
    ask_completions: "length",
}


# The whole answer of a provider's own dialect comes in one piece.
IN_ONE_PIECE = {
    (ask_gemini, "gem", False),
    (ask_responses, "alpha", False),
    (ask_completions, "alpha", False),
}


def ask_socket(
    gateway: GatewayProcess, model: str, most: int, api_key: str = API_KEY
) -> list[dict[str, Any]]:
    url = f"ws://127.0.0.1:{gateway.port}/ws/v1/llm"
    messages = [{"role": "user", "content": "count, please"}]
    request = {"model": model, "messages": messages, "max_tokens": most}
    with connect(url, additional_headers={"authorization": f"Bearer {api_key}"}) as socket:
        socket.send(json.dumps({"type": "chat.create", "id": "1", "request": request}))
        said = [json.loads(socket.recv(timeout=20))]
        while said[-1]["type"] == "chat.chunk":
            said.append(json.loads(socket.recv(timeout=20)))
    return said


def check_clamped(upstream: Upstream, told: int) -> None:
    (call,) = upstream.calls
    settings = {**call.body, **call.body.get("generationConfig", {})}
    assert told in {settings.get(name) for name in LIMITS}
    assert FEWEST <= told < ASKED


def check_cut(gateway: GatewayProcess, upstream: Upstream) -> None:
    upstream.wait_ended(1)
    assert upstream.calls[0].outcome == "client_left"
    entry = Books(gateway).until_settled(1, 10)[-1]
    assert (entry["outcome"], bool(entry["estimated"])) == ("settled", True)
    assert 0 < entry["amount_nano"] <= entry["hold_nano"] * 3


@MODELS
@SHAPES
@pytest.mark.parametrize("ask", DOORS)
def test_http_says_to_how_many_tokens_a_budget_shortened_the_answer(
    clamping: GatewayProcess, scripted: Upstream, ask: Any, model: str, streamed: bool
) -> None:
    told = ask(clamping, model, ASKED, streamed=streamed)
    assert (told.status, told.clean) == (200, True), told.text
    clamped = int(told.headers["x-mobius-max-tokens"])
    check_clamped(scripted, clamped)
    if ask is ask_native:
        said = told.events[-2] if streamed else told.json
        assert said["max_tokens"] == clamped
    unshortened = ask(clamping, model, SHORT, streamed=streamed)
    assert "x-mobius-max-tokens" not in unshortened.headers
    assert '"max_tokens"' not in unshortened.text


@MODELS
def test_the_socket_says_it_with_its_last_message(
    clamping: GatewayProcess, scripted: Upstream, model: str
) -> None:
    check_clamped(scripted, ask_socket(clamping, model, ASKED)[-1]["max_tokens"])
    assert "max_tokens" not in ask_socket(clamping, model, SHORT)[-1]


@pytest.mark.parametrize(
    ("ask", "model", "streamed"),
    [case for case in product(DOORS, NAMES, (True, False)) if case not in IN_ONE_PIECE],
)
def test_http_ends_an_answer_whose_hold_is_used_up(
    clamping: GatewayProcess, scripted: Upstream, ask: Any, model: str, streamed: bool
) -> None:
    scripted.script(model, TOO_LONG)
    told = ask(clamping, model, SHORT, streamed=streamed, api_key=RICH_KEY)
    assert (told.status, told.clean) == (200, True)
    assert f'"{DOORS[ask]}"' in told.text
    assert "w2000" not in told.text
    check_cut(clamping, scripted)


@MODELS
def test_the_socket_ends_an_answer_whose_hold_is_used_up(
    clamping: GatewayProcess, scripted: Upstream, model: str
) -> None:
    scripted.script(model, TOO_LONG)
    said = ask_socket(clamping, model, SHORT, RICH_KEY)
    assert said[-1]["type"] == "chat.done"
    reasons = [choice["finish_reason"] for one in said[:-1] for choice in one["chunk"]["choices"]]
    assert reasons[-1] == "length"
    assert "w2000" not in json.dumps(said)
    check_cut(clamping, scripted)
