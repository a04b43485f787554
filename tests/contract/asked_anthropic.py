"""What an Anthropic messages request asks for, and which of it OpenAI's chat has no word for."""

from collections.abc import Callable
from typing import Any

from tests.contract.asked import Body, Item, merged, only, tool

CARRIED = frozenset({
    "model", "messages", "system", "stream", "tools", "tool_choice", "max_tokens", "temperature",
    "top_p", "stop_sequences", "metadata", "thinking", "output_config", "output_format",
    "service_tier", "cache_control",
})  # fmt: skip
SILENT: dict[str, tuple[object, ...]] = {
    "top_k": (), "container": (), "mcp_servers": ([],), "context_management": ({},), "speed": (),
    "inference_geo": (),
}  # fmt: skip
MOST_STOPS = 4
PLAIN_BLOCKS = {"text", "image", "document", "tool_use", "tool_result", "thinking"}


def asked(body: Body) -> Body:
    only(body, CARRIED | set(SILENT))
    choice = body.get("tool_choice") or {}
    config = body.get("output_config") or {}
    form = config.get("format") or body.get("output_format")
    thinking = body.get("thinking") or {}
    return {
        "system": [text for _, text in _blocks(body.get("system"))],
        "turns": merged((m["role"], _blocks(m["content"])) for m in body["messages"]),
        "tools": [_tool(item) for item in body.get("tools") or []],
        "choice": _choice(choice),
        "single": bool(choice.get("disable_parallel_tool_use")),
        "limit": body["max_tokens"],
        "temperature": body.get("temperature"),
        "top_p": body.get("top_p"),
        "stop": list(body.get("stop_sequences") or []),
        "user": (body.get("metadata") or {}).get("user_id"),
        "schema": form["schema"] if form else None,
        "tier": body.get("service_tier"),
        "thinking": thinking.get("budget_tokens", thinking.get("type")),
        "effort": config.get("effort"),
    }


def as_openai(wanted: Body) -> Body:
    """Return how the other dialect has to say it where its words differ."""
    thinking = wanted.pop("thinking")
    if thinking == "disabled":
        wanted["effort"] = None
    elif isinstance(thinking, int) and wanted["effort"] is None:
        bounds = ((2048, "low"), (8192, "medium"), (thinking, "high"))
        wanted["effort"] = next(effort for bound, effort in bounds if thinking <= bound)
    wanted["tier"] = {"standard_only": "default"}.get(wanted["tier"], wanted["tier"])
    wanted["single"] = wanted["single"] and bool(wanted["tools"])
    return wanted


def wordless(body: Body) -> set[str]:
    """Return the fields at the top that OpenAI's protocol cannot say."""
    found = {
        name
        for name, values in SILENT.items()
        if body.get(name) is not None and body[name] not in values
    }
    thinking = body.get("thinking") or {}
    tests: dict[str, bool] = {
        "stop_sequences": len(body.get("stop_sequences") or []) > MOST_STOPS,
        "tools": not all(map(_tool_can_cross, body.get("tools") or [])),
        "thinking": thinking.get("display") not in {None, "summarized"},
        "messages": not all(map(_can_cross, body["messages"])),
    }
    return found | {name for name, true in tests.items() if true}


def _blocks(content: Any) -> list[Item]:
    if isinstance(content, str):
        return [("text", content)]
    return [_item(block) for block in content or []]


def _item(block: Body) -> Item:
    return _READ[block["type"]](block)


def _result(block: Body) -> Item:
    texts = [text for _, text in _blocks(block.get("content"))]
    failed = [f"Error: {texts[0] if texts else ''}", *texts[1:]]
    return ("result", block["tool_use_id"], failed if block.get("is_error") else texts)


def _media(block: Body) -> Item:
    source = block["source"]
    if source["type"] == "text":
        title = f"{block['title']}\n\n" if block.get("title") else ""
        return ("text", title + source["data"])
    kind = "image" if block["type"] == "image" else "file"
    if source["type"] == "url":
        return (kind, source["url"])
    return (kind, source["media_type"], source["data"])


_READ: dict[str, Callable[[Body], Item]] = {
    "text": lambda block: ("text", block["text"]),
    "image": _media,
    "document": _media,
    "tool_use": lambda block: ("call", block["id"], block["name"], block["input"]),
    "tool_result": _result,
    "thinking": lambda b: ("thinking", b["thinking"], b.get("signature") or None),
    "redacted_thinking": lambda block: ("redacted", block["data"]),
}


def _tool(item: Body) -> Item:
    return tool(item["name"], item.get("description"), item.get("input_schema"), item.get("strict"))


def _choice(choice: Body) -> Item:
    kind = choice.get("type", "auto")
    if kind == "tool":
        return ("named", choice["name"])
    return ({"any": "required"}.get(kind, kind),)


def _tool_can_cross(item: Body) -> bool:
    ours = item.get("type") in {None, "custom"} and not item.get("defer_loading")
    return ours and item.get("allowed_callers") in (None, ["direct"])


def _can_cross(message: Any) -> bool:
    if not isinstance(message, dict):
        return False
    content = message["content"]
    return isinstance(content, str) or all(map(_block_can_cross, content))


def _block_can_cross(block: Body) -> bool:
    source = block.get("source") or {}
    if block["type"] == "image":
        return source["type"] in {"url", "base64"}
    if block["type"] == "document":
        cited = (block.get("citations") or {}).get("enabled")
        return source["type"] in {"base64", "text"} and not cited and not block.get("context")
    if block["type"] == "tool_result" and isinstance(block.get("content"), list):
        return all(part["type"] == "text" for part in block["content"])
    if block["type"] == "thinking":
        return not block.get("signature")
    return block["type"] in PLAIN_BLOCKS and not block.get("citations")
