"""Read out of a provider's request which tools were called before, and what came of them."""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from tests.upstream.client import SeenCall


class Heard(NamedTuple):
    """Calls and results of a request, in its order; no id where the caller sent none."""

    calls: list[tuple[str | None, str, Any]]  # id, name, arguments
    results: list[tuple[str | None, str]]  # id, what came of it


def heard(call: SeenCall) -> Heard:
    found = list(_READ[call.dialect](call.body))
    return Heard(
        [(id_, name, value) for kind, id_, name, value in found if kind == "call"],
        [(id_, json.dumps(value)) for kind, id_, _, value in found if kind == "result"],
    )


Found = Iterator[tuple[str, str | None, str, Any]]  # call or result, id, name, value


def _chat(body: Any) -> Found:
    for message in body["messages"]:
        for call in message.get("tool_calls") or ():
            function = call["function"]
            yield "call", call["id"], function["name"], json.loads(function["arguments"])
        if message["role"] == "tool":
            yield "result", message["tool_call_id"], "", message["content"]


def _responses(body: Any) -> Found:
    for item in body["input"]:
        if item.get("type") == "function_call":
            yield "call", item["call_id"], item["name"], json.loads(item["arguments"])
        if item.get("type") == "function_call_output":
            yield "result", item["call_id"], "", item["output"]


def _messages(body: Any) -> Found:
    for message in body["messages"]:
        for block in message["content"] if isinstance(message["content"], list) else ():
            if block["type"] == "tool_use":
                yield "call", block["id"], block["name"], block["input"]
            if block["type"] == "tool_result":
                yield "result", block["tool_use_id"], "", block["content"]


def _gemini(body: Any) -> Found:
    for content in body["contents"]:
        for part in content["parts"]:
            if call := part.get("functionCall"):
                yield "call", call.get("id"), call["name"], call["args"]
            if result := part.get("functionResponse"):
                yield "result", result.get("id"), result["name"], result["response"]


_READ = {
    "openai.chat": _chat,
    "openai.responses": _responses,
    "anthropic.messages": _messages,
    "gemini.content": _gemini,
}
