"""Prompts, conversations, shorter prompts and tokens, over a real server."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.harness.books import Books
from tests.harness.canary import canary
from tests.harness.config import (
    API_KEY,
    anthropic_provider,
    configuration,
    key,
    model,
    nano_prices,
    openai_provider,
    route,
    tenant,
)
from tests.harness.database import SqliteDatabases
from tests.harness.dialects import ANTHROPIC, OPENAI
from tests.harness.gateway import GatewayProcess, installed
from tests.upstream.client import Upstream
from tests.upstream.scripts import answer, failing, stream

MANAGE_KEY, OTHER_KEY = canary("api-key-manage"), canary("api-key-other-tenant")
SECRET_WORD = canary("said-in-a-conversation")
MODELS = [
    model("alpha"),
    model("gpt-4o"),
    model("claude", "anthropic"),
    model("narrow", context_window=1000, max_output_tokens=100),
    model("wide", context_window=100_000),
]


@pytest.fixture(scope="module")
def gateway(
    sqlite_databases: SqliteDatabases,
    upstream_process: Upstream,
    tmp_path_factory: pytest.TempPathFactory,
    output: Path,
) -> Iterator[GatewayProcess]:
    url = upstream_process.base_url
    wanted = configuration(
        url,
        providers=[openai_provider(url), anthropic_provider(url)],
        models=MODELS,
        routes=[route("narrow-then-wide", "narrow", "wide")],
        tenants=[
            tenant(keys=[key(), key("boss", MANAGE_KEY, scopes=["inference", "manage"])]),
            tenant("globex", keys=[key("main", OTHER_KEY, scopes=["inference", "manage"])]),
        ],
    )
    with installed(sqlite_databases, tmp_path_factory.mktemp("home"), output) as gateway:
        gateway.apply(wanted)
        yield gateway.serve()


@pytest.fixture
def scripted(upstream: Upstream) -> Upstream:
    upstream.prices(**nano_prices(MODELS))
    return upstream


def client(gateway: GatewayProcess, key: str = MANAGE_KEY) -> httpx2.Client:
    headers = {"Authorization": f"Bearer {key}"}
    return httpx2.Client(base_url=f"{gateway.url}/api/v1/", headers=headers, timeout=20)


@pytest.fixture
def boss(gateway: GatewayProcess) -> Iterator[httpx2.Client]:
    with client(gateway) as asking:
        yield asking


def refused(response: httpx2.Response, status: int, param: str | None = None) -> Any:
    told = response.json()
    assert response.status_code == status, response.text
    if param is not None:
        assert told["param"] == param
    return told


# --- prompts -------------------------------------------------------------------------------------


def test_a_prompt_lives_through_versions_and_is_asked_with_values(
    boss: httpx2.Client, scripted: Upstream
) -> None:
    first = [{"role": "user", "content": "Greet {{name}} in {{language}}."}]
    made = boss.post(
        "prompts", json={"name": "greet", "messages": first, "defaults": {"language": "Dutch"}}
    )
    assert made.status_code == 201, made.text
    assert (made.json()["version"], made.json()["variables"]) == (1, ["name", "language"])
    second = [{"role": "system", "content": "Be brief."}, *first]
    changed = boss.put("prompts/greet", json={"messages": second, "description": "Hello."})
    assert changed.json()["version"] == 2
    again = boss.put("prompts/greet", json={"messages": second})
    assert (again.json()["version"], again.json()["description"]) == (2, "Hello.")
    assert boss.get("prompts/greet", params={"version": 1}).json()["messages"] == first
    assert [one["version"] for one in boss.get("prompts/greet").json()["versions"]] == [2, 1]
    assert [one["name"] for one in boss.get("prompts").json()["data"]] == ["greet"]

    values = {"name": "{{language}} {% x %}", "language": "Latin"}
    asked = {"name": "greet", "variables": values}
    told = boss.post("llm/complete", json={"prompt_template": asked, "model": "alpha"})
    assert told.status_code == 200, told.text
    (call,) = scripted.calls
    assert [one["content"] for one in call.body["messages"]] == [
        "Be brief.",
        "Greet {{language}} {% x %} in Latin.",
    ]
    older = {"name": "greet", "version": 1, "variables": {"name": "Ada"}}
    boss.post("llm/complete", json={"prompt_template": older, "model": "alpha"})
    assert scripted.calls[1].body["messages"][0]["content"] == "Greet Ada in Dutch."

    missing = {"prompt_template": "greet", "model": "alpha"}
    refused(boss.post("llm/complete", json=missing), 400, "variables.language")
    both = {"prompt_template": asked, "prompt": "hi", "model": "alpha"}
    refused(boss.post("llm/complete", json=both), 400, "prompt_template")
    assert boss.delete("prompts/greet").status_code == 204
    refused(boss.get("prompts/greet"), 404)
    refused(boss.post("llm/complete", json={"prompt_template": "greet"}), 404)


def test_prompts_and_conversations_are_a_tenants_own_and_need_the_scope(
    gateway: GatewayProcess, boss: httpx2.Client, scripted: Upstream
) -> None:
    said = [{"role": "user", "content": "hi"}]
    boss.post("prompts", json={"name": "ours", "messages": said})
    talk = boss.post("conversations", json={"title": "ours", "messages": said}).json()["id"]
    with client(gateway, OTHER_KEY) as other, client(gateway, API_KEY) as plain:
        assert other.get("prompts").json()["data"] == []
        assert other.get("conversations").json()["data"] == []
        refused(other.get("prompts/ours"), 404)
        refused(other.delete("prompts/ours"), 404)
        refused(other.get(f"conversations/{talk}"), 404)
        refused(other.patch(f"conversations/{talk}", json={"title": "x"}), 404)
        refused(other.delete(f"conversations/{talk}"), 404)
        refused(other.post("llm/complete", json={"prompt_template": "ours"}), 404)
        refused(
            other.post("llm/complete", json={"prompt": "x", "conversation": talk}),
            404,
            "conversation",
        )
        for path in ("prompts", "prompts/ours", "conversations", f"conversations/{talk}"):
            refused(plain.get(path), 403)
    assert scripted.calls == []
    assert boss.delete(f"conversations/{talk}").status_code == 204
    boss.delete("prompts/ours")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"name": "a b", "messages": [{"role": "user", "content": "x"}]}, "name"),
        ({"name": "x", "messages": []}, "messages"),
        ({"name": "x", "messages": [{"role": "user", "content": "{{7*7}}"}]}, None),
        ({"name": "x", "messages": [{"role": "user", "content": "x"}], "colour": 1}, "colour"),
    ],
)
def test_a_prompt_that_is_none_is_refused(
    boss: httpx2.Client, body: dict[str, Any], param: str | None
) -> None:
    refused(boss.post("prompts", json=body), 400, param)


# --- conversations -------------------------------------------------------------------------------


def test_a_conversation_grows_turn_by_turn_and_lies_sealed(
    gateway: GatewayProcess, boss: httpx2.Client, scripted: Upstream
) -> None:
    scripted.script("alpha", answer("My name is Mobius."), answer("You said hello."))
    rules = {"role": "system", "content": "Be kind."}
    hello = {"role": "user", "content": f"Hello, {SECRET_WORD}."}
    body = {"messages": [rules, hello], "model": "alpha", "conversation": "new"}
    first = boss.post("llm/complete", json=body)
    name = first.json()["conversation"]
    assert first.headers["x-mobius-conversation"] == name
    again = {"messages": [rules, {"role": "user", "content": "What did I say?"}], "model": "alpha"}
    second = boss.post("llm/complete", json={**again, "conversation": name})
    assert second.json()["content"] == "You said hello."
    assert [one["content"] for one in scripted.calls[1].body["messages"]] == [
        "Be kind.",
        hello["content"],
        "My name is Mobius.",
        "What did I say?",
    ]
    told = boss.get(f"conversations/{name}").json()
    assert [one["role"] for one in told["messages"]] == [
        *("system", "user", "assistant"),
        *("user", "assistant"),
    ]
    assert told["messages"][2]["request_id"] == first.json()["request_id"]
    rows = Books(gateway).rows("llm_gateway_conversationmessage")
    assert SECRET_WORD.encode() not in b"".join(bytes(row["sealed"]) for row in rows)
    page = boss.get(f"conversations/{name}", params={"limit": 2}).json()
    rest = boss.get(f"conversations/{name}", params={"limit": 9, "cursor": page["next"]}).json()
    assert [*page["messages"], *rest["messages"]] == told["messages"]


def test_a_streamed_turn_is_kept_and_a_broken_one_is_not(
    boss: httpx2.Client, scripted: Upstream
) -> None:
    name = boss.post("conversations", json={"title": "t"}).json()["id"]
    body = {"prompt": "hi", "model": "alpha", "conversation": name}
    scripted.script("alpha", stream("Hel", "lo"))
    told = boss.post("llm/stream", json=body)
    assert told.headers["x-mobius-conversation"] == name
    assert told.text.endswith("data: [DONE]\n\n")
    said = boss.get(f"conversations/{name}").json()["messages"]
    assert [one["content"] for one in said] == ["hi", "Hello"]
    scripted.script("alpha", failing(400))
    refused(boss.post("llm/complete", json=body), 400)
    assert len(boss.get(f"conversations/{name}").json()["messages"]) == 2


def test_old_turns_go_where_the_window_would_be_too_small(
    boss: httpx2.Client, scripted: Upstream
) -> None:
    old = [{"role": "user", "content": "word " * 400}, {"role": "assistant", "content": "ok"}]
    name = boss.post("conversations", json={"messages": [*old, *old, *old]}).json()["id"]
    body = {"prompt": "so?", "model": "narrow", "conversation": name}
    told = boss.post("llm/complete", json=body)
    assert told.status_code == 200, told.text
    sent = scripted.calls[0].body["messages"]
    assert (len(sent), sent[-1]["content"]) == (3, "so?")
    # What was said stays: only what is sent is shorter.
    assert len(boss.get(f"conversations/{name}").json()["messages"]) == 8


def test_the_same_request_again_adds_no_second_turn(
    boss: httpx2.Client, scripted: Upstream
) -> None:
    name = boss.post("conversations", json={}).json()["id"]
    body = {"prompt": "hi", "model": "alpha", "conversation": name}
    headers = {"Idempotency-Key": "one-turn"}
    first = boss.post("llm/complete", json=body, headers=headers).json()
    second = boss.post("llm/complete", json=body, headers=headers).json()
    assert first["content"] == second["content"]
    assert len(scripted.calls) == 1
    assert len(boss.get(f"conversations/{name}").json()["messages"]) == 2


def test_messages_open_under_a_new_master_key(gateway: GatewayProcess, boss: httpx2.Client) -> None:
    said = [{"role": "user", "content": "kept"}]
    name = boss.post("conversations", json={"messages": said}).json()["id"]
    assert "messages of conversations" in gateway.managed("rotate_master_key")
    assert boss.get(f"conversations/{name}").json()["messages"][0]["content"] == "kept"


# --- shorter prompts -----------------------------------------------------------------------------


def test_a_prompt_is_shortened_and_says_what_went(boss: httpx2.Client, scripted: Upstream) -> None:
    turns = [
        {"role": "system", "content": "Be   exact."},
        {"role": "user", "content": "first   question  " * 50},
        {"role": "assistant", "content": "first answer"},
        {"role": "user", "content": "last   question"},
    ]
    body = {"messages": turns, "target_tokens": 30, "model": "gpt-4o"}
    told = boss.post("llm/optimize_prompt", json=body).json()
    assert told["messages"] == [turns[0], turns[3]]
    assert told["reached"]
    assert told["tokens_after"] <= 30 < told["tokens_before"]
    removed = sum(one["tokens"] for one in told["removed"])
    assert removed == told["tokens_before"] - told["tokens_after"]
    assert scripted.calls == []
    asked = {"messages": turns, "optimize_prompt": 30, "model": "gpt-4o"}
    complete = boss.post("llm/complete", json=asked).json()
    assert complete["optimized"]["tokens_after"] == told["tokens_after"]
    assert scripted.calls[0].body["messages"] == [turns[0], turns[3]]
    strange: list[Any] = [0, "30", {"target_tokens": True}, []]
    for target in strange:
        asked = {"prompt": "x", "optimize_prompt": target, "model": "gpt-4o"}
        refused(boss.post("llm/complete", json=asked), 400, "optimize_prompt")
    window = boss.post("llm/complete", json={"messages": turns, "optimize_prompt": True}).json()
    assert window["optimized"]["target_tokens"] == 900  # the narrowest window, less its answer
    text = boss.post("llm/optimize_prompt", json={"prompt": "a    b", "target_tokens": 1}).json()
    assert (text["prompt"], text["reached"]) == ("a b", False)
    for wrong in ({"prompt": "x"}, {"prompt": "x", "target_tokens": 0}, {"target_tokens": 5}):
        refused(boss.post("llm/optimize_prompt", json=wrong), 400)


# --- tokens --------------------------------------------------------------------------------------


def test_tokens_are_told_by_model_with_how_sure_that_is(
    boss: httpx2.Client, scripted: Upstream
) -> None:
    body = {"prompt": "hello world", "models": ["gpt-4o", "claude", "narrow-then-wide"]}
    told = boss.post("llm/count_tokens", json=body).json()
    assert [one["model"] for one in told["data"]] == ["gpt-4o", "claude", "narrow", "wide"]
    exact = told["data"][0]
    assert (told["tokens"], exact["exact"], exact["error"], exact["fits"]) == (9, True, 0, True)
    assert not told["data"][1]["exact"]
    assert told["data"][1]["error"] > 0
    refused(boss.post("llm/count_tokens", json={"prompt": "x", "model": "nobody"}), 404)
    refused(boss.post("llm/count_tokens", json={"model": "alpha"}), 400, "messages")
    assert scripted.calls == []


def test_anthropics_question_is_answered_for_every_provider(
    gateway: GatewayProcess, scripted: Upstream
) -> None:
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello world"}]}
    headers = {"x-api-key": API_KEY, "anthropic-version": "2023-06-01"}
    url = f"{gateway.url}/v1/messages/count_tokens"
    told = httpx2.post(url, json=body, headers=headers)
    assert told.json() == {"input_tokens": 9}
    asked = httpx2.post(url, json={**body, "model": "claude"}, headers=headers)
    assert asked.status_code == 200, asked.text
    assert [call.path for call in scripted.calls] == ["/v1/messages/count_tokens"]


def test_geminis_question_is_answered_and_asked_in_the_words_of_others(
    gateway: GatewayProcess, scripted: Upstream
) -> None:
    body = {"contents": [{"role": "user", "parts": [{"text": "hello world"}]}]}
    headers = {"x-goog-api-key": API_KEY}
    told = {
        name: httpx2.post(
            f"{gateway.url}/v1beta/models/{name}:countTokens", json=body, headers=headers
        )
        for name in ("gpt-4o", "claude")
    }
    assert [one.status_code for one in told.values()] == [200, 200], told["claude"].text
    assert told["gpt-4o"].json() == {"totalTokens": 9}
    (call,) = scripted.calls
    assert (call.path, call.body["model"]) == ("/v1/messages/count_tokens", "claude")
    assert call.body.keys() == {"model", "messages"}
    assert told["claude"].json()["totalTokens"] > 0


def test_what_is_surely_too_long_is_refused_before_it_is_sent(
    gateway: GatewayProcess, scripted: Upstream
) -> None:
    long = "many words and no end of them " * 1500
    for dialect in (OPENAI, ANTHROPIC):
        told = dialect.ask(gateway.url, "narrow", content=long)
        assert (told.status, told.code) == (400, "context_length_exceeded"), told.text
        assert Books(gateway).terminal(told.request_id) == []
    assert scripted.calls == []
    assert OPENAI.ask(gateway.url, "narrow-then-wide", content=long).status == 200
    assert scripted.order == ["wide"]


def test_what_may_fit_is_sent(gateway: GatewayProcess, scripted: Upstream) -> None:
    assert OPENAI.ask(gateway.url, "narrow", content="word " * 900).status == 200
    assert len(scripted.calls) == 1
    assert json.loads(gateway.managed("verify_ledger", "--json"))["ok"]
