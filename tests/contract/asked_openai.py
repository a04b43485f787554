"""What an OpenAI chat request asks for, and which of it Anthropic's protocol has no word for."""

import json
from collections.abc import Callable
from typing import Any

from tests.contract.asked import Body, Item, inline, merged, only, tool

CARRIED = frozenset({
    "model", "messages", "stream", "stream_options", "tools", "tool_choice", "parallel_tool_calls",
    "max_tokens", "max_completion_tokens", "temperature", "top_p", "stop", "user",
    "safety_identifier", "reasoning_effort", "response_format", "service_tier",
})  # fmt: skip
# What each field says when it says nothing; any other value has no word in the other dialect.
SILENT: dict[str, tuple[object, ...]] = {
    "n": (1,), "seed": (), "frequency_penalty": (0,), "presence_penalty": (0,), "logit_bias": ({},),
    "logprobs": (False,), "top_logprobs": (0,), "metadata": ({},), "functions": ([],),
    "function_call": ("none",), "store": (False,), "modalities": (["text"],), "audio": (),
    "verbosity": ("medium",), "prediction": (), "web_search_options": (), "prompt_cache_key": (),
}  # fmt: skip
BUDGETS = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16384}
LEAST_BUDGET = 1024


def asked(body: Body, *, most: int) -> Body:
    """Return what is asked for; `most` is how long the answer may be where nothing is said."""
    only(body, CARRIED | set(SILENT))
    said = [message for message in body["messages"] if message["role"] not in _SYSTEM]
    limit = body.get("max_completion_tokens") or body.get("max_tokens") or most
    return {
        "system": [
            text
            for message in body["messages"]
            if message["role"] in _SYSTEM
            for _, text in _content(message)
        ],
        "turns": merged(_turn(message) for message in said),
        "tools": [_tool(item["function"]) for item in body.get("tools") or []],
        "choice": _choice(body.get("tool_choice")),
        "single": body.get("parallel_tool_calls") is False and bool(body.get("tools")),
        "limit": limit,
        "temperature": body.get("temperature"),
        "top_p": body.get("top_p"),
        "stop": _list(body.get("stop")),
        "user": body.get("safety_identifier") or body.get("user"),
        "schema": _schema(body.get("response_format") or {}),
        "tier": body.get("service_tier"),
        "effort": body.get("reasoning_effort"),
    }


def as_anthropic(wanted: Body) -> Body:
    """Return how the other dialect has to say it where its words differ."""
    effort, limit = wanted.pop("effort"), wanted["limit"]
    budget = min(BUDGETS.get(effort or "", 0), limit // 2)
    wanted["thinking"] = {None: None, "none": "disabled"}.get(effort, budget)
    wanted["turns"] = [(who, [_renamed(item) for item in items]) for who, items in wanted["turns"]]
    wanted["tier"] = {"default": "standard_only"}.get(wanted["tier"], wanted["tier"])
    return wanted


def wordless(body: Body, *, most: int) -> set[str]:
    """Return the fields at the top that Anthropic's protocol cannot say."""
    silent = {**SILENT, "service_tier": ("auto", "default")}
    found = {
        name
        for name, values in silent.items()
        if body.get(name) is not None and body[name] not in values
    }
    tests: dict[str, bool] = {
        "temperature": (body.get("temperature") or 0) > 1,
        "response_format": (body.get("response_format") or {}).get("type") == "json_object",
        "tools": any(item.get("type") != "function" for item in body.get("tools") or []),
        "messages": not all(map(_can_cross, body["messages"])),
        "reasoning_effort": not _fits(body, most),
    }
    return found | {name for name, true in tests.items() if true}


_SYSTEM = {"system", "developer"}


def _turn(message: Body) -> tuple[str, list[Item]]:
    if message["role"] == "tool":
        texts = [text for _, text in _content(message)]
        return "user", [("result", message["tool_call_id"], texts)]
    if message["role"] != "assistant":
        return "user", _content(message)
    blocks = [
        ("redacted", block["data"])
        if "data" in block
        else ("thinking", block["thinking"], block["signature"])
        for block in message.get("thinking_blocks") or []
    ]
    if not blocks and message.get("reasoning_content"):
        blocks = [("thinking", message["reasoning_content"], None)]
    refusal = [("text", message["refusal"])] if message.get("refusal") else []
    calls = [
        ("call", call["id"], call["function"]["name"], json.loads(call["function"]["arguments"]))
        for call in message.get("tool_calls") or []
    ]
    return "assistant", [*blocks, *_content(message), *refusal, *calls]


def _content(message: Body) -> list[Item]:
    content = message.get("content")
    if isinstance(content, str):
        return [("text", content)]
    return [_PARTS[part["type"]](part) for part in content or []]


_PARTS: dict[str, Callable[[Body], Item]] = {
    "text": lambda part: ("text", part["text"]),
    "refusal": lambda part: ("text", part["refusal"]),
    "image_url": lambda part: ("image", *inline(part["image_url"]["url"])),
    "file": lambda part: ("file", *inline(part["file"]["file_data"])),
}


def _renamed(item: Item) -> Item:
    """Return a call or result by the id it has to have there: letters, digits, `_` and `-`."""
    if item[0] not in {"call", "result"}:
        return item
    name = "".join(c if c.isalnum() or c in "_-" else f"_{ord(c):x}" for c in item[1])
    return (item[0], name, *item[2:])


def _tool(function: Body) -> Item:
    return tool(
        function["name"],
        function.get("description"),
        function.get("parameters"),
        function.get("strict"),
    )


def _choice(value: Any) -> Item:
    if isinstance(value, dict):
        return ("named", value["function"]["name"])
    return (value or "auto",)


def _list(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value or [])


def _schema(form: Body) -> Any:
    if form.get("type") != "json_schema":
        return None
    wanted = form["json_schema"]
    about = {name: wanted[name] for name in ("description",) if wanted.get(name)}
    return {**about, **wanted["schema"]}


def _can_cross(message: Any) -> bool:
    if not isinstance(message, dict) or message.get("name") or message.get("function_call"):
        return False
    if message["role"] not in {"system", "developer", "user", "assistant", "tool"}:
        return False
    if message.get("reasoning_content") and not message.get("thinking_blocks"):
        return False
    content = message.get("content")
    return isinstance(content, str) or all(map(_part_can_cross, content or []))


def _part_can_cross(part: Body) -> bool:
    if part["type"] == "image_url":
        return part["image_url"].get("detail") in {None, "auto"}
    if part["type"] == "file":
        return str(part["file"].get("file_data")).startswith("data:application/pdf;base64,")
    return part["type"] in {"text", "refusal"}


def _fits(body: Body, most: int) -> bool:
    effort = body.get("reasoning_effort")
    if effort in {None, "none"}:
        return True
    limit = body.get("max_completion_tokens") or body.get("max_tokens") or most
    return min(BUDGETS.get(str(effort), 0), limit // 2) >= LEAST_BUDGET
