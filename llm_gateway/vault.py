"""Keep the providers' secrets: sealed, and bound to tenant, row and the origin they were given for.

A secret that was saved for one origin opens for no other, whatever the rows say (security.md §4).
`Provider.save` wipes the secrets of a provider that moved.
"""

from typing import TYPE_CHECKING

from tenants import secrets

if TYPE_CHECKING:
    from llm_gateway.models import ProviderKey

_LAST = 4
# The last four characters of a shorter secret would be too much of it.
_LONG_ENOUGH = 12


def put(key: "ProviderKey", secret: str) -> None:
    """Seal a secret into a row that is saved already, since it is bound to its id, and save it."""
    origin = key.provider.origin
    bound = _bound(key.provider.tenant_id, key.pk, origin)
    key.sealed = secrets.seal(secret.encode(), *bound)
    key.origin = origin
    key.last_four = secret[-_LAST:] if len(secret) >= _LONG_ENOUGH else ""
    key.fingerprint = secrets.fingerprint(secret)
    key.save()


def holds(key: "ProviderKey", secret: str) -> bool:
    """Say whether this secret is in the row already, for the address the provider has now."""
    return (
        key.sealed is not None
        and key.origin == key.provider.origin
        and key.fingerprint == secrets.fingerprint(secret)
    )


def reveal(key: "ProviderKey") -> str:
    """Return a row's secret. Raises SecretError when it has none or its provider moved."""
    if key.sealed is None:
        raise secrets.SecretError("the provider key has no secret; enter it again")
    return open_sealed(
        bytes(key.sealed),
        tenant_id=key.provider.tenant_id,
        row_id=key.pk,
        origin=key.provider.origin,
    )


def open_sealed(sealed: bytes, *, tenant_id: int | None, row_id: int, origin: str) -> str:
    """Return what `put` sealed for these. Raises SecretError."""
    return secrets.unseal(sealed, *_bound(tenant_id, row_id, origin)).decode()


def rewrap(key: "ProviderKey") -> None:
    """Wrap a row's secret with the first master key. Raises SecretError."""
    if key.sealed is not None:
        bound = _bound(key.provider.tenant_id, key.pk, key.origin)
        key.sealed = secrets.rewrap(bytes(key.sealed), *bound)
        key.save(update_fields=["sealed"])


def _bound(tenant_id: int | None, row_id: int, origin: str) -> tuple[str, str, int, str]:
    return ("-" if tenant_id is None else str(tenant_id), "provider_key", row_id, origin)
