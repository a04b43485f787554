"""Go on from what a provider has kept, files included: there and nowhere else, within the tenant.

A response that a provider keeps is noted before its caller sees the end of it.
"""

import asyncio
import logging
import re
from collections.abc import Iterator
from typing import Any

from django.db import Error
from msgspec.structs import replace
from typing_extensions import override

from llm_gateway.adapters.openai_batches import files_named
from llm_gateway.adapters.openai_responses.call import LOOKED_UP
from llm_gateway.errors import (
    GatewayError,
    InvalidRequestError,
    LedgerUnavailableError,
)
from llm_gateway.routing.candidates import Dropped
from llm_gateway.routing.router import Plan
from llm_gateway.routing.ways import way_of
from llm_gateway.service.attempt import Attempt
from llm_gateway.service.exchange import Exchange
from llm_gateway.service.keeper import Owner
from llm_gateway.service.owned import is_at, unknown
from llm_gateway.types import Call, Facts, Target
from tenants.limits import Decision

# So long the end of an answer waits for the note of who keeps it; then it is given without.
NOTE_S = 1.0
# What may stand in a path and in a column: an id that is neither is not noted.
ID = re.compile(r"[A-Za-z0-9_-]{1,128}")

# How the name of a field that names a file can stand in JSON: as it is, or with escapes in it.
_FILE_SIGNS = (b"file_id", b"\\u00")

log = logging.getLogger(__name__)


class ContinuingExchange(Exchange):
    """A request in a dialect whose providers keep what they answered."""

    _owner: Owner | None = None
    _named: tuple[str, ...] = ()  # what the provider has to have

    @override
    async def _take_rates(self, call: Call) -> Decision:
        rates = await super()._take_rates(call)
        self._named = (*call.continues, *sorted(_files(self.inbound.body, call)))
        if self._named:
            await self._find(call)
        return rates

    @override
    def _plan(self, call: Call) -> Plan:
        found = super()._plan(call)
        return found if self._owner is None else self._at_owner(found, call, self._owner)

    @override
    async def _end(self, attempt: Attempt, error: GatewayError | None) -> None:
        noted = self._note(attempt) if error is None else None
        await super()._end(attempt, error)
        if noted is not None:
            await self._until(noted)

    async def _find(self, call: Call) -> None:
        """Find who keeps what the request goes on from. Raises NotFoundError."""
        # It may be continued in another way meanwhile: the same words have another answer then.
        self.reuse = None
        tenant_id, keeper = self.inbound.caller.tenant_id, self.runtime.keeper
        try:
            owners = await keeper.owners(tenant_id, self._named)
            # A file that nobody gave us may be the operator's; one of another tenant never is.
            strange = [one for one in self._named if one not in owners]
            refused = {*call.continues, *(await keeper.foreign(tenant_id, strange))}
        except Error:
            raise LedgerUnavailableError(
                "It cannot be looked up now who keeps the response.", retry_after_s=2
            ) from None
        for one in strange:
            if one in refused:
                raise unknown(one, param=_field(call, one))
        self._named = tuple(one for one in self._named if one in owners)
        if not self._named:
            return
        found = [owners[one] for one in self._named]
        if len({(owner.provider_id, owner.key_id) for owner in found}) > 1:
            raise InvalidRequestError(
                "What the request goes on from is kept at several providers.",
                param=_field(call, self._named[-1]),
            )
        self._owner = found[0]
        self.call = _sized(call, [owners[one] for one in call.continues])

    def _at_owner(self, plan: Plan, call: Call, owner: Owner) -> Plan:
        """Return the plan with the owner's targets alone. Raises InvalidRequestError."""
        kept = tuple(target for target in plan.attempts if _keeps(target, call, owner))
        if kept:
            others = [one for one in plan.attempts if one not in kept]
            why = "does not keep what the request goes on from"
            passed = tuple(Dropped(target.name, "condition", why) for target in others)
            return Plan(kept, (*plan.dropped, *passed))
        provider = self.runtime.snapshot.current.providers.get(owner.provider_id)
        where = f"provider {provider.name}" if provider else "a provider that is no longer here"
        raise InvalidRequestError(
            f"What the request goes on from is kept at {where}; it does not serve {call.model!r}.",
            param=_field(call, self._named[0]),
        )

    def _note(self, attempt: Attempt) -> asyncio.Future[None] | None:
        """Have it written who keeps the answer; None where nobody does."""
        if attempt.adapter is not self.inbound.door or not attempt.facts.kept:
            return None
        owners = list(_owners(attempt))
        return self.runtime.keeper.keep(self.inbound.caller.tenant_id, owners) if owners else None

    async def _until(self, noted: asyncio.Future[None]) -> None:
        try:
            await asyncio.wait_for(noted, NOTE_S)
        except (TimeoutError, Error):
            log.warning(
                "Request %s: who keeps its answer could not be noted; nobody can go on from it",
                self.inbound.request_id,
            )


def _keeps(target: Target, call: Call, owner: Owner) -> bool:
    """Say whether a target is the owner; any key will do where the owner's own is gone."""
    way = way_of(call.operation, call.ways, target.deployment)
    speaks = target.deployment.provider.adapters.get(way or "")
    return is_at(target, owner) and speaks == call.dialect


def _sized(call: Call, owners: list[Owner]) -> Call:
    """Return the call with the input that it brings along; each kept response counts once."""
    brought = {owner.parent_id: owner.tokens for owner in owners}
    known = [tokens for tokens in brought.values() if tokens is not None]
    if call.unsized not in {*LOOKED_UP, "input"} or len(known) < len(brought):
        return call
    return replace(call, kept_tokens=sum(known), unsized="")


def _owners(attempt: Attempt) -> Iterator[tuple[str, Owner]]:
    """Yield what the provider keeps of an answer: the response first, then the others by id."""
    facts, key = attempt.facts, attempt.target.key
    response, *others = facts.kept
    owner = Owner(
        parent_id=response,
        provider_id=attempt.provider.id,
        key_id=key.id if key else None,
        model=attempt.deployment.name,
        tokens=_tokens(facts),
    )
    for one in (response, *others):
        if not ID.fullmatch(one):
            continue
        if one.startswith("conv"):
            yield one, replace(owner, parent_id=one, model="", tokens=None)
        else:
            yield one, owner


def _tokens(facts: Facts) -> int | None:
    return None if facts.usage is None else facts.usage.input + facts.usage.output


def _files(raw: bytes | dict[str, Any], call: Call) -> set[str]:
    """Return the ids of files that a body names; few do, and those are told by their bytes."""
    if isinstance(raw, bytes) and not any(sign in raw for sign in _FILE_SIGNS):
        return set()
    return files_named({name: value for name, value in call.body.items() if name != "metadata"})


def _field(call: Call, one: str) -> str:
    """Return the field that names an id."""
    body = call.body
    if one not in call.continues:
        return "file_id"
    if body.get("previous_response_id") == one:
        return "previous_response_id"
    return "input" if one in _references(body) else "conversation"


def _references(body: dict[str, Any]) -> set[Any]:
    items = body.get("input")
    held = items if isinstance(items, list) else ()
    return {item.get("id") for item in held if isinstance(item, dict)}
