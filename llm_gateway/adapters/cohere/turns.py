"""Write the hub's messages as Cohere's."""

from collections.abc import Callable, Sequence
from typing import Any

from llm_gateway.adapters.media import data_url
from llm_gateway.adapters.refusal import file_of, unexpressible
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


def render_message(message: Message) -> list[Wire]:
    """Return the messages one becomes: each tool's result is a message of its own, and first."""
    if message.name is not None:
        raise unexpressible("messages[].name")
    results = [_result(part) for part in message.parts if isinstance(part, ToolResultPart)]
    rest = [part for part in message.parts if not isinstance(part, ToolResultPart)]
    if not rest and results:
        return results
    if message.role == "assistant":
        return [*results, {"role": "assistant", **_assistant(rest)}]
    role = "system" if message.role == "developer" else message.role
    return [*results, {"role": role, "content": _content(rest)}]


def _assistant(parts: Sequence[Part]) -> Wire:
    calls = [_tool_call(part) for part in parts if isinstance(part, ToolCallPart)]
    said = [part for part in parts if not isinstance(part, ToolCallPart)]
    if not calls:
        return {"content": _content(said)}
    plan = "".join(_thought(part) for part in said if isinstance(part, ThinkingPart))
    spoken = [part for part in said if not isinstance(part, ThinkingPart)]
    return {
        "tool_calls": calls,
        **({"tool_plan": plan} if plan else {}),
        **({"content": _content(spoken)} if spoken else {}),
    }


def _content(parts: Sequence[Part]) -> str | list[Wire]:
    """Return plain text as a string, else parts."""
    if not parts:
        return ""
    only = parts[0] if len(parts) == 1 else None
    if isinstance(only, TextPart):
        return only.text
    return [_WRITERS[type(part)](part) for part in parts]


def _tool_call(part: ToolCallPart) -> Wire:
    function = {"name": part.name, "arguments": part.arguments}
    return {"id": part.id, "type": "function", "function": function}


def _result(part: ToolResultPart) -> Wire:
    texts = []
    for leaf in part.content:
        if not isinstance(leaf, TextPart):
            raise unexpressible("messages[].content", "a tool's result can only be text")
        texts.append(leaf.text)
    if part.is_error:
        texts[:1] = [f"Error: {texts[0] if texts else ''}"]
    content = [{"type": "text", "text": text} for text in texts]
    return {
        "role": "tool",
        "tool_call_id": part.call_id,
        "content": content if len(texts) > 1 else "".join(texts),
    }


def _text(part: TextPart | RefusalPart) -> Wire:
    return {"type": "text", "text": part.text}


def _image(part: ImagePart) -> Wire:
    url = part.url if part.data is None else data_url(part.media_type or "", part.data)
    detail = {} if part.detail is None else {"detail": part.detail}
    return {"type": "image_url", "image_url": {"url": url, **detail}}


def _document(part: DocumentPart) -> Wire:
    if part.text is None:
        raise unexpressible(file_of(part), "a document is sent as text")
    return {"type": "text", "text": f"{part.name}\n\n{part.text}" if part.name else part.text}


def _thinking(part: ThinkingPart) -> Wire:
    return {"type": "thinking", "thinking": _thought(part)}


def _thought(part: ThinkingPart) -> str:
    if part.signature or part.redacted:
        raise unexpressible("messages[].reasoning_content", "signed thinking is its author's only")
    return part.text


def _audio(_part: AudioPart) -> Wire:
    raise unexpressible("messages[].content[].input_audio")


_WRITERS: dict[type, Callable[..., Wire]] = {
    TextPart: _text,
    RefusalPart: _text,
    ImagePart: _image,
    DocumentPart: _document,
    ThinkingPart: _thinking,
    AudioPart: _audio,
}
