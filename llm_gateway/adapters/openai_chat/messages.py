"""Read the messages of a chat body into the hub's words."""

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from llm_gateway.adapters.fields import Fields, wrong
from llm_gateway.adapters.media import split_data_url
from llm_gateway.types import (
    AudioPart,
    CacheMark,
    DocumentPart,
    ImagePart,
    Message,
    Part,
    RefusalPart,
    Role,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolResultPart,
)

Extras = dict[str, Any]
_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "developer",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
}


def read_message(message: Fields, extras: Extras) -> Message:
    """Return one message; what has no word goes to `extras`."""
    role = message.required("role")
    if role not in _ROLES:
        extras[message.at("role")] = role
    name = message.text("name")
    if role == "assistant":
        parts = _assistant(message, extras)
    elif role == "tool":
        parts, name = [_tool_result(message, extras)], None  # of the tool: the call's id says it
    else:
        parts = _content(message, extras)
    message.close(extras)
    return Message(role=_ROLES.get(role, "user"), parts=tuple(parts), name=name)


def _assistant(message: Fields, extras: Extras) -> list[Part]:
    parts: list[Part] = _thinking(message, extras)
    parts += _signed(_content(message, extras), _signature(message, extras))
    refusal = message.text("refusal")
    if refusal:
        parts.append(RefusalPart(text=refusal))
    message.take("annotations")  # where an earlier answer was from: its text says the same
    return parts + [_tool_call(call, extras) for call in message.objects("tool_calls")]


def _thinking(message: Fields, extras: Extras) -> list[Part]:
    text = message.text("reasoning_content")
    blocks: list[Part] = []
    for block in message.objects("thinking_blocks"):
        block.take("type")
        block.take("index")  # its place in a streamed list
        blocks.append(
            ThinkingPart(
                text=block.text("thinking") or "",
                signature=block.text("signature"),
                redacted=block.text("data"),
            )
        )
        block.close(extras)
    return blocks or ([ThinkingPart(text=text)] if text else [])


def _signed(parts: list[Part], signature: str | None) -> list[Part]:
    """Return the content with its last text signed."""
    if signature is None:
        return parts
    last = parts[-1] if parts else None
    if isinstance(last, TextPart):
        return [*parts[:-1], replace(last, signature=signature)]
    return [*parts, TextPart(text="", signature=signature)]


def _signature(holder: Fields, extras: Extras) -> str | None:
    """Return Google's signature of a call or a message, where Google's own servers put it."""
    extra = holder.inner("extra_content")
    google = extra.inner("google") if extra else None
    signature = google.text("thought_signature") if google else None
    for fields in (extra, google):
        if fields is not None:
            fields.close(extras)
    return signature


def _tool_call(call: Fields, extras: Extras) -> ToolCallPart:
    function = call.inner("function")
    if function is None:
        raise wrong(call.at("function"), "an object")
    call.drop("type", "function")
    call.take("index")  # its place in a streamed list
    part = ToolCallPart(
        id=call.required("id"),
        name=function.required("name"),
        arguments=function.text("arguments") or "{}",
        signature=_signature(call, extras),
    )
    function.close(extras)
    call.close(extras)
    return part


def _tool_result(message: Fields, extras: Extras) -> ToolResultPart:
    parts = _content(message, extras)
    return ToolResultPart(
        call_id=message.required("tool_call_id"),
        content=tuple(part for part in parts if isinstance(part, TextPart)),
    )


def _content(message: Fields, extras: Extras) -> list[Part]:
    content = message.take("content")
    if content is None:
        return []
    if isinstance(content, str):
        return [TextPart(text=content)]
    if not isinstance(content, list):
        raise wrong(message.at("content"), "a string or a list of parts")
    parts = []
    for index, item in enumerate(content):
        field = Fields(item, f"{message.at('content')}[{index}]")
        kind = field.required("type")
        read = _READERS.get(kind)
        part = read(field, extras) if read else None
        if part is None:
            extras[field.at(kind)] = item
        else:
            field.close(extras)
            parts.append(part)
    return parts


def _cache(field: Fields) -> CacheMark | None:
    return CacheMark() if field.mapping("prompt_cache_breakpoint") else None


def _text(field: Fields, _extras: Extras) -> Part:
    return TextPart(text=field.required("text"), cache=_cache(field))


def _refusal(field: Fields, _extras: Extras) -> Part:
    return RefusalPart(text=field.required("refusal"))


def _image(field: Fields, extras: Extras) -> Part | None:
    image = field.inner("image_url")
    if image is None:
        return None
    url, detail = image.required("url"), image.text("detail")
    image.close(extras)
    inline = split_data_url(url)
    media_type, data = inline or (None, None)
    return ImagePart(
        url=None if inline else url,
        media_type=media_type,
        data=data,
        detail=None if detail == "auto" else detail,
        cache=_cache(field),
    )


def _audio(field: Fields, extras: Extras) -> Part | None:
    audio = field.inner("input_audio")
    if audio is None:
        return None
    part = AudioPart(data=audio.required("data"), format=audio.required("format"))
    audio.close(extras)
    return part


def _file(field: Fields, extras: Extras) -> Part | None:
    """Return an inline document; a file by id lives at one provider and stays an extra."""
    file = field.inner("file")
    if file is None:
        return None
    inline, name = file.text("file_data"), file.text("filename")
    split = split_data_url(inline or "")
    if inline is not None and split is None:
        raise wrong(file.at("file_data"), "a base64 data URL")
    file.close(extras)
    media_type, data = split or (None, None)
    return DocumentPart(media_type=media_type, data=data, name=name, cache=_cache(field))


_READERS: dict[str, Callable[[Fields, Extras], Part | None]] = {
    "text": _text,
    "refusal": _refusal,
    "image_url": _image,
    "input_audio": _audio,
    "file": _file,
}
