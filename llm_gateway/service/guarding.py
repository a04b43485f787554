"""Have a tenant's guardrails look at a request, and at the answer to it."""

from collections.abc import Sequence
from typing import Any

import msgspec

from llm_gateway.adapters import CHAT_ADAPTERS, native, openai_completions
from llm_gateway.guardrails.answers import AnswerGuard
from llm_gateway.guardrails.bodies import guarded
from llm_gateway.guardrails.guard import guard_of
from llm_gateway.guardrails.window import Looker
from llm_gateway.service.body import parse_body
from llm_gateway.service.inbound import Inbound
from llm_gateway.service.measuring import LOOKED_AT, in_thread
from llm_gateway.types import Call
from tenants.types import Caller

# Whose answers are texts that a model wrote.
_SPEAKING = frozenset({*CHAT_ADAPTERS, native.name, openai_completions.name})


def lookers_at(caller: Caller, side: str) -> Sequence[Looker]:
    """Return who looks at one side (request, answer) of one call of a caller."""
    return guard_of(caller.guardrails).lookers(side) if caller.guardrails else ()


async def guarded_call(inbound: Inbound, call: Call, lookers: Sequence[Looker]) -> Call:
    """Return the call without what is redacted in it. Raises ContentBlockedError."""
    body = await guarded_body(call.body, call.size, lookers)
    if body is call.body:
        return call
    # Read anew: what was redacted may have been something that steers, such as the end user.
    size = len(msgspec.json.encode(body))
    named = inbound.named
    if call.operation == "count_tokens":
        named = {**named, "operation": call.operation}
    changed: Call = inbound.door.parse_call(body, size=size, **named)
    return changed


async def guarded_body(
    body: dict[str, Any], size: int, lookers: Sequence[Looker]
) -> dict[str, Any]:
    """Return a body of so many bytes without what is redacted in it."""
    if size <= LOOKED_AT:
        return guarded(body, lookers)
    return await in_thread(lambda: guarded(body, lookers))


async def guarded_bytes(caller: Caller, raw: bytes) -> bytes:
    """Return a JSON body without what may not be asked, in the bytes it came in if none of it is.

    Raises ContentBlockedError, or InvalidRequestError for what cannot be looked at.
    """
    lookers = lookers_at(caller, "request")
    if not raw or not lookers:
        return raw
    body = parse_body(raw)
    clean = await guarded_body(body, len(raw), lookers)
    return raw if clean is body else msgspec.json.encode(clean)


def answer_guard(inbound: Inbound) -> AnswerGuard | None:
    """Return what looks at one answer of a model; None where nobody does."""
    if not inbound.caller.guardrails or inbound.door.name not in _SPEAKING:
        return None
    lookers = lookers_at(inbound.caller, "answer")
    return AnswerGuard(lookers) if lookers else None
