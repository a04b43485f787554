"""Whoever asks in whatever dialect, what is charged is what the provider says it used.

One gateway, one price sheet on which no two lines are alike, and a provider of each protocol that
reports everything its protocol can tell. The units that it bills for are written down by hand.
"""

import json
import time
from collections.abc import Iterator
from decimal import Decimal
from itertools import product
from typing import Any, NamedTuple

import pytest

from tests.contract.town import PAIR
from tests.harness.books import Books
from tests.harness.config import API_KEY, configuration, model, provider, tenant
from tests.harness.database import SqliteDatabases
from tests.harness.dialects import Told, fetch
from tests.harness.gateway import GatewayProcess, installed
from tests.harness.playing import Played, PlayedProviders
from tests.unit.adapters.speaking import PROVIDERS, ToolUse, Turn

NANO = 10**9
LOGGED_S, POLL_S, FOUND = 10, 0.02, 200
PNG = "iVBORw0KGgo="
# US dollars: for a million tokens, and for one of what is counted by the piece.
TOKENS = {
    "input": "1.10", "cache_read": "0.13", "cache_write": "1.70", "cache_write_1h": "1.90",
    "output": "4.30", "reasoning": "5.90", "audio_input": "7.10", "audio_output": "11.30",
    "image_input": "2.30", "image_output": "13.70",
}  # fmt: skip
PIECES = {"request": "0.0007", "image": "0.003", "tool_call": "0.017", "audio_second": "0.00005"}
# Every request brings one image, and is one.
ASKED = {"request": 1, "image": 1}


class Reported(NamedTuple):
    """What a provider says it used, in words of `name`, and what it bills for that."""

    kind: str
    name: str
    used: dict[str, Any]
    units: dict[str, int]
    searches: int = 0


CHAT = {
    "prompt_tokens": 200, "completion_tokens": 90, "total_tokens": 290,
    "prompt_tokens_details": {
        "cached_tokens": 100, "cache_write_tokens": 30, "audio_tokens": 20, "image_tokens": 15
    },
    "completion_tokens_details": {"reasoning_tokens": 40, "audio_tokens": 10, "image_tokens": 5},
}  # fmt: skip
CHAT_UNITS = {
    "input": 35, "cache_read": 100, "cache_write": 30, "audio_input": 20, "image_input": 15,
    "output": 35, "reasoning": 40, "audio_output": 10, "image_output": 5,
}  # fmt: skip
RESPONSES = {
    "input_tokens": 200, "output_tokens": 90, "total_tokens": 290,
    "input_tokens_details": CHAT["prompt_tokens_details"],
    "output_tokens_details": CHAT["completion_tokens_details"],
}  # fmt: skip
CLAUDE = {
    "input_tokens": 35, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 50,
    "cache_creation": {"ephemeral_5m_input_tokens": 30, "ephemeral_1h_input_tokens": 20},
    "output_tokens": 90, "output_tokens_details": {"thinking_tokens": 40},
    "server_tool_use": {"web_search_requests": 2, "web_fetch_requests": 1},
}  # fmt: skip
CACHED = {"input": 35, "cache_read": 100, "cache_write": 30, "cache_write_1h": 20}
GEMINI = {
    "promptTokenCount": 200, "cachedContentTokenCount": 100, "toolUsePromptTokenCount": 30,
    "promptTokensDetails": [
        {"modality": "TEXT", "tokenCount": 165}, {"modality": "AUDIO", "tokenCount": 20},
        {"modality": "IMAGE", "tokenCount": 15},
    ],
    "candidatesTokenCount": 50, "thoughtsTokenCount": 40, "totalTokenCount": 320,
    "candidatesTokensDetails": [
        {"modality": "TEXT", "tokenCount": 35}, {"modality": "AUDIO", "tokenCount": 10},
        {"modality": "IMAGE", "tokenCount": 5},
    ],
}  # fmt: skip
GEMINI_UNITS = {
    "input": 95, "cache_read": 100, "audio_input": 20, "image_input": 15, "output": 35,
    "reasoning": 40, "audio_output": 10, "image_output": 5, "tool_call": 3,
}  # fmt: skip
BEDROCK = {
    "inputTokens": 35, "outputTokens": 90, "totalTokens": 275, "cacheReadInputTokens": 100,
    "cacheWriteInputTokens": 50, "cacheDetails": [
        {"ttl": "5m", "inputTokens": 30}, {"ttl": "1h", "inputTokens": 20}
    ],
}  # fmt: skip
COHERE = {
    "billed_units": {"input_tokens": 35, "output_tokens": 90},
    "tokens": {"input_tokens": 535, "output_tokens": 90, "reasoning_tokens": 40},
}
XAI = {
    "prompt_tokens": 135, "completion_tokens": 50, "total_tokens": 225,
    "prompt_tokens_details": {"cached_tokens": 100},
    "completion_tokens_details": {"reasoning_tokens": 40},
}  # fmt: skip
DEEPSEEK = {
    "prompt_tokens": 135, "completion_tokens": 90, "total_tokens": 225,
    "prompt_cache_hit_tokens": 100, "prompt_cache_miss_tokens": 35,
    "completion_tokens_details": {"reasoning_tokens": 40},
}  # fmt: skip
MISTRAL = {
    "prompt_tokens": 35, "completion_tokens": 90, "total_tokens": 125, "prompt_audio_seconds": 12
}  # fmt: skip
THOUGHT = {"output": 50, "reasoning": 40}
REPORTED = (
    Reported("openai", "openai_chat", CHAT, CHAT_UNITS),
    Reported("openai", "openai_responses", RESPONSES, CHAT_UNITS | {"tool_call": 2}, 2),
    Reported("anthropic", "anthropic_messages", CLAUDE, CACHED | THOUGHT | {"tool_call": 2}),
    Reported("gemini", "gemini", GEMINI, GEMINI_UNITS, 3),
    Reported("bedrock", "bedrock_converse", BEDROCK, CACHED | {"output": 90}),
    Reported("cohere", "cohere", COHERE, {"input": 35, **THOUGHT}),
    Reported(
        "ollama", "ollama", {"prompt_eval_count": 35, "eval_count": 90}, {"input": 35, "output": 90}
    ),
    Reported("xai", "openai_chat", XAI, {"input": 35, "cache_read": 100, **THOUGHT}),
    Reported("deepseek", "openai_chat", DEEPSEEK, {"input": 35, "cache_read": 100, **THOUGHT}),
    Reported("mistral", "openai_chat", MISTRAL, {"input": 35, "output": 90, "audio_second": 12}),
)
SHAPES = ("whole", "streamed")
TYPES = {"ollama": "application/x-ndjson", "bedrock": "application/vnd.amazon.eventstream"}


# --- the gateway, and who answers it


def called(reported: Reported, shape: str) -> str:
    return f"{reported.kind}-{reported.name}-{shape}"


def answered(reported: Reported, shape: str) -> Played:
    call = ToolUse("call_1", "clock", {})
    turn = Turn(1, "Hm.", "c2ln", "", "Noon.", (call,), reported.used, reported.searches)
    said = PROVIDERS[reported.name]
    if shape == "whole":
        return Played(json.dumps(said.whole(turn)).encode(), "application/json")
    return Played(said.stream(turn), TYPES.get(reported.kind, "text/event-stream"))


def sections(providers: PlayedProviders) -> dict[str, Any]:
    rows, models = [], []
    for reported, shape in product(REPORTED, SHAPES):
        name = called(reported, shape)
        own: dict[str, Any] = {"retry": {"max_attempts": 1}}
        if reported.kind == "bedrock":
            own |= {"options": {"region": "eu-central-1"}, "keys": [{"value": PAIR}]}
        rows.append(provider(f"p-{name}", reported.kind, providers.base_url(name), **own))
        way = "responses" if reported.name == "openai_responses" else "chat"
        sheet = {"from": "2020-01-01", **TOKENS, **PIECES}
        able = [way, "stream", "tools", "vision", "reasoning"]
        models.append(
            model(name, f"p-{name}", upstream_name="m", prices=[sheet], capabilities=able)
        )
    return {"providers": rows, "models": models, "routes": [], "tenants": [tenant()]}


@pytest.fixture(scope="module")
def priced(
    sqlite_databases: SqliteDatabases, tmp_path_factory: pytest.TempPathFactory, output: Any
) -> Iterator[GatewayProcess]:
    played = {
        called(reported, shape): answered(reported, shape)
        for reported, shape in product(REPORTED, SHAPES)
    }
    home = tmp_path_factory.mktemp("costs")
    with (
        PlayedProviders(played) as providers,
        installed(sqlite_databases, home, output) as gateway,
    ):
        gateway.apply(configuration("http://127.0.0.1:9", **sections(providers)))
        gateway.serve()
        yield gateway


# --- the same request in each dialect


def chat(name: str, *, stream: bool) -> tuple[str, Any]:
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
    content = [{"type": "text", "text": "What time is it?"}, image]
    body = {"model": name, "messages": [{"role": "user", "content": content}], "stream": stream}
    return "/v1/chat/completions", body


def responses(name: str, *, stream: bool) -> tuple[str, Any]:
    image = {
        "type": "input_image", "image_url": f"data:image/png;base64,{PNG}"
    }  # fmt: skip
    content = [{"type": "input_text", "text": "What time is it?"}, image]
    body = {
        "model": name, "input": [{"role": "user", "content": content}], "stream": stream,
        "store": False,
    }  # fmt: skip
    return "/v1/responses", body


def messages(name: str, *, stream: bool) -> tuple[str, Any]:
    source = {"type": "base64", "media_type": "image/png", "data": PNG}
    content = [{"type": "text", "text": "What time is it?"}, {"type": "image", "source": source}]
    body = {
        "model": name, "max_tokens": 500, "messages": [{"role": "user", "content": content}],
        "stream": stream,
    }  # fmt: skip
    return "/v1/messages", body


def gemini(name: str, *, stream: bool) -> tuple[str, Any]:
    image = {"inlineData": {"mimeType": "image/png", "data": PNG}}
    contents = [{"role": "user", "parts": [{"text": "What time is it?"}, image]}]
    method = "streamGenerateContent?alt=sse" if stream else "generateContent"
    return f"/v1beta/models/{name}:{method}", {"contents": contents}


DIALECTS = {
    "openai_chat": chat,
    "openai_responses": responses,
    "anthropic_messages": messages,
    "gemini": gemini,
}


def ask(gateway: GatewayProcess, dialect: str, name: str, *, stream: bool) -> Told:
    path, body = DIALECTS[dialect](name, stream=stream)
    return send(gateway, "POST", path, json.dumps(body).encode())


def send(gateway: GatewayProcess, method: str, path: str, body: bytes | None = None) -> Told:
    return fetch(gateway.url, method, path, body, {"Authorization": f"Bearer {API_KEY}"})


def logged(gateway: GatewayProcess, request_id: str) -> Any:
    """Return the row of the request log; it is written a moment after its answer."""
    until = time.monotonic() + LOGGED_S
    while (told := send(gateway, "GET", f"/api/v1/requests/{request_id}")).status != FOUND:
        assert time.monotonic() < until, told.text
        time.sleep(POLL_S)
    return told.json


# --- what it costs


def lines_of(units: dict[str, int]) -> dict[str, tuple[int, Decimal]]:
    """Return what is billed: units and dollars by the name of a line."""
    told = {
        f"{name}_token": (units[name], units[name] * Decimal(price) / 1_000_000)
        for name, price in TOKENS.items()
        if name in units
    }
    pieces = ASKED | units
    return told | {
        name: (pieces[name], pieces[name] * Decimal(price))
        for name, price in PIECES.items()
        if name in pieces
    }


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("reported", REPORTED, ids=lambda one: f"{one.kind}-{one.name}")
def test_the_cost_is_the_price_of_what_was_used_line_by_line(
    priced: GatewayProcess, reported: Reported, dialect: str, shape: str
) -> None:
    reply = ask(priced, dialect, called(reported, shape), stream=shape == "streamed")
    assert reply.status == 200, reply.text
    billed = lines_of(reported.units)
    cost = sum((dollars for _, dollars in billed.values()), Decimal(0))

    row = logged(priced, reply.request_id)
    assert {
        line["unit"]: (line["units"], Decimal(line["amount_usd"])) for line in row["lines"]
    } == billed
    assert (Decimal(row["cost_usd"]), row["estimated"]) == (cost, False)
    if shape == "whole":
        assert Decimal(reply.headers["x-mobius-cost-usd"]) == cost

    (entry,) = Books(priced).entries(reply.request_id)
    assert (entry["amount_nano"], entry["outcome"]) == (int(cost * NANO), "settled")
    lines = json.loads(entry["lines"])
    assert {line["unit"]: line["amount_nano"] for line in lines} == {
        unit: int(dollars * NANO) for unit, (_, dollars) in billed.items()
    }
    assert not entry["unpriced"]


def test_the_books_agree_with_themselves(priced: GatewayProcess) -> None:
    assert Books(priced).audit().ok


def test_every_line_of_a_price_is_billed_by_somebody() -> None:
    billed = {name for reported in REPORTED for name in reported.units}
    assert billed | ASKED.keys() == {*TOKENS, *PIECES}
