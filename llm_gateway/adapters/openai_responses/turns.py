"""Write the hub's messages as items of an input."""

from collections.abc import Callable, Sequence
from typing import Any

from llm_gateway.adapters.media import data_url
from llm_gateway.adapters.openai_responses.signatures import unfold
from llm_gateway.adapters.refusal import unexpressible
from llm_gateway.types import (
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
_FOREIGN = "thinking goes back only to its author, and with its author's signature"


def render_message(message: Message, quirks: Quirks) -> list[Wire]:
    """Return the items one message becomes: each result of a tool is one, and comes first."""
    if message.name is not None:
        raise unexpressible("messages[].name")
    results = [_result(part) for part in message.parts if isinstance(part, ToolResultPart)]
    rest = [part for part in message.parts if not isinstance(part, ToolResultPart)]
    if message.role == "assistant":
        return [*results, *(_said(part) for part in rest if part != TextPart(text=""))]
    if not rest and results:
        return results
    role: str = message.role
    if role == "developer" and not quirks.developer_role:
        role = "system"
    return [*results, {"role": role, "content": _content(rest)}]


def _said(part: Part) -> Wire:
    """Return what the model said, thought or called as an item of its own."""
    match part:
        case TextPart(text=text) | RefusalPart(text=text):
            return {"role": "assistant", "content": text}
        case ToolCallPart():
            return {
                "type": "function_call",
                "call_id": part.id,
                "name": part.name,
                "arguments": part.arguments,
            }
        case ThinkingPart():
            return _thought(part)
        case _:
            why = "an assistant's turn holds text and tool calls"
            raise unexpressible("messages[].content", why)


def _thought(part: ThinkingPart) -> Wire:
    item = unfold(part.text, part.signature or "") if part.redacted is None else None
    if item is None:
        raise unexpressible("messages[].reasoning_content", _FOREIGN)
    return item


def _result(part: ToolResultPart) -> Wire:
    content = part.content
    if part.is_error:
        first = content[0] if content else None
        text = first.text if isinstance(first, TextPart) else ""
        rest = content[1:] if isinstance(first, TextPart) else content
        content = (TextPart(text=f"Error: {text}"), *rest)
    return {"type": "function_call_output", "call_id": part.call_id, "output": _content(content)}


def _content(parts: Sequence[Part]) -> str | list[Wire]:
    if not parts:
        return ""
    if len(parts) == 1 and isinstance(parts[0], TextPart):
        return parts[0].text
    return [_part(part) for part in parts]


def _part(part: Part) -> Wire:
    write = _WRITERS.get(type(part))
    if write is None:
        raise unexpressible("messages[].content[].input_audio")
    return write(part)


def _text(part: TextPart | RefusalPart) -> Wire:
    return {"type": "input_text", "text": part.text}


def _image(part: ImagePart) -> Wire:
    url = part.url if part.data is None else data_url(part.media_type or "", part.data)
    return {"type": "input_image", "image_url": url, "detail": part.detail or "auto"}


def _document(part: DocumentPart) -> Wire:
    if part.text is not None:
        text = f"{part.name}\n\n{part.text}" if part.name else part.text
        return {"type": "input_text", "text": text}
    if part.url is not None:
        return {"type": "input_file", "file_url": part.url}
    if part.data is None or part.media_type is None:
        raise unexpressible("messages[].content[].file", "it has no content")
    return {
        "type": "input_file",
        "filename": part.name or "document.pdf",
        "file_data": data_url(part.media_type, part.data),
    }


_WRITERS: dict[type, Callable[..., Wire]] = {
    TextPart: _text,
    RefusalPart: _text,
    ImagePart: _image,
    DocumentPart: _document,
}
