"""Name an answer by everything that can change it, and say what is kept of it."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

import msgspec
from msgspec import Struct

_encode = msgspec.json.Encoder(order="deterministic").encode
# How an answer is sent, which is no part of what it says.
_MANNER = frozenset({"stream", "stream_options"})


class Entry(Struct, frozen=True, kw_only=True):
    """One whole answer as its caller got it, and what it cost the one who caused it.

    `streamed` says in which form `body` is; `wants_usage` whether that form tells the usage.
    `until` is Unix seconds.
    """

    request_id: UUID
    tenant_id: int
    until: float
    body: bytes
    streamed: bool
    wants_usage: bool
    model: str
    provider: str
    cost_nano: int

    @property
    def size(self) -> int:
        return len(self.body) + 512  # with what stands around it


def key_of(
    tenant_id: int,
    project_id: int | None,
    generation: int,
    words: Iterable[object],
    body: Mapping[str, Any],
) -> str:
    """Return the name of what a request asks.

    `words` are what else can change the answer: the dialect and where the request may be sent.
    `generation` counts how often the tenant's answers were cleared.
    """
    asked = {name: value for name, value in body.items() if name not in _MANNER}
    named = _encode([tenant_id, project_id, generation, list(words), asked])
    return f"{tenant_id}:{hashlib.sha256(named).hexdigest()}"
