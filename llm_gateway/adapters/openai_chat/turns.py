"""Write the hub's messages as chat messages."""

from collections.abc import Callable, Sequence
from typing import Any

from llm_gateway.adapters.media import data_url
from llm_gateway.adapters.openai_chat.accents import call_id, said_and_thought
from llm_gateway.adapters.refusal import unexpressible
from llm_gateway.types import (
    AudioPart,
    DocumentPart,
    ImagePart,
    Message,
    Part,
    Quirks,
    RefusalPart,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolResultPart,
)

Wire = dict[str, Any]


def render_message(message: Message, quirks: Quirks) -> list[Wire]:
    """Return the messages one becomes: each tool's result is a message of its own, and first."""
    results = [_result(part, quirks) for part in message.parts if isinstance(part, ToolResultPart)]
    rest = [part for part in message.parts if not isinstance(part, ToolResultPart)]
    if not rest and results:
        return results
    role: str = message.role
    if role == "developer" and not quirks.developer_role:
        role = "system"
    written = _assistant(rest, quirks) if role == "assistant" else {"content": _content(rest)}
    name = {} if message.name is None else {"name": message.name}
    return [*results, {"role": role, **name, **written}]


def _assistant(parts: Sequence[Part], quirks: Quirks) -> Wire:
    said: list[Part] = [part for part in parts if isinstance(part, TextPart)]
    calls = [_tool_call(part, quirks) for part in parts if isinstance(part, ToolCallPart)]
    refusals = [part.text for part in parts if isinstance(part, RefusalPart)]
    thoughts = [part for part in parts if isinstance(part, ThinkingPart)]
    known = len(said) + len(calls) + len(refusals) + len(thoughts)
    if known < len(parts):
        raise unexpressible("messages[].content", "an assistant's turn holds text and tool calls")
    written = said_and_thought(_content(said) if said else None, thoughts, quirks)
    if refusals:
        written["refusal"] = "".join(refusals)
    if calls:
        written["tool_calls"] = calls
    return written


def _tool_call(part: ToolCallPart, quirks: Quirks) -> Wire:
    function = {"name": part.name, "arguments": part.arguments}
    return {"id": call_id(part.id, quirks), "type": "function", "function": function}


def _result(part: ToolResultPart, quirks: Quirks) -> Wire:
    texts = []
    for leaf in part.content:
        if not isinstance(leaf, TextPart):
            raise unexpressible("messages[].content[].content", "a tool's result can only be text")
        texts.append(leaf)
    if part.is_error:
        texts = [TextPart(text=f"Error: {texts[0].text if texts else ''}"), *texts[1:]]
    called = call_id(part.call_id, quirks)
    return {"role": "tool", "tool_call_id": called, "content": _content(texts)}


def _content(parts: Sequence[Part]) -> str | list[Wire]:
    """Return plain text as a string: the shape that every server understands."""
    if not parts:
        return ""
    if len(parts) == 1 and isinstance(parts[0], TextPart):
        return parts[0].text
    return [_WRITERS[type(part)](part) for part in parts]


def _text(part: TextPart) -> Wire:
    return {"type": "text", "text": part.text}


def _image(part: ImagePart) -> Wire:
    url = part.url if part.data is None else data_url(part.media_type or "", part.data)
    detail = {} if part.detail is None else {"detail": part.detail}
    return {"type": "image_url", "image_url": {"url": url, **detail}}


def _document(part: DocumentPart) -> Wire:
    if part.text is not None:
        return {"type": "text", "text": f"{part.name}\n\n{part.text}" if part.name else part.text}
    if part.data is None or part.media_type is None:
        raise unexpressible("messages[].content[].file.file_url", "a document is sent inline")
    file = {
        "filename": part.name or "document.pdf",
        "file_data": data_url(part.media_type, part.data),
    }
    return {"type": "file", "file": file}


def _audio(part: AudioPart) -> Wire:
    return {"type": "input_audio", "input_audio": {"data": part.data, "format": part.format}}


def _refusal(part: RefusalPart) -> Wire:
    return {"type": "refusal", "refusal": part.text}


_WRITERS: dict[type, Callable[..., Wire]] = {
    TextPart: _text,
    ImagePart: _image,
    DocumentPart: _document,
    AudioPart: _audio,
    RefusalPart: _refusal,
}
