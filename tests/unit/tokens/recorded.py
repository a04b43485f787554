"""Recorded exchanges in which a provider told how many tokens it counted."""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from llm_gateway.adapters import CHAT_ADAPTERS
from llm_gateway.errors import InvalidRequestError
from llm_gateway.providers.known_models import token_family
from llm_gateway.tokens.counting import Count, count_request
from llm_gateway.types import ChatRequest
from tests.unit.adapters.recordings import FOLDER

# The kind of provider of each kind of recording whose requests an adapter reads.
KINDS = {
    "openai.chat": "openai",
    "azure.chat": "azure_openai",
    "anthropic.messages": "anthropic",
    "openrouter.chat": "openrouter",
    "groq.chat": "groq",
    "deepseek.chat": "deepseek",
    "mistral.chat": "mistral",
    "huggingface.chat": "huggingface",
    "cerebras.chat": "cerebras",
    "together.chat": "together",
    "xai.chat": "xai",
    "zai.chat": "zai",
    "perplexity.chat": "perplexity",
    "ollama.openai_chat": "ollama",
    "gemini.generateContent": "gemini",
    "gemini.streamGenerateContent": "gemini",
}
SAID = {"prompt_tokens", "input_tokens", "promptTokenCount"}
WRITTEN = ("cache_read_input_tokens", "cache_creation_input_tokens")


class Exchange:
    """What was asked in the hub's words, of whom, and the input tokens that the answer told."""

    def __init__(self, name: str, kind: str, request: ChatRequest, used: int) -> None:
        self.id, self.kind, self.request, self.used = name, kind, request, used

    def counted(self) -> Count:
        return count_request(self.request, token_family(self.kind, self.request.model))


@cache
def recorded() -> tuple[Exchange, ...]:
    paths = sorted(FOLDER.glob("*.json")) if FOLDER.is_dir() else []
    return tuple(one for path in paths if (one := _exchange(json.loads(path.read_bytes()))))


def _exchange(data: Any) -> Exchange | None:
    if data["response"]["status"] != 200 or data["provenance"] != "cassette":
        return None
    kind, used = KINDS.get(data["api"]), _used(data["response"]["body"])
    request = _request(data) if kind and used else None
    if kind is None or used is None or request is None:
        return None
    return Exchange(data["id"], kind, request, used)


def _request(data: Any) -> ChatRequest | None:
    """Return a recorded request; None for one that no adapter takes."""
    body, api = data["request"]["body"], data["api"]
    name = {"anthropic.messages": "anthropic_messages"}.get(api, "openai_chat")
    if api.startswith("gemini."):
        name = "gemini"
        model = Path(data["request"]["path"].partition("?")[0]).name.partition(":")[0]
        body = {**body, "model": model}
    try:
        return CHAT_ADAPTERS[name].parse_request(body) if name in CHAT_ADAPTERS else None
    except InvalidRequestError:
        return None


def _used(body: Any) -> int | None:
    """Return the input tokens that an answer tells, whole or streamed; the last word counts."""
    found = None
    for said in _frames(body):
        for holder in (said, said.get("message"), said.get("response"), said.get("x_groq")):
            usage = (holder or {}).get("usage") or (holder or {}).get("usageMetadata") or {}
            tokens = [usage[name] for name in SAID if usage.get(name)]
            if tokens:
                found = tokens[0] + sum(usage.get(name) or 0 for name in WRITTEN)
    return found


def _frames(body: Any) -> Iterator[dict[str, Any]]:
    if isinstance(body, dict):
        yield body
        return
    for line in body.splitlines() if isinstance(body, str) else ():
        if line.startswith("data:") and line[5:].strip().startswith("{"):
            yield json.loads(line[5:])
