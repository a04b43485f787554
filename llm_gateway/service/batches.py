"""Charge a batch what it used, once its results are there: when it is asked for, or by itself.

Until then the ledger has it down for all that it may cost.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec
from django.db import Error
from msgspec import Struct
from msgspec.structs import replace

from llm_gateway.adapters import anthropic_batches, openai_batches
from llm_gateway.errors import GatewayError
from llm_gateway.price_book import batch_cost
from llm_gateway.price_book.corrected_log import show_corrections
from llm_gateway.service.keeper import FILE, Owing, Owner
from llm_gateway.service.owned import call
from llm_gateway.types import Outgoing, ProviderConfig, Usage
from tenants.money.types import LedgerUnavailableError

if TYPE_CHECKING:
    from llm_gateway.service.runtime import Runtime

WAY = "batches"
LOOK_EVERY_S = 5.0
# A batch is looked at again after a tenth of its age.
PART_OF_AGE = 0.1
LONGEST_PAUSE_S = 600.0
_OK = 200
# Who speaks of batches.
_SPOKEN: Mapping[str, Any] = {one.name: one for one in (anthropic_batches, openai_batches)}

log = logging.getLogger(__name__)


async def charge(
    runtime: "Runtime", tenant_id: int, batch_id: str, owner: Owner
) -> Mapping[str, Any] | None:
    """Charge what a batch used if it has ended; return it as it stands now.

    None where nothing is owed. Raises GatewayError, django.db.Error or LedgerUnavailableError; then
    it is tried again.
    """
    provider = runtime.snapshot.current.providers.get(owner.provider_id)
    speaks = _SPOKEN.get(provider.adapters.get(WAY, "")) if provider else None
    if owner.owed_by is None or provider is None or speaks is None:
        return None
    asking = _Asking(runtime, provider, owner, speaks)
    batch = await asking.get(speaks.path_of(batch_id))
    shown: Mapping[str, Any] = msgspec.json.decode(speaks.shown(batch, model=owner.model))
    if not speaks.ended(batch):
        return shown
    results = [await asking.get(path) for path in speaks.results(batch)]
    used = await asyncio.to_thread(
        lambda: [one for result in results for one in speaks.used(batch, result)]
    )
    kept = [await asking.file(file_id) for file_id in speaks.files(batch)]
    await _correct(runtime, owner.owed_by, used)
    about = {"object": shown} if owner.kind else None
    settled = replace(owner, owed_by=None, about=about)
    await runtime.keeper.keep(tenant_id, [*kept, (batch_id, settled)])
    return shown


async def _correct(runtime: "Runtime", request_id: UUID, used: Sequence[Usage]) -> None:
    configuration = runtime.snapshot.current.configuration
    entry = await runtime.reader.read(
        lambda: batch_cost.correction(request_id, used, configuration)
    )
    if entry is None:
        log.warning("The batch of request %s stays charged as it was held", request_id)
        return
    await runtime.ledger.correct(entry)
    await runtime.reader.read(lambda: show_corrections([request_id]))


class _Asking(Struct, frozen=True):
    """Who is asked about a batch, and in whose words."""

    runtime: "Runtime"
    provider: ProviderConfig
    owner: Owner
    speaks: Any

    async def get(self, path: str) -> bytes:
        outgoing = Outgoing(path=path, body=b"", headers=self.provider.quirks.default_headers)
        answer = await call(self.runtime, self.provider, self.owner, WAY, ("GET", outgoing))
        if answer.status != _OK:
            raise self.speaks.parse_error(answer.status, answer.headers, answer.body)
        return answer.body

    async def file(self, file_id: str) -> tuple[str, Owner]:
        """Return a file that came of the batch, and who keeps it."""
        told = await self.get(f"{openai_batches.FILES}/{file_id}")
        return file_id, filed(self.owner, *openai_batches.parse_file(told))


def filed(owner: Owner, file_id: str, shown: Mapping[str, Any], **about: object) -> Owner:
    """Return who keeps a file: whoever keeps what it belongs to."""
    expires = shown.get("expires_at")
    return replace(
        owner,
        parent_id=file_id,
        kind=FILE,
        about={"object": shown, **about},
        expires_at=datetime.fromtimestamp(expires, UTC) if type(expires) is int else None,
        owed_by=None,
    )


async def watch(runtime: "Runtime") -> None:
    """Charge batches that nobody asks for, for as long as the process lives."""
    while True:
        await asyncio.sleep(LOOK_EVERY_S)
        try:
            await _look_at_all(runtime)
        except Error as error:
            log.warning("Batches cannot be looked at now: %s", type(error).__name__)


async def _look_at_all(runtime: "Runtime") -> None:
    for owing in await runtime.keeper.owing():
        if is_due(owing, datetime.now(UTC)) and await runtime.keeper.look_at(owing):
            await _look(runtime, owing)


def is_due(owing: Owing, now: datetime) -> bool:
    """Say whether a batch is looked at again: seldom, if it has run for long."""
    assert owing.owner.owed_by is not None  # noqa: S101 - what owing means
    begun = (owing.owner.owed_by.int >> 80) / 1000
    age_s = owing.seen_at.timestamp() - begun
    pause_s = min(max(age_s * PART_OF_AGE, LOOK_EVERY_S), LONGEST_PAUSE_S)
    return (now - owing.seen_at).total_seconds() >= pause_s


async def _look(runtime: "Runtime", owing: Owing) -> None:
    try:
        await charge(runtime, owing.tenant_id, owing.object_id, owing.owner)
    except Error:
        raise
    except (GatewayError, LedgerUnavailableError) as error:
        log.warning("What the batch of request %s used is not known yet: %s",
                    owing.owner.owed_by, error)  # fmt: skip
    except Exception:  # one batch keeps no other from being charged
        log.exception("The batch of request %s cannot be charged", owing.owner.owed_by)
