"""Write the hub's messages as contents, and as the system instruction.

Results of functions stand together in a content of their own, right behind the calls they answer.
A signature of Google's goes back to the part it came with: a call's own, else it stood before the
call as thinking without a text, where other dialects have no other place for it.
"""

import mimetypes
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from urllib.parse import urlsplit

import msgspec

from llm_gateway.adapters.gemini.contents import ERROR, OUTPUT
from llm_gateway.adapters.gemini.signatures import UNSIGNED
from llm_gateway.adapters.refusal import unexpressible
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
SYSTEM = {"system", "developer"}
_RESOLUTIONS = {"low": "MEDIA_RESOLUTION_LOW", "high": "MEDIA_RESOLUTION_HIGH"}


def system_parts(messages: Iterable[Message]) -> list[Wire]:
    """Return the system instruction, in its order, wherever its pieces stood."""
    parts = [part for message in messages if message.role in SYSTEM for part in message.parts]
    for part in parts:
        if not isinstance(part, TextPart):
            raise unexpressible("messages[].content", "a system instruction is text")
    return _written(_filled(parts))


def render_contents(messages: Sequence[Message]) -> list[Wire]:
    """Return the contents that are no system instruction."""
    names = _names(messages)
    contents: list[Wire] = []
    for message in messages:
        if message.role in SYSTEM:
            continue
        if message.name is not None:
            raise unexpressible("messages[].name")
        results = [part for part in message.parts if isinstance(part, ToolResultPart)]
        rest = [part for part in message.parts if not isinstance(part, ToolResultPart)]
        if results:
            _answer(contents, [_result(part, names) for part in results])
        is_model = message.role == "assistant"
        written = _said(rest) if is_model else _written(_filled(rest))
        if written:
            contents.append({"role": "model" if is_model else "user", "parts": written})
    return contents


def _answer(contents: list[Wire], results: list[Wire]) -> None:
    """Put results to those before them: all calls of a turn are answered at once."""
    last = contents[-1]["parts"][-1] if contents else {}
    if "functionResponse" in last:
        contents[-1]["parts"] += results
    else:
        contents.append({"role": "user", "parts": results})


def _said(parts: Sequence[Part]) -> list[Wire]:
    """Return what the model said; the first call of a turn is the one that has to be signed."""
    written: list[Wire] = []
    pending: str | None = None
    for part, following in zip(parts, [*parts[1:], None], strict=False):  # a turn may be empty
        if isinstance(part, ThinkingPart):
            pending = part.signature if _is_unsigned_call(following) else None
            written += _thought(part, signed=pending is None)
        elif isinstance(part, ToolCallPart):
            written.append(_call(part, part.signature or pending))
            pending = None
        elif not isinstance(part, TextPart) or part.text or part.signature:
            written += _written([part])
    calls = [one for one in written if "functionCall" in one]
    if calls:
        calls[0].setdefault("thoughtSignature", UNSIGNED)
    return written


def _is_unsigned_call(part: Part | None) -> bool:
    return isinstance(part, ToolCallPart) and part.signature is None


def _thought(part: ThinkingPart, *, signed: bool) -> list[Wire]:
    if part.redacted is not None:
        raise unexpressible(
            "messages[].reasoning_content", "redacted thinking is its author's only"
        )
    written: Wire = {"text": part.text, "thought": True} if part.text else {"text": ""}
    if signed and part.signature is not None:
        written["thoughtSignature"] = part.signature
    return [written] if part.text or "thoughtSignature" in written else []


def _call(part: ToolCallPart, signature: str | None) -> Wire:
    param = "messages[].tool_calls[].function.arguments"
    try:
        arguments = msgspec.json.decode(part.arguments or "{}")
    except ValueError:
        arguments = None
    if not isinstance(arguments, dict):
        raise InvalidRequestError(f"'{param}' must be the text of a JSON object.", param=param)
    signed = {} if signature is None else {"thoughtSignature": signature}
    return {"functionCall": {"id": part.id, "name": part.name, "args": arguments}, **signed}


def _names(messages: Iterable[Message]) -> dict[str, str]:
    """Return the function that each call's id calls: its answer has to name it."""
    return {
        part.id: part.name
        for message in messages
        for part in message.parts
        if isinstance(part, ToolCallPart)
    }


def _result(part: ToolResultPart, names: dict[str, str]) -> Wire:
    name = names.get(part.call_id)
    if name is None:
        raise unexpressible("messages[].tool_call_id", "no call of this id names the function")
    texts = [leaf.text for leaf in part.content if isinstance(leaf, TextPart)]
    media = [_shown(leaf) for leaf in part.content if not isinstance(leaf, TextPart)]
    key = ERROR if part.is_error else OUTPUT
    answer = {key: texts[0] if len(texts) == 1 else texts or ""}
    shown = {"parts": media} if media else {}
    response = {"id": part.call_id, "name": name, "response": answer, **shown}
    return {"functionResponse": response}


def _shown(leaf: ImagePart | DocumentPart) -> Wire:
    if leaf.data is None:
        raise unexpressible("messages[].content[].content", "what a tool shows is sent inline")
    return {"inlineData": {"mimeType": leaf.media_type, "data": leaf.data}}


def _filled(parts: Sequence[Part]) -> list[Part]:
    """Return the parts without texts that say nothing, unless there is nothing else."""
    filled = [part for part in parts if not isinstance(part, TextPart) or part.text]
    return filled or list(parts[:1])


def _written(parts: Iterable[Part]) -> list[Wire]:
    written = []
    for part in parts:
        write = _WRITERS.get(type(part))
        if write is None:
            raise unexpressible("messages[].content", f"no {type(part).__name__} can stand there")
        if isinstance(part, DocumentPart) and part.text is None and part.name is not None:
            written.append({"text": part.name})  # the protocol has no other place for it
        written.append(write(part))
    return written


def _text(part: TextPart) -> Wire:
    signed = {} if part.signature is None else {"thoughtSignature": part.signature}
    return {"text": part.text, **signed}


def _refusal(part: RefusalPart) -> Wire:
    return {"text": part.text}


def _image(part: ImagePart) -> Wire:
    if part.detail not in {None, *_RESOLUTIONS}:
        raise unexpressible("messages[].content[].image_url.detail")
    detail = {"mediaResolution": {"level": _RESOLUTIONS[part.detail]}} if part.detail else {}
    return {**_media(part), **detail}


def _document(part: DocumentPart) -> Wire:
    if part.text is not None:
        return {"text": f"{part.name}\n\n{part.text}" if part.name else part.text}
    if part.data is None and part.url is None:
        raise unexpressible("messages[].content[].file", "it has no content")
    return _media(part)


def _audio(part: AudioPart) -> Wire:
    return {"inlineData": {"mimeType": f"audio/{part.format}", "data": part.data}}


def _media(part: ImagePart | DocumentPart) -> Wire:
    if part.data is not None:
        return {"inlineData": {"mimeType": part.media_type, "data": part.data}}
    media_type = part.media_type or mimetypes.guess_type(urlsplit(part.url or "").path)[0]
    typed = {} if media_type is None else {"mimeType": media_type}
    return {"fileData": {"fileUri": part.url, **typed}}


_WRITERS: dict[type, Callable[..., Wire]] = {
    TextPart: _text,
    RefusalPart: _refusal,
    ImagePart: _image,
    DocumentPart: _document,
    AudioPart: _audio,
}
