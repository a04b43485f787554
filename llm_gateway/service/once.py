"""Run a request that carries an idempotency key once; the same again gets the same answer.

The key is claimed before anything is taken or spent. The answer is kept by the transaction of the
last entry (money.md §10): there is no moment at which it was paid for and can be paid for again.
"""

import hashlib
import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Any

import msgspec
from msgspec import Struct

from llm_gateway.errors import (
    CallerError,
    IdempotencyError,
    IdempotencyInProgressError,
    IdempotencyNotReplayableError,
    InvalidRequestError,
    LedgerUnavailableError,
    OverloadedError,
    RejectedError,
)
from llm_gateway.service.body import parse_body
from llm_gateway.service.inbound import Answer, Headers, Idempotency, Inbound
from llm_gateway.service.runtime import Runtime
from tenants.money import types as money
from tenants.money.claims import Claim, Claimed, Kept
from tenants.secrets import SecretError, seal, unseal
from tenants.types import parse_usd

HEADER = b"idempotency-key"
REPLAYED = (b"x-mobius-replayed", b"true")
MOST_BYTES = 1024 * 1024

_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_COST = "x-mobius-cost-usd"
_OK = 200


class _Refused(Struct):
    """A refusal as it is kept: each door words it anew."""

    message: str
    code: str
    param: str | None
    detail: dict[str, Any]


def idempotency(headers: Mapping[bytes, bytes], path: str, body: bytes) -> Idempotency | None:
    """Return the key of a POST request, if it has one. Raises InvalidRequestError."""
    key = headers.get(HEADER)
    if key is None:
        return None
    return asked_once(key.decode("latin-1"), path, parse_body(body), named="Idempotency-Key")


def asked_once(
    key: object, door: str, asked: Mapping[str, Any], *, named: str = "idempotency_key"
) -> Idempotency:
    """Return a key with the fingerprint of what is asked under it at which door.

    `named` is what the caller calls the key. Raises InvalidRequestError.
    """
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        raise InvalidRequestError(
            f"{named} has to be 1 to 255 visible ASCII characters.", param=named
        )
    said = json.dumps(["POST", door, asked], sort_keys=True, separators=(",", ":"), default=str)
    return Idempotency(key, hashlib.sha256(said.encode()).hexdigest())


def once(runtime: Runtime, inbound: Inbound) -> "Once | None":
    """Return what sees to it that a request runs once; None for one that may run again."""
    caller, wanted = inbound.caller, inbound.idempotency
    if wanted is None:
        return None
    claim = Claim(
        tenant_id=caller.tenant_id,
        # Code that speaks for a tenant without a key: no key has the id it has there.
        api_key_id=-caller.tenant_id if caller.key_id is None else caller.key_id,
        key=wanted.key,
        fingerprint=wanted.fingerprint,
        request_id=inbound.request_id,
    )
    return Once(runtime, claim)


class Once:
    """The idempotency key of one request: claimed, and kept or dropped."""

    def __init__(self, runtime: Runtime, claim: Claim) -> None:
        self._ledger, self._claim = runtime.ledger, claim
        self._ours = False
        self._pieces: list[bytes] = []
        self._size = 0

    async def begin(self, *, stream: bool) -> Answer | None:
        """Claim the key and return None, or the answer that is kept under it.

        Raises IdempotencyError, the refusal that is kept, or what says that nobody can tell.
        """
        try:
            found = await self._ledger.claim(self._claim)
        except money.LedgerUnavailableError:
            raise LedgerUnavailableError(
                "The ledger cannot be written now; nothing was spent.", retry_after_s=2
            ) from None
        except money.LedgerOverloadedError:
            raise OverloadedError(
                "Too many requests wait for the ledger.", retry_after_s=1
            ) from None
        self._ours = found.request_id == self._claim.request_id
        return None if self._ours else self._replay(found, stream=stream)

    def hear(self, piece: bytes) -> None:
        """Remember a piece of a streamed answer, up to what can be kept."""
        self._size += len(piece)
        if self._size <= MOST_BYTES:
            self._pieces.append(piece)
        else:
            self._pieces.clear()

    def answered(self, headers: Headers, last: bytes) -> Kept:
        """Return the answer to keep: what was heard, and its last piece."""
        self.hear(last)
        body = b"".join(self._pieces) if self._size <= MOST_BYTES else None
        return self._kept(_OK, headers, body)

    def refused(self, error: CallerError) -> Kept:
        """Return the provider's own refusal of a request as what is kept."""
        said = _Refused(error.message, error.code, error.param, dict(error.detail))
        return self._kept(error.status, [], msgspec.json.encode(said))

    async def drop(self) -> None:
        """Let the next request under the key run anew."""
        if self._ours:
            self._ours = False
            with suppress(money.LedgerUnavailableError):  # it is done once the ledger is back
                await self._ledger.drop_claim(self._claim)

    def _kept(self, status: int, headers: Headers, body: bytes | None) -> Kept:
        claim = self._claim
        return Kept(
            claim=claim,
            status=status,
            headers=tuple((name.decode(), value.decode()) for name, value in headers),
            body=None if body is None else seal(body, claim.tenant_id, claim.request_id),
        )

    def _replay(self, found: Claimed, *, stream: bool) -> Answer:
        body = self._opened(found)
        headers = [(name.encode(), value.encode()) for name, value in found.headers]
        if found.status != _OK:
            said = msgspec.json.decode(body, type=_Refused)
            raise _again(found.status, said)
        cost_nano = parse_usd(dict(found.headers)[_COST])
        answer = Answer(headers=[*headers, REPLAYED], cost_nano=lambda: cost_nano)
        if stream:
            answer.chunks = _whole(body)
        else:
            answer.body = body
        return answer

    def _opened(self, found: Claimed) -> bytes:
        """Return the answer that is kept. Raises IdempotencyError where there is none."""
        if found.fingerprint != self._claim.fingerprint:
            raise IdempotencyError("The Idempotency-Key was used for another request.")
        if found.state == "running":
            raise IdempotencyInProgressError(
                "The first request with this Idempotency-Key is still running.", retry_after_s=1
            )
        if found.body is not None:
            with suppress(SecretError):  # its master key is gone
                return unseal(found.body, self._claim.tenant_id, found.request_id)
        raise IdempotencyNotReplayableError(
            "The answer to this Idempotency-Key is too large to be given again."
        )


def _again(status: int, said: _Refused) -> RejectedError:
    error = RejectedError(
        said.message, status=status, code=said.code, param=said.param, detail=said.detail
    )
    error.headers = [REPLAYED]
    return error


async def _whole(body: bytes) -> AsyncIterator[bytes]:
    yield body
