"""Read the contents of a Gemini request into the hub's messages.

A function's response names its function, and its call only by clients that keep ids: without one
it answers the first call of that name that waits for an answer. What has no word goes to `extras`.
"""

import mimetypes
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import msgspec
from msgspec.structs import replace

from llm_gateway.adapters.fields import wrong
from llm_gateway.adapters.gemini.proto import ProtoFields
from llm_gateway.adapters.gemini.signatures import Foreign, says_none, unwrap
from llm_gateway.adapters.refusal import check_speaker
from llm_gateway.types import (
    AudioPart,
    DocumentPart,
    ImagePart,
    Leaf,
    Message,
    Part,
    Role,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolResultPart,
)

Extras = dict[str, Any]
_ROLES: dict[str, Role] = {"user": "user", "model": "assistant", "function": "user"}
_DETAILS = {"MEDIA_RESOLUTION_LOW": "low", "MEDIA_RESOLUTION_HIGH": "high"}
_AUDIO_FORMATS = {"mpeg": "mp3", "x-wav": "wav", "wave": "wav"}
# Where files are that Google alone can open.
_GOOGLE_FILES = ("generativelanguage.googleapis.com", "aiplatform.googleapis.com")
# The keys that Google's own documents give a function's plain answer, and its error.
OUTPUT, ERROR = "output", "error"


class Turns:
    """The messages so far, and which calls still wait for their answer."""

    __slots__ = ("_extras", "_made", "_waiting")

    def __init__(self, extras: Extras) -> None:
        self._extras = extras
        self._waiting: list[tuple[str, str]] = []  # name and id
        self._made = 0

    def message(self, content: ProtoFields) -> Message:
        """Return one message; calls come before what follows them."""
        role = content.text("role") or "user"
        if role not in _ROLES:
            raise wrong(content.at("role"), "user or model")
        parts: list[Part] = []
        for fields in content.objects("parts"):
            self._part(fields, parts)
        content.close(self._extras)
        answers = bool(parts) and all(isinstance(part, ToolResultPart) for part in parts)
        message = Message(role="tool" if answers else _ROLES[role], parts=tuple(parts))
        check_speaker(message, content.at("parts"))
        return message

    def _part(self, fields: ProtoFields, parts: list[Part]) -> None:
        thought, signature = fields.flag("thought"), fields.text("thoughtSignature")
        if signature is not None and says_none(signature):
            signature = None
        foreign = unwrap(signature) if signature else None
        if foreign is not None:
            signature = None
            _sign(parts, foreign, thought=_thought(fields) if thought else "")
        elif thought:
            _think(parts, _thought(fields))
            if signature:
                parts.append(TextPart(text="", signature=signature))
                signature = None
        if not thought:
            self._said(fields, signature, parts)
        fields.drop("partMetadata", {})
        fields.close(self._extras)

    def _said(self, fields: ProtoFields, signature: str | None, parts: list[Part]) -> None:
        text = fields.text("text")
        call, result = fields.inner("functionCall"), fields.inner("functionResponse")
        if text is not None:
            parts.append(TextPart(text=text, signature=signature or None))
        elif call is not None:
            parts.append(self._call(call, signature))
        elif result is not None:
            parts.append(self._result(result))
        else:
            parts.extend(_media(fields, self._extras))
            if signature:
                self._extras[fields.at("thoughtSignature")] = signature

    def _call(self, call: ProtoFields, signature: str | None) -> ToolCallPart:
        name = call.required("name")
        arguments = call.mapping("args") or {}
        call_id = call.text("id") or f"call_{self._made}"
        self._made += 1
        self._waiting.append((name, call_id))
        call.close(self._extras)
        return ToolCallPart(
            id=call_id,
            name=name,
            arguments=msgspec.json.encode(arguments).decode(),
            signature=signature or None,
        )

    def _result(self, result: ProtoFields) -> ToolResultPart:
        name, given = result.required("name"), result.text("id")
        call_id = self._answered(name, given)
        answer = result.mapping("response") or {}
        media = [leaf for part in result.objects("parts") for leaf in self._seen(part)]
        result.drop("willContinue", False)
        result.close(self._extras)
        is_error = set(answer) == {ERROR}
        texts = _texts(answer[ERROR] if is_error else answer, whole=not is_error)
        return ToolResultPart(call_id=call_id, content=(*texts, *media), is_error=is_error)

    def _answered(self, name: str, given: str | None) -> str:
        """Return the id of the call that is answered here, by its own id before its name."""
        by_id = [one for one in self._waiting if one[1] == given]
        by_name = [one for one in self._waiting if one[0] == name]
        for waiting in (*by_id, *by_name):
            self._waiting.remove(waiting)
            return waiting[1]
        return given or f"call_{name}"

    def _seen(self, part: ProtoFields) -> Iterator[Leaf]:
        """Yield what a function shows; sound has no place in the answer of one elsewhere."""
        for leaf in _media(part, self._extras):
            if isinstance(leaf, AudioPart):
                self._extras[part.at("inlineData")] = leaf.format
            else:
                yield leaf
        part.close(self._extras)


def _think(parts: list[Part], text: str) -> None:
    """Add a thought; what goes on with an unsigned one is part of it."""
    last = parts[-1] if parts else None
    if isinstance(last, ThinkingPart) and last.signature is None and last.redacted is None:
        parts[-1] = replace(last, text=last.text + text)
    elif text:
        parts.append(ThinkingPart(text=text))


def _sign(parts: list[Part], foreign: Foreign, *, thought: str) -> None:
    """Give thinking back its author's signature; clients may have moved it to the next part."""
    _think(parts, thought)
    last = parts[-1] if parts else None
    if foreign.redacted is not None:
        parts.append(ThinkingPart(redacted=foreign.redacted))
    elif isinstance(last, ThinkingPart) and last.signature is None and last.redacted is None:
        parts[-1] = replace(last, signature=foreign.signature)
    else:
        parts.append(ThinkingPart(signature=foreign.signature))


def _thought(fields: ProtoFields) -> str:
    return fields.text("text") or ""


def _texts(answer: Any, *, whole: bool) -> tuple[TextPart, ...]:  # noqa: ANN401 - JSON
    """Return a function's answer as texts: those it is made of, else its JSON."""
    if whole and set(answer) == {OUTPUT}:
        answer = answer[OUTPUT]
    if isinstance(answer, str):
        return (TextPart(text=answer),)
    if whole and isinstance(answer, list) and all(isinstance(one, str) for one in answer):
        return tuple(TextPart(text=one) for one in answer)
    return (TextPart(text=msgspec.json.encode(answer).decode()),)


def _media(fields: ProtoFields, extras: Extras) -> Iterator[Leaf | AudioPart]:
    """Yield inline or linked media; of a kind that others do not have it goes to `extras`."""
    resolution = fields.inner("mediaResolution")
    level = resolution.text("level") if resolution else None
    if level is not None and level not in _DETAILS:
        extras[fields.at("mediaResolution")] = level
    inline, file = fields.inner("inlineData"), fields.inner("fileData")
    if inline is not None:
        yield from _inline(inline, _DETAILS.get(level or ""), extras)
    elif file is not None:
        yield from _linked(file, _DETAILS.get(level or ""), extras)


def _inline(blob: ProtoFields, detail: str | None, extras: Extras) -> Iterator[Leaf | AudioPart]:
    media_type, data = blob.required("mimeType"), blob.required("data")
    kind, _, subtype = media_type.partition("/")
    if kind == "image":
        yield ImagePart(data=data, media_type=media_type, detail=detail)
    elif kind == "audio":
        yield AudioPart(data=data, format=_AUDIO_FORMATS.get(subtype, subtype))
    elif kind == "video":
        extras[blob.at("mimeType")] = media_type
    else:
        yield DocumentPart(data=data, media_type=media_type, name=blob.text("displayName"))
    blob.close(extras)


def _linked(file: ProtoFields, detail: str | None, extras: Extras) -> Iterator[Leaf]:
    """Yield media by its address; a file that lives at Google cannot cross."""
    uri, media_type = file.required("fileUri"), file.text("mimeType")
    media_type = media_type or mimetypes.guess_type(urlsplit(uri).path)[0]
    kind = (media_type or "").partition("/")[0]
    public = uri.startswith(("http:", "https:")) and urlsplit(uri).hostname not in _GOOGLE_FILES
    if not public or kind in {"", "audio", "video"}:
        extras[file.at("fileUri")] = uri
    elif kind == "image":
        yield ImagePart(url=uri, media_type=media_type, detail=detail)
    else:
        yield DocumentPart(url=uri, media_type=media_type, name=file.text("displayName"))
    file.close(extras)
