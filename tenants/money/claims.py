"""Idempotency keys as the ledger keeps them: who claimed one, and what was answered under it.

A claim and its answer name their request: what is left of an earlier request changes nothing.
"""

from typing import Literal
from uuid import UUID

from msgspec import Struct

ClaimState = Literal["running", "done", "unreplayable"]

# Api key and the key its caller chose.
ClaimKey = tuple[int, str]


class Claim(Struct, frozen=True, kw_only=True):
    """A wish to be the one request under a key; `fingerprint` says what it asks."""

    tenant_id: int
    api_key_id: int
    key: str
    fingerprint: str
    request_id: UUID

    @property
    def place(self) -> ClaimKey:
        return self.api_key_id, self.key


class Claimed(Struct, frozen=True, kw_only=True):
    """What stands under a key: the claim of `request_id`, with its answer once it is done."""

    request_id: UUID
    fingerprint: str
    state: ClaimState
    status: int = 0
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None


class Kept(Struct, frozen=True, kw_only=True):
    """The answer under a claim; without a body (sealed) it cannot be replayed."""

    claim: Claim
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes | None

    @property
    def state(self) -> ClaimState:
        return "unreplayable" if self.body is None else "done"
