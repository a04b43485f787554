"""Name every way to spend money, with the least that it takes; who adds one adds a line here."""

import ast
import inspect
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from typing_extensions import override

from llm_gateway import consumers, gateway
from llm_gateway.access import AUTHZ_MATRIX
from llm_gateway.mcp_server.tools import TOOLS
from tests.harness.dialects import Told, fetch

Route = tuple[str, str, str]
Json = dict[str, Any]

MESSAGES = [{"role": "user", "content": "hi"}]
CHAT: Json = {"model": "door", "max_tokens": 8, "messages": MESSAGES}
SEVERAL: Json = {"models": ["door", "door-too"], "max_tokens": 8, "messages": MESSAGES}
BATCHED: Json = {**CHAT, "model": "door-batch"}
LINE: Json = {**CHAT, "model": "door-lines"}
LINES: Json = {"endpoint": "/v1/chat/completions", "completion_window": "24h"}
GEMINI: Json = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
GEMINI_TEXT: Json = {"content": {"parts": [{"text": "hi"}]}}
GEMINI_TEXTS: Json = {"requests": [{"model": "models/door-embed", **GEMINI_TEXT}]}


@dataclass(frozen=True, slots=True)
class Http:
    """A body for a route; `model` is what stands for {model} in its path."""

    body: Json
    model: str = "door"
    calls: int = 1  # at most

    def ask(self, url: str, route: str, key: str) -> Told:
        path = route.replace("{model}", self.model)
        headers = {"x-api-key": key, "anthropic-version": "2023-06-01"}
        if not path.startswith("/v1/messages"):
            del headers["anthropic-version"]
        return fetch(url, "POST", path, json.dumps(self.body).encode(), headers)

    def paid(self, told: Told) -> list[str]:
        """Return the requests that the ledger knows it by."""
        if self.calls == 1 or "answers" not in told.json:
            return [told.request_id]
        return [one["request_id"] for one in told.json["answers"]]


class Filed(Http):
    """A batch: its requests are uploaded first, which is free."""

    @override
    def ask(self, url: str, route: str, key: str) -> Told:
        line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": LINE}
        form = (
            '--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--b\r\n'
            'Content-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n'
            f"{json.dumps(line)}\r\n--b--\r\n"
        )
        headers = {"x-api-key": key, "Content-Type": "multipart/form-data; boundary=b"}
        kept = fetch(url, "POST", "/v1/files", form.encode(), headers).json
        body = json.dumps({**self.body, "input_file_id": kept["id"]}).encode()
        return fetch(url, "POST", route, body, {"x-api-key": key})


_GEMINI = {
    "generateContent": Http(GEMINI),
    "streamGenerateContent": Http(GEMINI),
    "embedContent": Http(GEMINI_TEXT, "door-embed"),
    "batchEmbedContents": Http(GEMINI_TEXTS, "door-embed"),
}
HTTP: Mapping[str, Http] = {
    "/v1/chat/completions": Http(CHAT),
    "/v1/completions": Http({"model": "door", "max_tokens": 8, "prompt": "hi"}),
    "/v1/responses": Http({"model": "door", "max_output_tokens": 16, "input": "hi"}),
    "/v1/embeddings": Http({"model": "door-embed", "input": ["hi"]}),
    "/v1/moderations": Http({"model": "door-moderate", "input": "hi"}),
    "/v1/rerank": Http({"model": "door-rerank", "query": "hi", "documents": ["hi"]}),
    "/v1/messages": Http(CHAT),
    "/v1/messages/batches": Http({"requests": [{"custom_id": "a", "params": BATCHED}]}),
    "/v1/batches": Filed(LINES),
    "/api/v1/llm/complete": Http(CHAT),
    "/api/v1/llm/stream": Http(CHAT),
    "/api/v1/llm/race": Http(SEVERAL, calls=2),
    "/api/v1/llm/parallel": Http(SEVERAL, calls=2),
    "/api/v1/llm/embed": Http({"model": "door-embed", "texts": ["hi"]}),
    **{f"/v1/models/{{model}}:{name}": door for name, door in _GEMINI.items()},
    **{f"/v1beta/models/{{model}}:{name}": door for name, door in _GEMINI.items()},
}
# Routes that lead to several ways to spend, each listed below by itself.
BEHIND = {"/ws/v1/llm": "frames", "/mcp": "tools"}

# Frames of the WebSocket; None: it asks for nothing.
FRAMES: Mapping[str, Json | None] = {
    "chat.create": {"type": "chat.create", "id": "1", "request": CHAT},
    "chat.cancel": None,
}
# Tools of the MCP server, by their arguments.
TOOL_CALLS: Mapping[str, Json | None] = {
    "complete": {"prompt": "hi", "model": "door", "max_tokens": 8},
    "embed": {"texts": ["hi"], "model": "door-embed"},
    "list_models": None,
    "usage": None,
}
# Functions of the Python API, as a call of theirs; `who` is bound.
PYTHON: Mapping[str, str | None] = {
    "complete": 'asyncio.run(gateway.complete(who, "hi", model="door", max_tokens=8))',
    "race": ('asyncio.run(gateway.race(who, "hi", models=["door", "door-too"], max_tokens=8))'),
    "stream": 'asyncio.run(drained(gateway.stream(who, "hi", model="door", max_tokens=8)))',
    "embed": 'asyncio.run(gateway.embed(who, ["hi"], "door-embed"))',
    "count_tokens": None,
    "models.list": None,
    "sync.complete": 'gateway.sync.complete(who, "hi", model="door", max_tokens=8)',
    "sync.race": 'gateway.sync.race(who, "hi", models=["door", "door-too"], max_tokens=8)',
    "sync.stream": 'list(gateway.sync.stream(who, "hi", model="door", max_tokens=8))',
    "sync.embed": 'gateway.sync.embed(who, ["hi"], "door-embed")',
    "sync.count_tokens": None,
    "sync.models.list": None,
    "sync.close": None,
}
# What asks a provider without a hold, because no provider bills it.
FREE_CALLS = {
    "llm_gateway/providers/control.py",
    "llm_gateway/service/counting.py",
    "llm_gateway/service/owned.py",
    "llm_gateway/service/model_lists.py",
    "llm_gateway/service/webhooks.py",
}


# --- what there is, found in the code itself


def spending_routes() -> set[Route]:
    return {row for row, who in AUTHZ_MATRIX.items() if getattr(who, "spends", False)}


def frames() -> set[str]:
    """Return the types of message that the consumer knows after the key."""
    handler = ast.parse(inspect.cleandoc(inspect.getsource(consumers)))
    return {
        str(node.pattern.value.value)
        for node in ast.walk(handler)
        if isinstance(node, ast.match_case)
        and isinstance(node.pattern, ast.MatchValue)
        and isinstance(node.pattern.value, ast.Constant)
    }


def tools() -> set[str]:
    return set(TOOLS)


def python_functions(holder: object = gateway, prefix: str = "") -> Iterator[str]:
    """Yield the names of all functions that the Python API has, with those in its namespaces."""
    names = gateway.__all__ if holder is gateway else dir(holder)
    for name in names:
        value = getattr(holder, name)
        if name.startswith("_") or inspect.isclass(value):
            continue
        if callable(value):
            yield prefix + name
        else:
            yield from python_functions(value, f"{prefix}{name}.")


def check_listed(routes: set[Route]) -> None:
    """Fail for a way to spend that nobody has written down here."""
    listed = {("http", "POST", path) for path in HTTP}
    behind = {row for row in routes if row[2] in BEHIND}
    assert routes - listed - behind == set()
    assert frames() == set(FRAMES)
    assert tools() == set(TOOL_CALLS)
    assert set(python_functions()) == set(PYTHON)
