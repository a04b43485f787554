"""What one model rejects goes to the models that the route names for it, by the same checks."""

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.harness.books import Books
from tests.harness.config import (
    API_KEY,
    anthropic_provider,
    budget,
    configuration,
    key,
    model,
    nano_prices,
    openai_provider,
    route,
    tenant,
)
from tests.harness.dialects import ANTHROPIC, OPENAI, Dialect, Told, fetch
from tests.harness.gateway import GatewayProcess, installed
from tests.harness.together import until
from tests.upstream.client import Upstream
from tests.upstream.scripts import Script, answer, failing, raw

POOR_KEY, NARROW_KEY, AGAIN_KEY = (f"{API_KEY}-{who}" for who in ("poor", "narrow", "again"))
MODELS = [
    *(model(name) for name in ("small", "wide", "wider", "brave")),
    model("claude", "anthropic"),
    model("tiny", context_window=4096, max_output_tokens=100),
    model("hasty", "hasty"),
    model("dear", price=("1", "4000")),
    model("mute", capabilities=["chat"]),
]
OTHERS: dict[str, Any] = {"on_context_length": ["wide", "wider"], "on_content_policy": ["brave"]}
ROUTES = [
    route("chat", "small", **OTHERS),
    route("claude-chat", "claude", **OTHERS),
    route("tiny-chat", "tiny", **OTHERS),
    route("hasty-chat", "hasty", **OTHERS),
    route("plain", "small"),
    route("dear-chat", "small", on_context_length=["dear"]),
    route("mute-chat", "small", on_context_length=["mute", "wide"]),
    route("several", "small", "claude", strategy="race", **OTHERS),
]
TOO_LONG = failing(400, "This model's maximum context length is 1000 tokens.")
FORBIDDEN = Script(
    steps=(
        {
            "error": {
                "status": 400,
                "body": {
                    "error": {
                        "message": "The prompt triggered the content management policy.",
                        "type": None,
                        "param": "prompt",
                        "code": "content_filter",
                    }
                },
            }
        },
    )
)
USED = {"prompt_tokens": 9, "completion_tokens": 0, "total_tokens": 9}


@pytest.fixture(scope="module")
def rejecting(
    sqlite_databases: Any,
    upstream_process: Upstream,
    tmp_path_factory: pytest.TempPathFactory,
    output: Path,
) -> Iterator[GatewayProcess]:
    url = upstream_process.base_url
    wanted = configuration(
        url,
        providers=[
            openai_provider(url),
            anthropic_provider(url),
            openai_provider(url, "hasty", retry={"max_attempts": 1}),
        ],
        models=MODELS,
        routes=ROUTES,
        tenants=[
            tenant(keys=[key(), key("narrow", NARROW_KEY, models=["chat"])]),
            tenant("poor", keys=[key("poor", POOR_KEY)], budgets=[budget("0.01")]),
            tenant("again", keys=[key("again", AGAIN_KEY)], cache={"enabled": True, "ttl": 60}),
        ],
    )
    with installed(sqlite_databases, tmp_path_factory.mktemp("home"), output) as gateway:
        gateway.apply(wanted)
        yield gateway.serve()


@pytest.fixture
def ready(rejecting: GatewayProcess, upstream: Upstream) -> GatewayProcess:
    upstream.prices(**nano_prices(MODELS))
    return rejecting


def whole_refusal() -> Script:
    choice = {"index": 0, "finish_reason": "content_filter", "message": {"role": "assistant"}}
    told = {"id": "c1", "object": "chat.completion", "model": "small", "choices": [choice]}
    return raw(json.dumps(told | {"usage": USED}).encode(), content_type="application/json")


def streamed_refusal() -> Script:
    def chunk(**fields: Any) -> bytes:
        told = {"id": "c1", "object": "chat.completion.chunk", "model": "small", **fields}
        return b"data: " + json.dumps(told).encode() + b"\n\n"

    def choice(reason: str | None, **delta: str) -> dict[str, Any]:
        return {"index": 0, "delta": delta, "finish_reason": reason}

    return raw(
        chunk(choices=[choice(None, role="assistant", content="")])
        + chunk(choices=[choice("content_filter")])
        + chunk(choices=[], usage=USED)
        + b"data: [DONE]\n\n",
        content_type="text/event-stream",
    )


def record(gateway: GatewayProcess, told: Told) -> Any:
    found: list[Any] = []
    headers = {"Authorization": f"Bearer {API_KEY}"}

    def written() -> bool:
        one = fetch(gateway.url, "GET", f"/api/v1/requests/{told.request_id}", None, headers)
        found[:] = [one.json] if one.status == 200 else []
        return bool(found)

    until(written, 10)
    return found[0]


def who(told: Told) -> tuple[int, str | None, str | None]:
    """Return status, who answered, and for what the route's own targets did not."""
    named = (told.headers.get(f"x-mobius-{name}") for name in ("model", "fallback"))
    return (told.status, *named)  # type: ignore[return-value] # two of them


# --- too long, forbidden -------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", [OPENAI, ANTHROPIC])
@pytest.mark.parametrize("stream", [False, True])
def test_what_is_too_long_goes_to_the_models_named_for_it(
    ready: GatewayProcess, upstream: Upstream, dialect: Dialect, *, stream: bool
) -> None:
    upstream.script("small", TOO_LONG)
    told = dialect.ask(ready.url, "chat", stream=stream)
    assert who(told) == (200, "wide", "context_length")
    assert (told.headers["x-mobius-attempts"], told.clean) == ("2", True)
    assert upstream.order == ["small", "wide"]
    decided = record(ready, told)
    assert decided["fallback"] == "context_length"
    assert "context_length_exceeded: next target" in decided["steps"]
    outcomes = [entry["outcome"] for entry in Books(ready).terminal(told.request_id)]
    assert outcomes == ["failed", "settled"]


def test_each_of_them_is_one_attempt_and_the_last_rejection_is_the_callers(
    ready: GatewayProcess, upstream: Upstream
) -> None:
    for name in ("small", "wide"):
        upstream.script(name, TOO_LONG)
    assert who(OPENAI.ask(ready.url, "chat")) == (200, "wider", "context_length")
    for name in ("small", "wide", "wider"):
        upstream.script(name, TOO_LONG)
    told = OPENAI.ask(ready.url, "chat")
    assert (told.status, told.code) == (400, "context_length_exceeded")
    assert upstream.order == ["small", "wide", "wider"] * 2


def test_one_rejection_may_follow_the_other(ready: GatewayProcess, upstream: Upstream) -> None:
    upstream.script("small", TOO_LONG)
    upstream.script("wide", FORBIDDEN)
    assert who(OPENAI.ask(ready.url, "chat")) == (200, "brave", "content_policy")
    assert upstream.order == ["small", "wide", "brave"]


def test_what_fails_there_goes_on_there(ready: GatewayProcess, upstream: Upstream) -> None:
    upstream.script("small", TOO_LONG)
    upstream.script("wide", failing(503))
    assert who(OPENAI.ask(ready.url, "chat")) == (200, "wider", "context_length")


def test_what_is_forbidden_goes_to_the_models_named_for_it(
    ready: GatewayProcess, upstream: Upstream
) -> None:
    upstream.script("small", FORBIDDEN)
    assert who(OPENAI.ask(ready.url, "chat")) == (200, "brave", "content_policy")
    upstream.script("small", FORBIDDEN)
    told = OPENAI.ask(ready.url, "plain")
    assert (told.status, told.code) == (400, "content_policy_violation")
    assert "content management policy" in told.text
    upstream.script("claude", failing(400, "Output blocked by content filtering policy"))
    assert who(ANTHROPIC.ask(ready.url, "claude-chat")) == (200, "brave", "content_policy")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("dialect", [OPENAI, ANTHROPIC])
def test_an_answer_that_ends_so_without_a_word_counts_as_forbidden(
    ready: GatewayProcess, upstream: Upstream, dialect: Dialect, *, stream: bool
) -> None:
    asked_to_stream = stream or dialect is ANTHROPIC
    refusal = streamed_refusal() if asked_to_stream else whole_refusal()
    upstream.script("small", refusal)
    told = dialect.ask(ready.url, "chat", stream=stream)
    assert who(told) == (200, "brave", "content_policy")
    first, second = Books(ready).terminal(told.request_id)
    assert (first["outcome"], first["amount_nano"]) == ("failed", 9 * 1000)
    assert second["outcome"] == "settled"
    cost = sum(Decimal(one["cost_usd"]) for one in record(ready, told)["attempts"])
    assert cost * 10**9 == first["amount_nano"] + second["amount_nano"]


@pytest.mark.parametrize("stream", [False, True])
def test_where_nobody_is_named_for_it_the_refusal_is_the_answer(
    ready: GatewayProcess, upstream: Upstream, *, stream: bool
) -> None:
    refusal = streamed_refusal() if stream else whole_refusal()
    upstream.script("small", refusal)
    upstream.script("brave", refusal)
    told = OPENAI.ask(ready.url, "plain", stream=stream)
    assert who(told) == (200, "small", None)
    assert '"content_filter"' in told.text
    upstream.script("small", refusal)
    told = OPENAI.ask(ready.url, "chat", stream=stream)  # and nobody is left behind brave
    assert who(told) == (200, "brave", "content_policy")
    assert '"content_filter"' in told.text


def test_what_is_surely_too_long_is_not_sent_to_a_small_model_first(
    ready: GatewayProcess, upstream: Upstream
) -> None:
    told = OPENAI.ask(ready.url, "tiny-chat", content="long " * 40_000)
    assert who(told) == (200, "wide", "context_length")
    assert upstream.order == ["wide"]


def test_racers_that_all_reject_leave_it_to_those_named(
    ready: GatewayProcess, upstream: Upstream
) -> None:
    upstream.script("small", TOO_LONG)
    upstream.script("claude", failing(400, "prompt is too long: 1 > 0"))
    told = OPENAI.ask(ready.url, "several")
    assert who(told) == (200, "wide", "context_length")


# --- by the same checks --------------------------------------------------------------------------


def test_a_caller_that_wants_no_fallback_gets_none(
    ready: GatewayProcess, upstream: Upstream
) -> None:
    upstream.script("small", TOO_LONG)
    told = OPENAI.ask(ready.url, "chat", headers={"x-mobius-fallbacks": "off"})
    assert (told.status, told.code) == (400, "context_length_exceeded")
    assert upstream.order == ["small"]


def test_it_is_within_the_most_attempts(ready: GatewayProcess, upstream: Upstream) -> None:
    upstream.script("hasty", TOO_LONG)
    assert OPENAI.ask(ready.url, "hasty-chat").status == 400
    assert upstream.order == ["hasty"]


def test_a_budget_holds_for_them_too(ready: GatewayProcess, upstream: Upstream) -> None:
    upstream.script("small", TOO_LONG)
    told = OPENAI.ask(ready.url, "dear-chat", key=POOR_KEY)
    assert (told.status, told.code) == (400, "context_length_exceeded")
    assert upstream.order == ["small"]


def test_who_cannot_do_it_is_passed_over(ready: GatewayProcess, upstream: Upstream) -> None:
    upstream.script("small", TOO_LONG)
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    told = OPENAI.ask(ready.url, "mute-chat", tools=[tool])
    assert who(told) == (200, "wide", "context_length")


def test_a_key_that_may_call_the_route_may_call_them(
    ready: GatewayProcess, upstream: Upstream
) -> None:
    upstream.script("small", TOO_LONG)
    told = OPENAI.ask(ready.url, "chat", key=NARROW_KEY)
    assert who(told) == (200, "wide", "context_length")
    assert OPENAI.ask(ready.url, "wide", key=NARROW_KEY).status == 404


# --- given again ---------------------------------------------------------------------------------


def test_the_same_key_gets_the_same_answer_and_not_the_rejection(
    ready: GatewayProcess, upstream: Upstream
) -> None:
    upstream.script("small", TOO_LONG)
    once = {"Idempotency-Key": str(uuid4())}
    first, second = (OPENAI.ask(ready.url, "chat", headers=once) for _ in range(2))
    assert who(first) == who(second) == (200, "wide", "context_length")
    assert (first.body, second.headers["x-mobius-replayed"]) == (second.body, "true")
    assert upstream.order == ["small", "wide"]


def test_such_an_answer_is_not_kept_for_others(ready: GatewayProcess, upstream: Upstream) -> None:
    upstream.script("small", TOO_LONG, answer("the usual"))
    first, second = (OPENAI.ask(ready.url, "chat", key=AGAIN_KEY) for _ in range(2))
    assert who(first) == (200, "wide", "context_length")
    assert who(second) == (200, "small", None)


def test_how_often_it_happens_is_counted(ready: GatewayProcess, upstream: Upstream) -> None:
    line = 'mobius_degraded_total{rejection="content_policy",route="chat"}'

    def count() -> float:
        text = fetch(ready.url, "GET", "/metrics").text
        return sum(float(each.split()[-1]) for each in text.splitlines() if each.startswith(line))

    before = count()
    upstream.script("small", FORBIDDEN)
    OPENAI.ask(ready.url, "chat")
    until(lambda: count() == before + 1, 10)
    assert Books(ready).audit().ok
