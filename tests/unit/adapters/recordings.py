"""Real exchanges of providers, where the shared folder lies beside the project."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import jsonschema_rs
import pytest

from llm_gateway.adapters import ADAPTERS, anthropic_messages
from llm_gateway.adapters.sse import Framer
from llm_gateway.types import Call

SHARED = Path(__file__).parents[4] / "shared"
FOLDER = SHARED / "recordings"
ADAPTER_OF = {
    "openai.chat": "openai_chat",
    "openai.embeddings": "openai_embeddings",
    "anthropic.messages": "anthropic_messages",
    "anthropic.count_tokens": "anthropic_messages",
}
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
        self.is_chat = self.api in {"openai.chat", "anthropic.messages"}

    def call(self) -> Call:
        if self.api == "anthropic.count_tokens":
            return anthropic_messages.parse_call(self.request, size=1, operation="count_tokens")
        return ADAPTERS[self.adapter].parse_call(self.request, size=1)

    def frames(self) -> list[bytes]:
        framer = Framer()
        frames = framer.feed(self.body.encode())
        assert framer.rest() == b""
        return frames

    def raw(self) -> bytes:
        return json.dumps(self.body, ensure_ascii=False).encode()

    def renamed(self, model: str | None, name: str) -> str:
        """Return the stream with every model that the provider named exchanged, by text."""
        return re.sub(rf'"model":( ?)"{re.escape(model or "")}"', rf'"model":\1"{name}"', self.body)


def recordings() -> Iterator[Recording]:
    for path in sorted(FOLDER.glob("*.json")):
        if json.loads(path.read_bytes())["api"] in ADAPTER_OF:
            yield Recording(path)


def absent() -> None:
    """Name the leg as absent; it must run where CI says so."""
    if os.environ.get("CI") == "true":
        pytest.fail(ABSENT)
    pytest.skip(ABSENT)


def refuse(uri: str) -> NoReturn:
    raise LookupError(f"a schema refers to {uri}")


def validator(file: str, name: str) -> jsonschema_rs.Validator:
    """Return a validator for one named schema of the providers' published documents."""
    document = json.loads((SHARED / "specs" / file).read_bytes(), object_hook=_without_old_words)
    definitions = document["$defs"]
    schema = {"$ref": f"#/$defs/{name}", "$defs": definitions}
    return jsonschema_rs.validator_for(schema, retriever=refuse)


def _without_old_words(schema: dict[str, Any]) -> dict[str, Any]:
    """Leave out two words of an older draft, which this draft knows with another type."""
    return {
        key: value
        for key, value in schema.items()
        if key not in {"$recursiveAnchor", "$recursiveRef"}
    }
