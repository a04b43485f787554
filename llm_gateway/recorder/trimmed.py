"""Bound what is kept of a body: texts within a room of bytes, media by type and size alone.

A text is cleaned before it is cut, and read a little beyond the cut: what has to go is found whole.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

ROOM = 256 * 1024  # bytes of the texts, names and numbers of one body
MOST_VALUES, DEEPEST = 20_000, 64
# Longer than what cleaning looks for, but for a key of many lines, whose beginning is enough.
_BEYOND = 4096

_TYPES = ("media_type", "mime_type", "mimeType", "format")
_DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+)(?:;[\w=.+-]+)*;base64,([A-Za-z0-9+/=_-]*)")
_LEAST_BASE64 = 1024
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]+={0,2}")
# The text of an answer in pieces, in which nothing would be found.
_SPELLED = frozenset({"logprobs", "logprobsResult", "top_logprobs"})


class Trimmer:
    """Copies one body; `cut` says whether anything was left out for want of room."""

    def __init__(self, clean: Callable[[str], str] | None = None, room: int = ROOM) -> None:
        self._clean, self._room, self._values = clean, room, MOST_VALUES
        self.cut = False

    def copy(self, value: Any, depth: int = 0) -> Any:  # noqa: ANN401 - JSON
        """Return a value with what fits."""
        self._values -= 1
        if isinstance(value, str):
            return self._text(media_as_size(value))
        if isinstance(value, dict | list) and depth >= DEEPEST:
            return self._left_out("nested deeper")
        if isinstance(value, dict):
            return self._object(value, depth)
        if isinstance(value, list):
            return self._list(value, depth)
        return self._number(value)

    def _object(self, value: dict[str, Any], depth: int) -> dict[str, Any]:
        kept: dict[str, Any] = {}
        for name, one in value.items():
            if self._full:
                kept["…"] = self._left_out(f"{len(value) - len(kept)} of {len(value)} fields")
                break
            kept[self._text(name)] = self._member(value, name, one, depth)
        return kept

    def _member(self, value: Mapping[str, Any], name: str, one: Any, depth: int) -> Any:  # noqa: ANN401 - JSON
        if name == "data" and isinstance(one, str):
            kind = next((value[field] for field in _TYPES if field in value), None)
            if isinstance(kind, str):
                return _sized(kind, one)
        if name in _SPELLED and isinstance(one, dict | list) and self._clean is not None:
            return "[left out]"
        return self.copy(one, depth + 1)

    def _list(self, value: list[Any], depth: int) -> list[Any]:
        kept: list[Any] = []
        for one in value:
            if self._full:
                kept.append(self._left_out(f"{len(value) - len(kept)} of {len(value)} items"))
                break
            kept.append(self.copy(one, depth + 1))
        return kept

    def _text(self, text: str) -> str:
        room = self._room
        clean = text[: room + _BEYOND]
        if self._clean is not None:
            clean = self._clean(clean)
        encoded = clean.encode("utf-8", "replace")
        self._room -= min(room, len(encoded))
        if len(encoded) <= room and len(text) <= room + _BEYOND:
            return encoded.decode()
        kept = encoded[:room].decode("utf-8", "ignore")
        return f"{kept}{self._left_out(f'{len(text)} characters in all')}"

    def _number(self, value: Any) -> Any:  # noqa: ANN401 - JSON
        self._room -= min(self._room, 8)
        # Of numbers only whole ones are somebody's; decimals are many, and look like anything.
        if self._clean is None or isinstance(value, bool) or not isinstance(value, int):
            return value
        told = str(value)
        clean = self._clean(told)
        return value if clean == told else clean

    @property
    def _full(self) -> bool:
        return self._room <= 0 or self._values <= 0

    def _left_out(self, what: str) -> str:
        self.cut = True
        return f"[cut: {what}]"


def media_as_size(text: str) -> str:
    """Return a text with inline media as type and size."""
    if ";base64," in text:
        return _DATA_URL.sub(lambda found: _sized(found[1], found[2]), text)
    if len(text) >= _LEAST_BASE64 and _BASE64.fullmatch(text):
        return _sized("base64", text)
    return text


def _sized(kind: str, data: str) -> str:
    return f"[{kind}, {len(data.rstrip('=')) * 3 // 4} bytes]"
