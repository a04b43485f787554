"""Count the tokens of a request: its texts by a vocabulary, what is added to them by rule."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct

from llm_gateway.adapters.counting import texts
from llm_gateway.tokens import vocabularies
from llm_gateway.tokens.families import FAMILIES, Family, Span
from llm_gateway.types import (
    AudioPart,
    ChatRequest,
    DocumentPart,
    Part,
    RefusalPart,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolResultPart,
)

NAME_TOKENS = 1  # a speaker's name costs this besides itself


class Count(Struct, frozen=True, kw_only=True):
    """Tokens of an input, and between what their number surely lies; None: nobody can say."""

    tokens: int
    at_least: int
    at_most: int | None

    @property
    def exact(self) -> bool:
        return self.at_least == self.at_most

    @property
    def error(self) -> float | None:
        """How far off the number may be, as a share of it."""
        if self.at_most is None:
            return None
        away = max(self.tokens - self.at_least, self.at_most - self.tokens)
        return round(away / max(1, self.tokens), 3)


def count_text(text: str, family: str) -> Count:
    """Return the tokens of a text alone, as a message's content has them."""
    row = FAMILIES[family]
    return _sum([_of(text, row, row.text)])


def count_inputs(inputs: Iterable[str | tuple[int, ...]], family: str) -> Count:
    """Return the tokens of inputs to be embedded: texts, or tokens already."""
    row = FAMILIES[family]
    return _sum(
        [
            _of(one, row, row.text) if isinstance(one, str) else _times(_ONE, len(one))
            for one in inputs
        ]
    )


def count_request(request: ChatRequest, family: str) -> Count:
    """Return the tokens of a chat's input: messages, tools, the schema of its answer."""
    row = FAMILIES[family]
    parts = [part for message in request.messages for part in message.parts]
    return _sum([row.start, *_messages(request, row), *_asked(request, row)], _open(request, parts))


def message_tokens(message: Mapping[str, Any], family: str, *, surely: bool = False) -> int:
    """Return the tokens of one message as it stands on the wire; `surely`: no fewer than it has."""
    row = FAMILIES[family]
    content = message.get("content")
    parts = content if isinstance(content, list) else []
    plain = [part for part in parts if not _is_media(part)] if parts else content
    said = "\n".join(texts({**message, "role": None, "content": plain}))
    media = sum(map(_is_media, parts))
    span = _added([row.message, _of(said, row, row.text), _times(row.image, media)])
    return -int(-span.high // 1) if surely else round(span.likely)


def _is_media(part: object) -> bool:
    return isinstance(part, dict) and part.get("type") not in {"text", None}


def _messages(request: ChatRequest, row: Family) -> Iterable[Span]:
    for message in request.messages:
        yield row.message
        if message.name is not None:
            yield _times(_ONE, NAME_TOKENS)
            yield _of(message.name, row, _ONE)
        for part in message.parts:
            yield _part(part, row)


def _part(part: Part, row: Family) -> Span:
    def words(text: str) -> Span:
        return _of(text, row, row.text)

    match part:
        case TextPart() | RefusalPart():
            span = words(part.text)
        case ThinkingPart():
            span = _times(row.thinking, words(part.text).high)
        case ToolCallPart():
            called = words(part.name + part.arguments)
            span = Span(called.low, called.likely + 4, called.high + 40)
        case ToolResultPart():
            span = _added([_part(one, row) for one in part.content])
        case DocumentPart():
            span = words(part.text or "")
        case _:  # an image or a sound
            span = row.image
    return span


def _asked(request: ChatRequest, row: Family) -> Iterable[Span]:
    """Yield what tools and the form of the answer add."""
    if request.tools:
        yield row.tools
        for tool in request.tools:
            said = [tool.name, tool.description or "", _json(tool.schema)]
            yield _of("\n".join(said), row, row.tool)
    form = request.response_format
    if form is not None and form.schema is not None:
        yield row.schema
        yield _of(_json(form.schema), row, row.shape)


def _open(request: ChatRequest, parts: Iterable[Part]) -> bool:
    """Say whether a request holds what nobody can count from here: files, the provider's tools."""
    inside = [one for part in parts if isinstance(part, ToolResultPart) for one in part.content]
    return bool(request.extras) or any(
        (isinstance(one, DocumentPart) and one.text is None) or isinstance(one, AudioPart)
        for one in (*parts, *inside)
    )


_ONE = Span(1, 1, 1)


def _of(text: str, row: Family, scale: Span) -> Span:
    """Return what a text is by the row's vocabulary, on a scale."""
    found = vocabularies.count(text, row.vocabulary)
    return Span(scale.low * found.low, scale.likely * found.likely, scale.high * found.high)


def _times(span: Span, number: float) -> Span:
    return Span(span.low * number, span.likely * number, span.high * number)


def _added(spans: Iterable[Span]) -> Span:
    known = list(spans)
    return Span(
        sum(span.low for span in known),
        sum(span.likely for span in known),
        sum(span.high for span in known),
    )


def _sum(spans: Iterable[Span], unbounded: bool = False) -> Count:
    total = _added(spans)
    return Count(
        tokens=round(total.likely),
        at_least=int(total.low),
        at_most=None if unbounded else -int(-total.high // 1),
    )


def _json(value: Any) -> str:  # noqa: ANN401 - a schema
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")) if value else ""
