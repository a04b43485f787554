"""Find the provider that keeps something of a tenant's, and call it by the key it came to be with.

What is another tenant's is unknown, in the same words as what never was.
"""

from typing import TYPE_CHECKING

from django.db import Error

from llm_gateway.errors import (
    InvalidRequestError,
    LedgerUnavailableError,
    NotFoundError,
    UpstreamError,
)
from llm_gateway.providers import upstream
from llm_gateway.providers.addresses import AddressError
from llm_gateway.service.keeper import Owner
from llm_gateway.types import KeyConfig, Outgoing, ProviderConfig, Target
from tenants.types import Caller

if TYPE_CHECKING:
    from llm_gateway.service.runtime import Runtime


async def owner_of(
    runtime: "Runtime", caller: Caller, object_id: str, *, param: str | None = None
) -> Owner:
    """Return who keeps an object for this tenant. Raises NotFoundError."""
    try:
        found = await runtime.keeper.owners(caller.tenant_id, [object_id])
    except Error:
        raise away() from None
    if object_id not in found:
        raise unknown(object_id, param=param)
    return found[object_id]


def chosen(runtime: "Runtime", caller: Caller, way: str, speaks: str, named: str | None) -> Owner:
    """Return the one provider that can keep something new for this tenant, by its first key.

    It speaks a protocol in one of its operations. Raises InvalidRequestError.
    """
    able = [
        one
        for one in runtime.snapshot.current.providers.values()
        if one.adapters.get(way) == speaks and one.tenant_id in {None, caller.tenant_id}
    ]
    fitting = [one for one in able if named in {None, one.name}]
    if len(fitting) == 1:
        (provider,) = fitting
        key_id = provider.keys[0].id if provider.keys else None
        return Owner(parent_id="", provider_id=provider.id, key_id=key_id)
    names = ", ".join(sorted(one.name for one in able)) or "none"
    raise InvalidRequestError(
        f"Name the provider that is to keep it in x-mobius-provider; there are: {names}.",
        param="x-mobius-provider",
    )


def is_at(target: Target, owner: Owner) -> bool:
    """Say whether a target is at the owner; any key will do where the owner's own is gone."""
    provider = target.deployment.provider
    if provider.id != owner.provider_id:
        return False
    keys = {key.id for key in provider.keys}
    return target.key is None or owner.key_id not in keys or target.key.id == owner.key_id


def unknown(object_id: str, *, param: str | None = None) -> NotFoundError:
    return NotFoundError(
        f"Nothing is kept under the id {object_id[:128]!r}: it is unknown, has expired, or came"
        " from a provider that keeps nothing.",
        param=param,
    )


def away() -> LedgerUnavailableError:
    return LedgerUnavailableError("It cannot be looked up now who keeps it.", retry_after_s=2)


def key_of(provider: ProviderConfig, owner: Owner) -> KeyConfig | None:
    """Return the owner's key; any other of the provider where that is gone."""
    own = [key for key in provider.keys if key.id == owner.key_id]
    return next(iter(own or provider.keys), None)


async def call(
    runtime: "Runtime",
    provider: ProviderConfig,
    owner: Owner,
    way: str,
    asked: tuple[str, Outgoing],
) -> upstream.Answer:
    """Return what the provider answers to a method and a path; it bills neither."""
    try:
        endpoint = runtime.endpoint(provider, provider.adapters[way])
    except AddressError as error:
        raise UpstreamError(f"Provider {provider.name}: {error}") from None
    key = key_of(provider, owner)
    credential = runtime.keyring.credential(key.id) if key else None
    method, outgoing = asked
    return await runtime.egress.free_call(endpoint, method, outgoing, credential, provider.timeouts)
