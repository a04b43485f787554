"""Name what a request asks by keyed digests, so that repeats are found without keeping a text.

The key is the installation's own: a digest of a short prompt cannot be guessed from the log.
"""

import hashlib
from typing import Any

import msgspec
from msgspec import Struct

from llm_gateway.types import Call
from tenants.keys import pepper

_ENCODER = msgspec.json.Encoder(order="deterministic")
_LEADING_FIELDS = ("system", "systemInstruction", "instructions", "tools")
_LEADING_ROLES = {"system", "developer"}
# No provider caches a prompt under about 1,024 tokens, which are never fewer bytes.
_LEAST_BYTES = 1024
_LENGTH = 32


class Repeats(Struct, frozen=True):
    """Digests of a whole request and of what it begins with, and how many tokens those are."""

    digest: str
    prefix_digest: str = ""
    prefix_tokens: int = 0


def repeats(call: Call, input_tokens: int) -> Repeats:
    """Return what names a call; tokens of its beginning are its share of the bytes.

    Every byte is encoded and digested once: the digest of the whole goes on from the beginning's.
    """
    leading, rest = _split(call.body)
    first = _ENCODER.encode(leading)
    running = hashlib.sha256(pepper())  # twice as fast as BLAKE2 where processors know it
    running.update(first)
    prefix = running.hexdigest()[:_LENGTH] if len(first) >= _LEAST_BYTES else ""
    last = _ENCODER.encode([call.operation, call.model, rest])
    running.update(last)
    tokens = input_tokens * len(first) // (len(first) + len(last)) if prefix else 0
    return Repeats(running.hexdigest()[:_LENGTH], prefix, tokens)


def _split(body: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what providers put first, and so can cache for requests that differ; and the rest."""
    leading = {name: body[name] for name in _LEADING_FIELDS if body.get(name)}
    rest = {name: value for name, value in body.items() if name not in leading}
    messages = body.get("messages")
    if isinstance(messages, list):
        count = _count_leading(messages)
        leading["messages"], rest["messages"] = messages[:count], messages[count:]
    return leading, rest


def _count_leading(messages: list[Any]) -> int:
    for count, message in enumerate(messages):
        if not isinstance(message, dict) or message.get("role") not in _LEADING_ROLES:
            return count
    return len(messages)
