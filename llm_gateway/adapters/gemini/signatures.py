"""Carry signatures of other providers in Google's field for them, and tell them from its own.

`thoughtSignature` holds bytes in base64, and Google's clients decode and encode it on the way: a
foreign signature is wrapped, so that it comes back to its author byte for byte. The mark before it
says whose it is not; a signature without the mark is Google's.
"""

import base64
import binascii

from msgspec import Struct

# What Google's documents give for a call that its model did not make, or whose signature is lost:
# https://ai.google.dev/gemini-api/docs/thought-signatures
UNSIGNED = "skip_thought_signature_validator"
_NO_SIGNATURES = frozenset({UNSIGNED, "context_engineering_is_the_way_to_go"})
_SIGNATURE, _REDACTED = b"mobius:signature:", b"mobius:redacted:"
_URL_SAFE = str.maketrans("-_", "+/")


class Foreign(Struct, frozen=True, kw_only=True):
    """What another provider signed: a signature, or a redacted block as a whole."""

    signature: str | None = None
    redacted: str | None = None


def wrap(foreign: Foreign) -> str:
    """Return a foreign signature as a value of `thoughtSignature`."""
    if foreign.redacted is not None:
        return base64.b64encode(_REDACTED + foreign.redacted.encode()).decode()
    signature = foreign.signature or ""
    if unwrap(signature) is not None:  # it went through another gateway of ours
        return signature
    return base64.b64encode(_SIGNATURE + signature.encode()).decode()


def unwrap(value: str) -> Foreign | None:
    """Return what was wrapped, None for a signature that is Google's own."""
    raw = _decoded(value)
    if raw.startswith(_SIGNATURE):
        return Foreign(signature=raw.removeprefix(_SIGNATURE).decode())
    if raw.startswith(_REDACTED):
        return Foreign(redacted=raw.removeprefix(_REDACTED).decode())
    return None


def says_none(value: str) -> bool:
    """Say whether a value stands for a signature that there is none of, encoded or as it is."""
    return value in _NO_SIGNATURES or _decoded(value) in {one.encode() for one in _NO_SIGNATURES}


def _decoded(value: str) -> bytes:
    try:
        return base64.b64decode(value.translate(_URL_SAFE), validate=True)
    except (binascii.Error, ValueError):
        return b""
