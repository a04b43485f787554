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


class Repeats(Struct, frozen=True):
    """Digests of a whole request and of what it begins with, and how many tokens those are."""

    digest: str
    prefix_digest: str = ""
    prefix_tokens: int = 0


def repeats(call: Call, input_tokens: int) -> Repeats:
    """Return what names a call; tokens of its beginning are its share of the bytes."""
    body = _ENCODER.encode({**call.body, "model": call.model})
    digest = _digest(call.operation.encode() + body)
    if len(body) < _LEAST_BYTES:
        return Repeats(digest)
    leading = _leading(call.body)
    prefix = _ENCODER.encode(leading)
    if not leading or len(prefix) < _LEAST_BYTES:
        return Repeats(digest)
    tokens = input_tokens * len(prefix) // len(body)
    return Repeats(digest, _digest(call.model.encode() + prefix), tokens)


def _leading(body: dict[str, Any]) -> dict[str, Any]:
    """Return the parts which providers put first, and so can cache for requests that differ."""
    leading = {name: body[name] for name in _LEADING_FIELDS if body.get(name)}
    messages: list[Any] = []
    for message in body.get("messages") or ():
        if not isinstance(message, dict) or message.get("role") not in _LEADING_ROLES:
            break
        messages.append(message)
    return leading | ({"messages": messages} if messages else {})


def _digest(text: bytes) -> str:
    return hashlib.blake2b(text, digest_size=16, key=pepper()).hexdigest()
