"""Hand on what is asked of a kept object itself: to begin it, show it, stop it, let go of it.

No provider bills that, so it needs no hold and leaves no entry.
"""

from typing import Any
from uuid import UUID

import msgspec
from django.db import Error
from msgspec import Struct

from llm_gateway.errors import (
    GatewayError,
    MissingModelError,
    UpstreamError,
)
from llm_gateway.providers import upstream
from llm_gateway.service import batches
from llm_gateway.service.continuing import ID
from llm_gateway.service.guarding import guarded_bytes
from llm_gateway.service.headers import of_request
from llm_gateway.service.inbound import Answer
from llm_gateway.service.keeper import Owner
from llm_gateway.service.measuring import in_thread
from llm_gateway.service.owned import away, call, chosen, owner_of, unknown
from llm_gateway.service.runtime import Runtime
from llm_gateway.types import Outgoing, ProviderConfig
from tenants.money import types as money
from tenants.types import Caller

_OK = 200


class Asked(Struct, frozen=True, kw_only=True):
    """One request about what is kept; `path` is under the provider's base URL, query included.

    `object_id` None asks for something new, at the provider named or the only one. `ends` says that
    the object is gone afterwards, `content` that what is in it is asked for. `way` is the operation
    of providers that it came to be by, `speaks` the adapter that knows its words, `kind` that of a
    `KeptObject`.
    """

    request_id: UUID
    caller: Caller
    method: str
    path: str
    object_id: str | None
    ends: bool = False
    body: bytes = b""
    provider: str | None = None
    content: bool = False
    way: str
    speaks: Any
    kind: str = ""


async def ask(runtime: Runtime, asked: Asked) -> Answer:
    """Return the provider's answer, under the model's public name. Raises GatewayError."""
    if asked.object_id is None:
        owner = chosen(runtime, asked.caller, asked.way, asked.speaks.name, asked.provider)
        provider = _provider(runtime, owner, asked)
    else:
        owner = await owner_of(runtime, asked.caller, asked.object_id)
        provider = _provider(runtime, owner, asked)
        await _charge(runtime, asked, asked.object_id, owner)
    said = await guarded_bytes(asked.caller, asked.body)
    outgoing = Outgoing(path=asked.path, body=said, headers=provider.quirks.default_headers)
    answer = await call(runtime, provider, owner, asked.way, (asked.method, outgoing))
    if answer.status != _OK:
        raise await _fault(runtime, asked, answer)
    body = await _shown(asked, answer.body, owner.model)
    await _note(runtime, asked, owner, body)
    headers = of_request(asked.request_id)
    headers.append((b"x-mobius-provider", provider.name.encode("ascii", "replace")))
    return Answer(headers=headers, body=body)


async def _shown(asked: Asked, body: bytes, model: str) -> bytes:
    if not asked.content:
        shown: bytes = asked.speaks.shown(body, model=model)
        return shown
    return await in_thread(lambda: asked.speaks.content(body, model=model))


# --- whose it is -------------------------------------------------------------------------------


def _provider(runtime: Runtime, owner: Owner, asked: Asked) -> ProviderConfig:
    provider = runtime.snapshot.current.providers.get(owner.provider_id)
    speaks = provider is not None and provider.adapters.get(asked.way) == asked.speaks.name
    if provider is None or not speaks or owner.kind != asked.kind:
        raise unknown(str(asked.object_id))
    return provider


async def _charge(runtime: Runtime, asked: Asked, batch_id: str, owner: Owner) -> None:
    """Charge a batch that has ended before anybody sees its results, or lets go of them.

    Raises what keeps it from being charged: it is not shown for the bare hold.
    """
    if owner.owed_by is None or asked.method == "POST":
        return
    try:
        await batches.charge(runtime, asked.caller.tenant_id, batch_id, owner)
    except (Error, money.LedgerUnavailableError):
        raise away() from None


# --- what came of it ---------------------------------------------------------------------------


async def _fault(runtime: Runtime, asked: Asked, answer: upstream.Answer) -> GatewayError:
    """Return what a provider's refusal becomes; what it does not know, nobody keeps."""
    error: GatewayError = asked.speaks.parse_error(answer.status, answer.headers, answer.body)
    if not isinstance(error, MissingModelError) or asked.object_id is None:
        return error
    await _forget(runtime, asked.caller, asked.object_id)
    return unknown(asked.object_id)


async def _note(runtime: Runtime, asked: Asked, owner: Owner, body: bytes) -> None:
    """Remember what was begun, forget what has ended."""
    if asked.object_id is not None:
        if asked.ends:
            await _forget(runtime, asked.caller, asked.object_id)
        return
    made = msgspec.json.decode(body).get("id")
    if not isinstance(made, str) or not ID.fullmatch(made):
        raise UpstreamError("The provider gave what it keeps no id.")
    try:
        await runtime.keeper.keep(
            asked.caller.tenant_id, [(made, msgspec.structs.replace(owner, parent_id=made))]
        )
    except Error:
        raise away() from None


async def _forget(runtime: Runtime, caller: Caller, object_id: str) -> None:
    try:
        await runtime.keeper.forget(caller.tenant_id, object_id)
    except Error:
        raise away() from None
