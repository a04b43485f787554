"""Look at all that a body says: every text in it, whatever field it stands in.

Names of fields, ids, signatures and inline media are passed over: they are no text.
"""

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from llm_gateway.guardrails.secrets import names_secret
from llm_gateway.guardrails.window import Looker, looked_at

Wire = dict[str, Any]

_OPAQUE = frozenset({
    "call_id", "encrypted_content", "file_id", "id", "media_type", "mimeType", "mime_type", "model",
    "object", "previous_response_id", "prompt_cache_key", "role", "signature", "thoughtSignature",
    "thought_signature", "tool_call_id", "tool_use_id", "type",
})  # fmt: skip
_MEDIA = frozenset({"b64_json", "bytes", "data", "file_data", "image_url", "url"})
_BASE64 = re.compile(r"[A-Za-z0-9+/_=\s-]+")
_LEAST_MEDIA, _LEAST_NUMBER = 256, 10**9


def guarded(body: Wire, lookers: Sequence[Looker]) -> Wire:
    """Return a body without what is redacted in it; the same object where nothing is.

    Raises ContentBlockedError.
    """
    if not lookers:
        return body
    changed: Wire = _Walk(lookers).value(body, "")
    return changed


def arguments_guarded(text: str, lookers: Sequence[Looker]) -> str:
    """Return JSON without what is redacted in it, as JSON still. Raises ContentBlockedError."""
    return _Walk(lookers).json(text)


class _Walk:
    """One body; what is not changed is not copied."""

    def __init__(self, lookers: Sequence[Looker]) -> None:
        self._lookers = lookers

    def value(self, value: Any, name: str) -> Any:  # noqa: ANN401 - JSON
        if isinstance(value, str):
            return self._text(value, name)
        if isinstance(value, dict):
            return self._changed(value, value.items())
        if isinstance(value, list):
            return self._changed(value, ((place, one) for place, one in enumerate(value)), name)
        return self._number(value)

    def json(self, text: str) -> str:
        try:
            said = msgspec.json.decode(text)
        except (ValueError, RecursionError):
            return looked_at(text, self._lookers)
        if not isinstance(said, dict | list):
            return looked_at(text, self._lookers)
        clean = self.value(said, "")
        return text if clean is said else msgspec.json.encode(clean).decode()

    def _changed(self, whole: Any, members: Any, name: str = "") -> Any:  # noqa: ANN401 - JSON
        """Return a list or an object with those members exchanged that are changed."""
        copy = None
        for place, one in members:
            called = place if isinstance(place, str) else name
            if called in _OPAQUE and isinstance(one, str):
                continue
            clean = self.value(one, called)
            if clean is not one:
                copy = whole.copy() if copy is None else copy
                copy[place] = clean
        return whole if copy is None else copy

    def _text(self, text: str, name: str) -> str:
        if name in _MEDIA and _is_media(text):
            return text
        if name == "arguments":
            return self.json(text)
        if names_secret(name):
            # What is called so is one: the name is part of what is looked at.
            called = f"{name}: "
            clean = looked_at(called + text, self._lookers)
            return clean.removeprefix(called) if clean != called + text else text
        clean = looked_at(text, self._lookers)
        return text if clean == text else clean

    def _number(self, value: Any) -> Any:  # noqa: ANN401 - JSON
        # Of numbers only long whole ones are somebody's; decimals are many, and look like anything.
        if not isinstance(value, int) or isinstance(value, bool) or abs(value) < _LEAST_NUMBER:
            return value
        clean = looked_at(str(value), self._lookers)
        return value if clean == str(value) else clean


def _is_media(text: str) -> bool:
    if text.startswith("data:") and ";base64," in text[:256]:
        return True
    return len(text) >= _LEAST_MEDIA and _BASE64.fullmatch(text) is not None
