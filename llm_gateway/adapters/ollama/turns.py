"""Write the hub's messages as Ollama's: one text each, with images and calls beside it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from llm_gateway.adapters.refusal import file_of, unexpressible
from llm_gateway.errors import InvalidRequestError
from llm_gateway.types import (
    AudioPart,
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


def render_messages(messages: Sequence[Message]) -> list[Wire]:
    """Return the messages; a tool's result is one of its own and names the tool."""
    called = {
        part.id: part.name
        for message in messages
        for part in message.parts
        if isinstance(part, ToolCallPart)
    }
    return [one for message in messages for one in _message(message, called)]


def _message(message: Message, called: Mapping[str, str]) -> list[Wire]:
    if message.name is not None:
        raise unexpressible("messages[].name")
    results = [_result(part, called) for part in message.parts if isinstance(part, ToolResultPart)]
    rest = [part for part in message.parts if not isinstance(part, ToolResultPart)]
    if not rest and results:
        return results
    role = "system" if message.role == "developer" else message.role
    calls = [_call(number, part) for number, part in _numbered(rest)]
    thoughts = [_thought(part) for part in rest if isinstance(part, ThinkingPart)]
    said = {"role": role, **_content(rest)}
    if thoughts:
        said["thinking"] = "".join(thoughts)
    if calls:
        said["tool_calls"] = calls
    return [*results, said]


def _content(parts: Iterable[Part]) -> Wire:
    texts, images = [], []
    for part in parts:
        if isinstance(part, ImagePart):
            images.append(_image(part))
        elif not isinstance(part, ThinkingPart | ToolCallPart):
            texts.append(_TEXTS[type(part)](part))
    return {"content": "\n".join(texts), **({"images": images} if images else {})}


def _numbered(parts: Iterable[Part]) -> Iterable[tuple[int, ToolCallPart]]:
    return enumerate(part for part in parts if isinstance(part, ToolCallPart))


def _call(number: int, part: ToolCallPart) -> Wire:
    param = "messages[].tool_calls[].function.arguments"
    try:
        arguments = msgspec.json.decode(part.arguments or "{}")
    except ValueError:
        arguments = None
    if not isinstance(arguments, dict):
        raise InvalidRequestError(f"'{param}' must be the text of a JSON object.", param=param)
    function = {"index": number, "name": part.name, "arguments": arguments}
    return {"id": part.id, "function": function}


def _result(part: ToolResultPart, called: Mapping[str, str]) -> Wire:
    content = _content(part.content)
    if part.is_error:
        content["content"] = f"Error: {content['content']}"
    named = {"tool_name": called[part.call_id]} if part.call_id in called else {}
    return {"role": "tool", "tool_call_id": part.call_id, **named, **content}


def _text(part: TextPart | RefusalPart) -> str:
    return part.text


def _document(part: DocumentPart) -> str:
    if part.text is None:
        raise unexpressible(file_of(part), "a document is sent as text")
    return f"{part.name}\n\n{part.text}" if part.name else part.text


def _image(part: ImagePart) -> str:
    if part.detail is not None:
        raise unexpressible("messages[].content[].image_url.detail")
    if part.data is None:
        raise unexpressible("messages[].content[].image_url.url", "an image is sent inline")
    return part.data


def _thought(part: ThinkingPart) -> str:
    if part.signature or part.redacted:
        raise unexpressible("messages[].reasoning_content", "signed thinking is its author's only")
    return part.text


def _audio(_part: AudioPart) -> str:
    raise unexpressible("messages[].content[].input_audio")


_TEXTS: dict[type, Callable[..., str]] = {
    TextPart: _text,
    RefusalPart: _text,
    DocumentPart: _document,
    AudioPart: _audio,
}
