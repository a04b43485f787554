"""Write the hub's messages as turns of user and assistant, and as the system prompt."""

import base64
import hashlib
import re
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from llm_gateway.adapters.refusal import unexpressible
from llm_gateway.errors import InvalidRequestError
from llm_gateway.types import (
    AudioPart,
    CacheMark,
    DocumentPart,
    ImagePart,
    Message,
    Part,
    RefusalPart,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolResultPart,
)

Wire = dict[str, Any]
_SYSTEM = {"system", "developer"}
_NOT_IN_IDS = re.compile(r"[^a-zA-Z0-9_.:-]")
_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9()\[\]-]+")
_LONGEST_ID, _LONGEST_NAME = 64, 200
_IMAGES = {"image/png": "png", "image/jpeg": "jpeg", "image/gif": "gif", "image/webp": "webp"}
_DOCUMENTS = {
    "application/pdf": "pdf",
    "application/msword": "doc",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "text/csv": "csv",
    "text/html": "html",
    "text/plain": "txt",
    "text/markdown": "md",
}


def system_blocks(messages: Iterable[Message]) -> list[Wire]:
    parts = (part for message in messages if message.role in _SYSTEM for part in message.parts)
    return _blocks(parts)


def render_turns(messages: Iterable[Message]) -> list[Wire]:
    """Return the turns that are no system prompt; neighbours of one role become one."""
    turns: list[Wire] = []
    for message in messages:
        if message.role in _SYSTEM:
            continue
        if message.name is not None:
            raise unexpressible("messages[].name")
        role = "assistant" if message.role == "assistant" else "user"
        blocks = _blocks(message.parts)
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        else:
            turns.append({"role": role, "content": blocks})
    return turns


def cache_point(mark: CacheMark | None) -> list[Wire]:
    """Return the block that a cache mark becomes, if there is one."""
    if mark is None:
        return []
    ttl = {} if mark.ttl == "5m" else {"ttl": mark.ttl}
    return [{"cachePoint": {"type": "default", **ttl}}]


def _blocks(parts: Iterable[Part]) -> list[Wire]:
    """Return the blocks; a text without a letter is left out, the protocol refuses it."""
    written = []
    for part in parts:
        if isinstance(part, TextPart) and not part.text:
            continue
        written += [_WRITERS[type(part)](part), *cache_point(getattr(part, "cache", None))]
    return written


def _text(part: TextPart | RefusalPart) -> Wire:
    return {"text": part.text}


def _image(part: ImagePart) -> Wire:
    if part.detail is not None:
        raise unexpressible("messages[].content[].image_url.detail")
    if part.data is None:
        raise unexpressible("messages[].content[].image_url.url", "an image is sent inline")
    if part.media_type not in _IMAGES:
        raise unexpressible(
            "messages[].content[].image_url", f"it takes no images of type '{part.media_type}'"
        )
    return {"image": {"format": _IMAGES[part.media_type], "source": {"bytes": part.data}}}


def _document(part: DocumentPart) -> Wire:
    media_type, data = part.media_type, part.data
    if part.text is not None:
        media_type, data = "text/plain", base64.b64encode(part.text.encode()).decode()
    if data is None:
        raise unexpressible("messages[].content[].file.file_url", "a document is sent inline")
    if media_type not in _DOCUMENTS:
        raise unexpressible(
            "messages[].content[].file", f"it takes no documents of type '{media_type}'"
        )
    named = _NOT_IN_NAMES.sub(" ", part.name or "").strip()[:_LONGEST_NAME]
    return {
        "document": {
            "format": _DOCUMENTS[media_type],
            "name": named or "document",
            "source": {"bytes": data},
        }
    }


def _audio(part: AudioPart) -> Wire:
    return {"audio": {"format": part.format, "source": {"bytes": part.data}}}


def _tool_use(part: ToolCallPart) -> Wire:
    param = "messages[].tool_calls[].function.arguments"
    try:
        arguments = msgspec.json.decode(part.arguments or "{}")
    except ValueError:
        arguments = None
    if not isinstance(arguments, dict):
        raise InvalidRequestError(f"'{param}' must be the text of a JSON object.", param=param)
    return {"toolUse": {"toolUseId": _id(part.id), "name": part.name, "input": arguments}}


def _tool_result(part: ToolResultPart) -> Wire:
    content = [_WRITERS[type(leaf)](leaf) for leaf in part.content] or [{"text": ""}]
    failed = {"status": "error"} if part.is_error else {}
    return {"toolResult": {"toolUseId": _id(part.call_id), "content": content, **failed}}


def _thinking(part: ThinkingPart) -> Wire:
    if part.redacted is not None:
        return {"reasoningContent": {"redactedContent": part.redacted}}
    signed = {} if part.signature is None else {"signature": part.signature}
    return {"reasoningContent": {"reasoningText": {"text": part.text, **signed}}}


def _id(text: str) -> str:
    if len(text) > _LONGEST_ID:
        return hashlib.sha256(text.encode()).hexdigest()
    fitting = _NOT_IN_IDS.sub(lambda match: f"_{ord(match[0]):x}", text)
    return fitting if len(fitting) <= _LONGEST_ID else hashlib.sha256(text.encode()).hexdigest()


_WRITERS: dict[type, Callable[..., Wire]] = {
    TextPart: _text,
    RefusalPart: _text,
    ImagePart: _image,
    DocumentPart: _document,
    AudioPart: _audio,
    ToolCallPart: _tool_use,
    ToolResultPart: _tool_result,
    ThinkingPart: _thinking,
}
