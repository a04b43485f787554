"""Read content blocks into the hub's words; what has none goes to `extras` under its path."""

from collections.abc import Callable
from typing import Any

import msgspec

from llm_gateway.adapters.fields import Fields, wrong
from llm_gateway.types import (
    CacheMark,
    DocumentPart,
    ImagePart,
    Part,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolResultPart,
)

Extras = dict[str, Any]
_MARKS = {"5m": CacheMark(ttl="5m"), "1h": CacheMark(ttl="1h")}


def read_blocks(fields: Fields, name: str, extras: Extras) -> tuple[Part, ...]:
    """Return the parts of a content field: one text, or a list of blocks."""
    content = fields.take(name)
    if content is None:
        return ()
    if isinstance(content, str):
        return (TextPart(text=content),)
    if not isinstance(content, list):
        raise wrong(fields.at(name), "a string or a list of blocks")
    parts = []
    for index, item in enumerate(content):
        block = Fields(item, f"{fields.at(name)}[{index}]")
        kind = block.required("type")
        read = _READERS.get(kind)
        part = read(block, extras) if read else None
        if part is None:
            extras[block.at(kind)] = item
        else:
            block.close(extras)
            parts.append(part)
    return tuple(parts)


def cache_mark(block: Fields) -> CacheMark | None:
    """Return the cache breakpoint of a block. Raises InvalidRequestError for an unknown time."""
    mark = block.mapping("cache_control")
    if mark is None:
        return None
    ttl = mark.get("ttl") or "5m"
    if not isinstance(ttl, str) or ttl not in _MARKS:
        raise wrong(block.at("cache_control.ttl"), "5m or 1h")
    return _MARKS[ttl]


def _text(block: Fields, extras: Extras) -> Part:
    cited = block.array("citations")
    if not all(isinstance(one, dict) and one.get("encrypted_index") == "" for one in cited):
        extras[block.at("citations")] = cited  # not ours, of an answer that crossed (`writer`)
    return TextPart(text=block.required("text"), cache=cache_mark(block))


def _image(block: Fields, extras: Extras) -> Part | None:
    source = block.inner("source")
    kind = source.text("type") if source else None
    if source is None or kind not in {"url", "base64"}:
        return None
    part = ImagePart(
        url=source.text("url"),
        media_type=source.text("media_type"),
        data=source.text("data"),
        cache=cache_mark(block),
    )
    source.close(extras)
    return part


def _document(block: Fields, extras: Extras) -> Part | None:
    source = block.inner("source")
    kind = source.text("type") if source else None
    if source is None or kind not in {"url", "base64", "text"}:
        return None
    media_type, data = source.text("media_type"), source.text("data")
    block.drop("citations", {"enabled": False})
    part = DocumentPart(
        url=source.text("url"),
        media_type=media_type,
        data=None if kind == "text" else data,
        text=data if kind == "text" else None,
        name=block.text("title"),
        cache=cache_mark(block),
    )
    source.close(extras)
    return part


def _tool_use(block: Fields, _extras: Extras) -> Part:
    block.drop("caller", {"type": "direct"})
    return ToolCallPart(
        id=block.required("id"),
        name=block.required("name"),
        arguments=msgspec.json.encode(block.mapping("input") or {}).decode(),
        cache=cache_mark(block),
    )


def _tool_result(block: Fields, extras: Extras) -> Part:
    parts = read_blocks(block, "content", extras)
    return ToolResultPart(
        call_id=block.required("tool_use_id"),
        content=tuple(
            part for part in parts if isinstance(part, TextPart | ImagePart | DocumentPart)
        ),
        is_error=bool(block.flag("is_error")),
        cache=cache_mark(block),
    )


def _thinking(block: Fields, _extras: Extras) -> Part:
    return ThinkingPart(
        text=block.text("thinking") or "", signature=block.text("signature") or None
    )


def _redacted(block: Fields, _extras: Extras) -> Part:
    return ThinkingPart(redacted=block.required("data"))


_READERS: dict[str, Callable[[Fields, Extras], Part | None]] = {
    "text": _text,
    "image": _image,
    "document": _document,
    "tool_use": _tool_use,
    "tool_result": _tool_result,
    "thinking": _thinking,
    "redacted_thinking": _redacted,
}
