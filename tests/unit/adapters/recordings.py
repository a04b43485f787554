"""Real exchanges of providers, where the shared folder lies beside the project."""

import json
import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

import jsonschema_rs
import pytest
from msgspec.structs import replace

from llm_gateway.adapters import ADAPTERS, CHAT_ADAPTERS
from llm_gateway.adapters.sse import Framer
from llm_gateway.providers.catalog import CATALOG
from llm_gateway.providers.row import speech_at
from llm_gateway.types import Call, Quirks

SHARED = Path(__file__).parents[4] / "shared"
FOLDER = SHARED / "recordings"
# Providers that speak OpenAI's protocol with an accent: what a configuration calls each, and where.
ACCENTS = {
    "azure.chat": ("azure_openai", "https://acme.openai.azure.com"),
    "cerebras.chat": ("cerebras", ""),
    "deepseek.chat": ("deepseek", ""),
    "groq.chat": ("groq", ""),
    "huggingface.chat": ("huggingface", ""),
    "mistral.chat": ("mistral", ""),
    "ollama.openai_chat": ("ollama", "http://127.0.0.1:11434/v1"),
    "openrouter.chat": ("openrouter", ""),
    "perplexity.chat": ("perplexity", ""),
    "together.chat": ("together", ""),
    "xai.chat": ("xai", ""),
    "zai.chat": ("zai", ""),
}
ADAPTER_OF = {
    **dict.fromkeys(ACCENTS, "openai_chat"),
    "openai.moderations": "openai_moderations",
    "openai.chat": "openai_chat",
    "openai.embeddings": "openai_embeddings",
    "openai.responses": "openai_responses",
    "anthropic.messages": "anthropic_messages",
    "anthropic.count_tokens": "anthropic_messages",
    "gemini.generateContent": "gemini",
    "gemini.streamGenerateContent": "gemini",
    "gemini.countTokens": "gemini",
    "gemini.batchEmbedContents": "gemini_embeddings",
    "vertex.generateContent": "gemini",
}
# What the path says that other dialects say in the body.
NAMED: dict[str, dict[str, Any]] = {
    "gemini.generateContent": {"model": "asked"},
    "gemini.streamGenerateContent": {"model": "asked", "stream": True},
    "gemini.countTokens": {"model": "asked", "operation": "count_tokens"},
    "gemini.batchEmbedContents": {"model": "asked"},
    "vertex.generateContent": {"model": "asked"},
    "anthropic.count_tokens": {"operation": "count_tokens"},
}
END = b""  # the frame that says that nothing follows
ABSENT = "../shared/recordings is not beside this clone"


class Recording:
    """One exchange as the adapters see it."""

    def __init__(self, path: Path) -> None:
        data = json.loads(path.read_bytes())
        self.id: str = data["id"]
        self.api: str = data["api"]
        self.adapter = ADAPTER_OF[self.api]
        self.request: dict[str, Any] = data["request"]["body"]
        self.status: int = data["response"]["status"]
        self.headers: dict[str, str] = data["response"]["headers"]
        self.body: Any = data["response"]["body"]
        self.is_stream = data["stream_format"] == "sse"
        counts = self.api.endswith(("count_tokens", "countTokens"))
        self.is_chat = self.adapter in CHAT_ADAPTERS and not counts
        self.breaks = "error_in_stream" in data["features"]
        self.model_field = "modelVersion" if self.adapter == "gemini" else "model"

    def call(self) -> Call:
        parse: Any = ADAPTERS[self.adapter].parse_call
        call: Call = parse(self.request, size=1, **NAMED.get(self.api, {}))
        # As the service asks for a relay: what a server tells unasked is not taken out again.
        return replace(call, wants_usage=True) if self.quirks.usage_unasked else call

    @property
    def quirks(self) -> Quirks:
        if self.api not in ACCENTS:
            return Quirks()
        kind, address = ACCENTS[self.api]
        return speech_at(CATALOG[kind], address, {}).quirks

    def frames(self) -> list[bytes]:
        framer = Framer()
        frames = framer.feed(self.body.encode())
        assert framer.rest() == b""
        return [*frames, END]

    def raw(self) -> bytes:
        if isinstance(self.body, str):
            return self.body.encode()
        return json.dumps(self.body, ensure_ascii=False).encode()

    def renamed(self, model: str | None, name: str) -> str:
        """Return the stream with every model that the provider named exchanged, by text."""
        field = self.model_field
        said = rf'"{field}":( ?)"{re.escape(model or "")}"'
        return re.sub(said, rf'"{field}":\1"{name}"', self.body)


def recordings() -> Iterator[Recording]:
    for path in sorted(FOLDER.glob("*.json")):
        if json.loads(path.read_bytes())["api"] in ADAPTER_OF:
            yield Recording(path)


def streams_here() -> list[str]:
    """Return the ids of all that were streamed, of whatever api, by the folder alone."""
    found = []
    for path in sorted(FOLDER.glob("*.json")):
        data = json.loads(path.read_bytes())
        if data["stream_format"] is not None:
            found.append(data["id"])
    return found


def absent() -> None:
    """Name the leg as absent; it must run where CI says so."""
    if os.environ.get("CI") == "true":
        pytest.fail(ABSENT)
    pytest.skip(ABSENT)


def refuse(uri: str) -> NoReturn:
    raise LookupError(f"a schema refers to {uri}")


def validator(file: str, name: str) -> jsonschema_rs.Validator:
    """Return a validator for one named schema of the providers' published documents.

    Alternatives overlap in them (a message with parts is two kinds of item), so any may fit.
    """
    schema = {"$ref": f"#/$defs/{name}", "$defs": definitions(file)}
    return jsonschema_rs.validator_for(schema, retriever=refuse)


@cache
def definitions(file: str) -> dict[str, Any]:
    """Return all named schemas of one of the providers' published documents."""
    document = json.loads((SHARED / "specs" / file).read_bytes(), object_hook=_as_it_is_meant)
    found: dict[str, Any] = document["$defs"]
    return found


def _as_it_is_meant(schema: dict[str, Any]) -> dict[str, Any]:
    """Leave out two words of an older draft, which this draft knows with another type."""
    return {
        {"oneOf": "anyOf"}.get(key, key): value
        for key, value in schema.items()
        if key not in {"$recursiveAnchor", "$recursiveRef"}
    }
