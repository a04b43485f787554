"""Write what servers of this protocol say each in their own way: earlier thinking, ids of calls."""

import hashlib
import re
from collections.abc import Sequence
from typing import Any

from llm_gateway.adapters.refusal import unexpressible
from llm_gateway.types import Quirks, ThinkingPart

Wire = dict[str, Any]
_SHORT = re.compile(r"[a-zA-Z0-9]{9}")
# Whose signatures are meant where nothing else is said (openrouter.ai, "Reasoning tokens").
_SIGNED_BY = "anthropic-claude-v1"


def said_and_thought(
    content: str | list[Wire] | None, thoughts: Sequence[ThinkingPart], quirks: Quirks
) -> Wire:
    """Return what an earlier turn said, and what it thought before where the server takes it.

    Raises UnexpressibleError for signed thinking, where the server has no place for signatures.
    """
    return {"content": content, **_thought(thoughts, content, quirks)}


def _thought(
    parts: Sequence[ThinkingPart], content: str | list[Wire] | None, quirks: Quirks
) -> Wire:
    if not parts:
        return {}
    if quirks.thought_field == "reasoning_details":
        details = [{"index": index, **_detail(part)} for index, part in enumerate(parts)]
        return {"reasoning_details": details}
    if any(part.signature or part.redacted for part in parts):
        raise unexpressible("messages[].reasoning_content", "signed thinking is its author's only")
    text = "".join(part.text for part in parts)
    if quirks.thought_field != "content":
        return {quirks.thought_field: text}
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": text}]}
    said = [{"type": "text", "text": content}] if isinstance(content, str) else content or []
    return {"content": [thought, *said]}


def call_id(text: str, quirks: Quirks) -> str:
    """Return the id of a call; the same one for its result, wherever that stands."""
    if not quirks.short_call_ids or _SHORT.fullmatch(text):
        return text
    return hashlib.sha256(text.encode()).hexdigest()[:9]


def _detail(part: ThinkingPart) -> Wire:
    if part.redacted is not None:
        return {"type": "reasoning.encrypted", "data": part.redacted, "format": _SIGNED_BY}
    if part.signature is None:
        return {"type": "reasoning.text", "text": part.text}
    signed = {"signature": part.signature, "format": _SIGNED_BY}
    return {"type": "reasoning.text", "text": part.text, **signed}
