"""Name what a request belongs together with: its session, or the beginning of its prompt.

Names are a tenant's own: two tenants that say the same are not led to the same place.
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import msgspec

from llm_gateway.routing.affinity import Belongs
from llm_gateway.service.inbound import Inbound
from llm_gateway.types import Affinity, Call

# No provider caches a prompt under about 1,024 tokens, which are never fewer bytes.
LEAST_BYTES = 1024

_LEADING = ("system", "systemInstruction", "instructions", "tools")
_TURNS = ("messages", "input", "contents")
_INSTRUCTING = {"system", "developer"}
_encode = msgspec.json.Encoder().encode


def belonging(kind: Affinity, inbound: Inbound, call: Call) -> Belongs | None:
    """Return the name, None where the request belongs to nothing."""
    said = _session(inbound, call) if kind == "session" else _beginning(call.body)
    if said is None:
        return None
    name = sha256(b"%d %s" % (inbound.caller.tenant_id, said)).digest()
    return Belongs(name, len(said) if kind == "prompt" else 0)


def _session(inbound: Inbound, call: Call) -> bytes | None:
    named = {
        "run": inbound.controls.run,
        "conversation": inbound.conversation,
        "cache": call.body.get("prompt_cache_key"),
        "user": call.end_user,
    }
    for kind, name in named.items():
        if isinstance(name, str) and name:
            return f"{kind} {name}".encode(errors="replace")
    return None


def _beginning(body: dict[str, Any]) -> bytes | None:
    """Return instructions and tools; with the first turn where they alone are short."""
    turns: Sequence[Any] = next(
        (body[name] for name in _TURNS if isinstance(body.get(name), list)), []
    )
    count = _count_leading(turns)
    leading = [[body.get(name) for name in _LEADING], turns[:count]]
    for said in (leading, [leading, turns[count : count + 1]]):
        if len(encoded := _encode(said)) >= LEAST_BYTES:
            return encoded
    return None


def _count_leading(turns: Sequence[Any]) -> int:
    for count, turn in enumerate(turns):
        if not isinstance(turn, dict) or turn.get("role") not in _INSTRUCTING:
            return count
    return len(turns)
