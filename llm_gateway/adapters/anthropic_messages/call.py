"""Read what steers the gateway out of a messages body, and send the body on in its own dialect."""

from typing import Any

from llm_gateway.adapters.base import Changes
from llm_gateway.adapters.counting import text_or_none
from llm_gateway.adapters.server_tools import MOST_ROUNDS, server_tools
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
    own = server_tools(tools)
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
        images=media.images,
        documents=media.documents,
        media_bytes=media.inline_bytes,
        searches=own.calls,
        units=own.units | _long_cache(body, tools, media),
        unsized=_elsewhere(body) or media.unsized or own.unsized,
        rounds=MOST_ROUNDS if body.get("mcp_servers") else own.rounds,
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
    output, thinking = optional_object(body, "output_config"), optional_object(body, "thinking")
    asked = {
        "stream": stream,
        "tools": tools,
        "vision": images,
        "json_schema": bool(output.get("format") or body.get("output_format")),
        "reasoning": text_or_none(thinking.get("type")) in {"enabled", "adaptive"},
    }
    return frozenset({"chat", *(need for need, wanted in asked.items() if wanted)})


def _elsewhere(body: dict[str, Any]) -> str:
    """Return the first field that brings input which stands elsewhere."""
    return next((name for name in ("container", "mcp_servers") if body.get(name)), "")


def _long_cache(body: dict[str, Any], tools: list[dict[str, Any]], media: Media) -> frozenset[str]:
    system = body.get("system")
    marked = (body, *tools, *(system if isinstance(system, list) else ()))
    lasting = media.lasting or any(map(_is_lasting, marked))
    return frozenset({"cache_write_1h_token"}) if lasting else frozenset()


def _is_lasting(block: object) -> bool:
    mark = block.get("cache_control") if isinstance(block, dict) else None
    return isinstance(mark, dict) and mark.get("ttl") == "1h"


def _read_media(part: dict[str, Any], media: Media) -> None:
    """Count a block that is no text; what tools found may hold some as well."""
    kind, content = text_or_none(part.get("type")), part.get("content")
    media.lasting = media.lasting or _is_lasting(part)
    if kind in {"image", "document"}:
        _read_source(part, media)
    elif kind == "container_upload":
        media.unsized = media.unsized or "container_upload"
    for inner in content if isinstance(content, list) else (content,):
        if isinstance(inner, dict):
            _read_media(inner, media)


def _read_source(part: dict[str, Any], media: Media) -> None:
    source = part.get("source")
    kind = text_or_none(source.get("type")) if isinstance(source, dict) else None
    media.images += part["type"] == "image"
    media.documents += part["type"] == "document" and kind not in {"text", "content"}
    if kind == "base64":
        media.inline_bytes += inline_size(source, "data")
    elif kind == "content" and isinstance(source, dict):
        _read_media({"content": source.get("content")}, media)
