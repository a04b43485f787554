"""Write the hub's messages as turns of user and assistant, and as the system prompt.

Results of tools stand together in one user turn, before what the user says next: the protocol wants
all results of a turn's calls at once.
"""

import re
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from llm_gateway.adapters.refusal import unexpressible
from llm_gateway.errors import InvalidRequestError
from llm_gateway.types import (
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
_NOT_IN_IDS = re.compile(r"[^a-zA-Z0-9_-]")
_PDF = "application/pdf"


def system_blocks(messages: Iterable[Message]) -> str | list[Wire]:
    """Return the system prompt: one plain text as a string, else blocks."""
    parts = [part for message in messages if message.role in _SYSTEM for part in message.parts]
    blocks = _blocks(parts)
    plain = len(blocks) == 1 and set(blocks[0]) == {"type", "text"}
    return blocks[0]["text"] if plain else blocks


def render_turns(messages: Iterable[Message]) -> list[Wire]:
    """Return the turns that are no system prompt."""
    turns: list[Wire] = []
    results_open = False
    for message in messages:
        if message.role in _SYSTEM:
            continue
        if message.name is not None:
            raise unexpressible("messages[].name")
        role = "assistant" if message.role == "assistant" else "user"
        if results_open and role == "user":
            turns[-1]["content"] += _blocks(message.parts)
        else:
            turns.append({"role": role, "content": _content(message)})
        results_open = message.role == "tool"
    return turns


def cached(block: Wire, mark: CacheMark | None) -> Wire:
    """Return the block with its cache breakpoint."""
    if mark is None:
        return block
    ttl = {} if mark.ttl == "5m" else {"ttl": mark.ttl}
    return {**block, "cache_control": {"type": "ephemeral", **ttl}}


def _content(message: Message) -> str | list[Wire]:
    only = message.parts[0] if len(message.parts) == 1 else None
    if isinstance(only, TextPart) and only.cache is None:
        return only.text
    return _blocks(message.parts)


def _blocks(parts: Iterable[Part]) -> list[Wire]:
    """Return the blocks; a text without a letter is left out, the protocol refuses it."""
    written = []
    for part in parts:
        if isinstance(part, TextPart) and not part.text:
            continue
        write = _WRITERS.get(type(part))
        if write is None:
            raise unexpressible("messages[].content[].input_audio")
        written.append(cached(write(part), getattr(part, "cache", None)))
    return written


def _text(part: TextPart | RefusalPart) -> Wire:
    return {"type": "text", "text": part.text}


def _image(part: ImagePart) -> Wire:
    if part.detail is not None:
        raise unexpressible("messages[].content[].image_url.detail")
    return {"type": "image", "source": _source(part)}


def _source(part: ImagePart | DocumentPart) -> Wire:
    if part.data is None:
        return {"type": "url", "url": part.url}
    return {"type": "base64", "media_type": part.media_type, "data": part.data}


def _document(part: DocumentPart) -> Wire:
    if part.text is not None:
        source = {"type": "text", "media_type": "text/plain", "data": part.text}
    elif part.data is not None and part.media_type != _PDF:
        raise unexpressible("messages[].content[].file", "inline documents are PDF")
    elif part.data is None and part.url is None:
        raise unexpressible("messages[].content[].file", "it has no content")
    else:
        source = _source(part)
    title = {} if part.name is None else {"title": part.name}
    return {"type": "document", "source": source, **title}


def _tool_use(part: ToolCallPart) -> Wire:
    param = "messages[].tool_calls[].function.arguments"
    try:
        arguments = msgspec.json.decode(part.arguments or "{}")
    except ValueError:
        arguments = None
    if not isinstance(arguments, dict):
        raise InvalidRequestError(f"'{param}' must be the text of a JSON object.", param=param)
    return {"type": "tool_use", "id": _id(part.id), "name": part.name, "input": arguments}


def _tool_result(part: ToolResultPart) -> Wire:
    only = part.content[0] if len(part.content) == 1 else None
    plain = isinstance(only, TextPart) and only.cache is None
    content = only.text if isinstance(only, TextPart) and plain else _blocks(part.content)
    failed = {"is_error": True} if part.is_error else {}
    return {"type": "tool_result", "tool_use_id": _id(part.call_id), "content": content, **failed}


def _thinking(part: ThinkingPart) -> Wire:
    if part.redacted is not None:
        return {"type": "redacted_thinking", "data": part.redacted}
    if part.signature is None or ":" in part.signature:  # none of its own has a colon
        why = "thinking goes back only when signed, and to who signed it"
        raise unexpressible("messages[].reasoning_content", why)
    return {"type": "thinking", "thinking": part.text, "signature": part.signature}


def _id(text: str) -> str:
    return _NOT_IN_IDS.sub(lambda match: f"_{ord(match[0]):x}", text)


_WRITERS: dict[type, Callable[..., Wire]] = {
    TextPart: _text,
    RefusalPart: _text,
    ImagePart: _image,
    DocumentPart: _document,
    ToolCallPart: _tool_use,
    ToolResultPart: _tool_result,
    ThinkingPart: _thinking,
}
