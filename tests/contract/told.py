"""Say what an answer says, in words of neither dialect, and how the other dialect has to say it."""

import json
from typing import Any

from tests.contract.clients import Body

# How each dialect says why an answer ended.
AS_OPENAI = {
    "end_turn": "stop", "stop_sequence": "stop", "pause_turn": "stop", "max_tokens": "length",
    "model_context_window_exceeded": "length", "tool_use": "tool_calls",
    "refusal": "content_filter",
}  # fmt: skip
AS_ANTHROPIC = {
    "stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use",
    "function_call": "tool_use", "content_filter": "refusal",
}  # fmt: skip


def told(kind: str, answer: Any) -> Body:
    """Return what an SDK's object says."""
    body: Body = answer.to_dict(mode="json", warnings=False)
    return _completion(body) if kind == "openai" else _message(body)


def across(kind: str, said: Body) -> Body:
    """Return how it is said to a caller of the other dialect than this provider's."""
    stop = said["stop"]
    if kind == "anthropic":
        return {**said, "stop": AS_OPENAI[stop]}
    # "stop" is also said of a refusal, and of a call that was forced.
    forced = "tool_calls" if said["calls"] and stop == "stop" else stop
    refused = said["refused"] and stop == "stop"
    return {**said, "refused": False, "stop": "refusal" if refused else AS_ANTHROPIC[forced]}


def _completion(body: Body) -> Body:
    choice = body["choices"][0]
    message, usage = choice["message"], body.get("usage") or {}
    signed = [_signed(block) for block in message.get("thinking_blocks") or []]
    return {
        "text": (message.get("content") or "") + (message.get("refusal") or ""),
        "refused": bool(message.get("refusal")),
        "thinking": message.get("reasoning_content") or "",
        "signed": signed,
        "calls": [
            (
                call["id"],
                call["function"]["name"],
                json.loads(call["function"]["arguments"] or "{}"),
            )
            for call in message.get("tool_calls") or []
        ],
        "stop": choice["finish_reason"],
        "usage": _usage(
            usage.get("prompt_tokens"),
            usage.get("completion_tokens"),
            (usage.get("prompt_tokens_details") or {}).get("cached_tokens"),
            (usage.get("prompt_tokens_details") or {}).get("cache_write_tokens"),
        ),
    }


def _message(body: Body) -> Body:
    blocks, usage = body["content"], body["usage"]
    read = usage.get("cache_read_input_tokens") or 0
    written = usage.get("cache_creation_input_tokens") or 0
    counted = isinstance(usage.get("input_tokens"), int)
    return {
        "text": "".join(block["text"] for block in blocks if block["type"] == "text"),
        "refused": False,
        "thinking": "".join(b["thinking"] for b in blocks if b["type"] == "thinking"),
        "signed": [
            _signed(block)
            for block in blocks
            if block["type"] == "redacted_thinking" or block.get("signature")
        ],
        "calls": [(b["id"], b["name"], b["input"]) for b in blocks if b["type"] == "tool_use"],
        "stop": body["stop_reason"],
        "usage": _usage(
            usage["input_tokens"] + read + written if counted else None,
            usage.get("output_tokens"),
            read,
            written,
        ),
    }


def _signed(block: Body) -> tuple[str, ...]:
    if "data" in block:
        return ("redacted", block["data"])
    return (block["thinking"], block["signature"])


def _usage(*counts: Any) -> tuple[int, ...] | None:
    """Return input with all of the cache, output, read, written; None where nothing is told."""
    told_at_all = all(isinstance(count, int) and count >= 0 for count in counts[:2])
    return tuple(count or 0 for count in counts) if told_at_all else None
