"""Fold a reasoning item into one opaque text, and unfold it again byte for byte.

Other dialects carry a text of thinking and a signature. Ours is `id:parts:encrypted_content`, where
parts say how the text is put together (`s12` a summary of 12 characters, `t5` reasoning text of 5).

The other way, a signature of another author stands in `encrypted_content` behind a mark, so that it
is known again from what a provider of this protocol encrypted.
"""

import re
from typing import Any

from llm_gateway.adapters.counting import text_or_none
from llm_gateway.types import ThinkingDelta, ThinkingPart

GAP = "\n\n"  # between the parts of one item, where its text is one
# Google signs a call, or a text, and not the thinking that carries it here.
CALL, TEXT = "call:", "text:"
HIDDEN = "redacted:"
_SIGNED = "signed:"
_FOLDED = re.compile(r"([A-Za-z0-9_-]+):((?:[st]\d+(?:,[st]\d+)*)?):(.*)", re.DOTALL)
_KINDS = {"s": ("summary", "summary_text"), "t": ("content", "reasoning_text")}


def texts_of(item: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the texts of a reasoning item, each with the letter of its kind."""
    found = []
    for letter, (field, _type) in _KINDS.items():
        parts = item.get(field)
        for part in parts if isinstance(parts, list) else ():
            text = part.get("text") if isinstance(part, dict) else None
            if isinstance(text, str):
                found.append((letter, text))
    return found


def fold(item: dict[str, Any]) -> str | None:
    """Return the signature of a reasoning item; None for one that cannot be sent back.

    A summary alone is no reasoning: its author wants the encrypted content with it.
    """
    identifier, encrypted = (
        text_or_none(item.get("id")),
        text_or_none(item.get("encrypted_content")),
    )
    texts = texts_of(item)
    if not identifier or not (encrypted or any(letter == "t" for letter, _ in texts)):
        return None
    parts = ",".join(f"{letter}{len(text)}" for letter, text in texts)
    return f"{identifier}:{parts}:{encrypted or ''}"


def unfold(text: str, signature: str) -> dict[str, Any] | None:
    """Return the item that a text and a signature were; None for another author's."""
    match = _FOLDED.fullmatch(signature)
    if match is None:
        return None
    item: dict[str, Any] = {"type": "reasoning", "id": match[1], "summary": []}
    position = 0
    for part in match[2].split(",") if match[2] else ():
        field, kind = _KINDS[part[0]]
        end = position + int(part[1:])
        item.setdefault(field, []).append({"type": kind, "text": text[position:end]})
        position = end + len(GAP)
    if match[3]:
        item["encrypted_content"] = match[3]
    return item


def sealed(event: ThinkingDelta) -> str | None:
    """Return what an author signed or hid as `encrypted_content`: its own, or behind a mark."""
    if event.redacted is not None:
        return HIDDEN + event.redacted
    if event.signature is None:
        return None
    own = _FOLDED.fullmatch(event.signature)
    return own[3] or None if own else _SIGNED + event.signature


def thinking(item: dict[str, Any]) -> ThinkingPart | None:
    """Return what a caller sends back of a reasoning item; None for an empty one."""
    encrypted = text_or_none(item.get("encrypted_content")) or ""
    text = GAP.join(text for _, text in texts_of(item))
    if encrypted.startswith(HIDDEN):
        return ThinkingPart(redacted=encrypted.removeprefix(HIDDEN))
    if encrypted.startswith(_SIGNED):
        return ThinkingPart(text=text, signature=encrypted.removeprefix(_SIGNED))
    if encrypted and not encrypted.startswith((CALL, TEXT)):
        return ThinkingPart(text=text, signature=fold({**item, "id": item.get("id") or "rs"}))
    return ThinkingPart(text=text) if text else None
