"""Read what steers the gateway out of a messages body, and send the body on in its own dialect."""

from typing import Any

from llm_gateway.adapters.base import Changes
from llm_gateway.adapters.steering import refuse_steering
from llm_gateway.adapters.steering_fields import (
    Media,
    flag,
    inline_size,
    media_in,
    message_list,
    model_name,
    object_list,
    optional_object,
    outgoing,
    positive,
    wrong,
)
from llm_gateway.types import Call, Outgoing, Quirks

PATH = "/v1/messages"
PATHS = {"chat": PATH, "count_tokens": f"{PATH}/count_tokens"}
VERSION = ("anthropic-version", "2023-06-01")
KNOWN = frozenset({
    "cache_control", "container", "context_management", "inference_geo", "max_tokens",
    "mcp_servers", "messages", "metadata", "model", "output_config", "output_format",
    "service_tier", "speed", "stop_sequences", "stream", "system", "temperature", "thinking",
    "tool_choice", "tools", "top_k", "top_p",
})  # fmt: skip


def parse_call(body: dict[str, Any], *, size: int, operation: str = "chat") -> Call:
    """Return what steers the gateway; `operation` is chat or count_tokens.

    Raises InvalidRequestError naming the field.
    """
    refuse_steering(body, KNOWN)
    messages = message_list(body)
    tools = object_list(body, "tools")
    media = media_in(messages, _read_media)
    stream = flag(body, "stream") and operation == "chat"
    return Call(
        dialect="anthropic_messages",
        operation=operation,
        model=model_name(body),
        body=body,
        size=size,
        stream=stream,
        max_output_tokens=positive(body, "max_tokens"),
        wants_usage=True,  # the protocol always tells it
        end_user=_end_user(body),
        needs=_needs(body, stream=stream, tools=bool(tools), images=bool(media.images)),
        items=len(messages) + len(tools),
        images=media.images + media.documents,
        media_bytes=media.inline_bytes,
    )


def render_relay(call: Call, changes: Changes, quirks: Quirks) -> Outgoing:
    """Return the caller's own body with `changes`, re-serialised; `call.body` is left alone."""
    body = {**call.body, "model": changes.upstream_name}
    if changes.max_output_tokens is not None and call.operation == "chat":
        body["max_tokens"] = changes.max_output_tokens
    return outgoing(PATHS[call.operation], body, headers(quirks), stream=call.stream)


def headers(quirks: Quirks) -> tuple[tuple[str, str], ...]:
    """Return the headers every request has; a row may name another version."""
    given = quirks.default_headers
    return given if any(name == VERSION[0] for name, _ in given) else (VERSION, *given)


def _end_user(body: dict[str, Any]) -> str | None:
    user = optional_object(body, "metadata").get("user_id")
    if user is not None and not isinstance(user, str):
        raise wrong("metadata.user_id", "a string")
    return user or None


def _needs(body: dict[str, Any], *, stream: bool, tools: bool, images: bool) -> frozenset[str]:
    stops = body.get("stop_sequences")
    if stops is not None and not isinstance(stops, list):
        raise wrong("stop_sequences", "a list of strings")
    output = optional_object(body, "output_config")
    asked = {
        "stream": stream,
        "tools": tools,
        "vision": images,
        "json_schema": bool(output.get("format") or body.get("output_format")),
        "reasoning": optional_object(body, "thinking").get("type") in {"enabled", "adaptive"},
    }
    return frozenset({"chat", *(need for need, wanted in asked.items() if wanted)})


def _read_media(part: dict[str, Any], media: Media) -> None:
    kind, content = part.get("type"), part.get("content")
    media.images += kind == "image"
    media.documents += kind == "document"
    if kind in {"image", "document"}:
        source = part.get("source")
        is_text = isinstance(source, dict) and source.get("type") == "text"
        media.inline_bytes += 0 if is_text else inline_size(source, "data")
    for inner in content if kind == "tool_result" and isinstance(content, list) else ():
        if isinstance(inner, dict):
            _read_media(inner, media)
