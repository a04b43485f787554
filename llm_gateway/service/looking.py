"""Look at what runs in every process, and stop one request, from any of them.

Who looks counts up a number that each process polls anyway, with the version of configuration.
Each then ends what it was asked to stop and writes what it runs as one row; who looks reads the
rows. So nothing is written, or even kept ready, while nobody looks.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec
from asgiref.sync import sync_to_async
from django.db import Error, transaction
from django.db.models import F
from msgspec import Struct

from llm_gateway.errors import PermissionDeniedError
from llm_gateway.models import RunningNow, StopAsked
from llm_gateway.service.inflight import InFlight
from llm_gateway.service.runtime import Runtime
from llm_gateway.service.stops import Stoppable, stops
from tenants import audit
from tenants.models import ConfigVersion, Tenant
from tenants.money.fleet import live_processes

# A process polls every half second. One that has not answered by then has other troubles.
ANSWER_S, LOOK_S = 1.8, 0.05
MOST_TOLD = 500  # of one process, the oldest first

log = logging.getLogger(__name__)


class Seen(Struct, frozen=True):
    """What ran a moment ago: each request with its process, and who did not answer."""

    requests: list[tuple[str, InFlight]]
    silent: list[str]
    left_off: int = 0

    def of(self, tenant_id: int) -> "Seen":
        """Return what is this tenant's own."""
        own = [(process, one) for process, one in self.requests if one.tenant_id == tenant_id]
        return Seen(own, self.silent, self.left_off)


# --- asked, in any process


async def look() -> Seen:
    """Return what runs now, in all processes."""
    number, processes = await sync_to_async(_begin)()
    rows = await _answers(number, processes)
    told = [(row.process, msgspec.convert(one, InFlight)) for row in rows for one in row.requests]
    told.sort(key=lambda each: -each[1].age_s)
    heard = {row.process for row in rows}
    return Seen(told, sorted(processes - heard), sum(row.left_off for row in rows))


async def stop_request(request_id: UUID, actor: str, tenant_id: int | None = None) -> bool:
    """End one request; say whether it ran. With `tenant_id`: if it is that tenant's."""
    asked = StopAsked(request_id=request_id, tenant_id=tenant_id)
    number, processes = await sync_to_async(_begin)(asked)
    try:
        await _answers(number, processes, asked)
    finally:
        ended = await sync_to_async(_conclude)(asked, actor)
    return ended


async def _answers(
    number: int, processes: set[str], asked: StopAsked | None = None
) -> list[RunningNow]:
    """Return what was answered, once all have, or the one that was asked to stop something."""
    until = asyncio.get_running_loop().time() + ANSWER_S
    while True:
        rows = [row async for row in RunningNow.objects.filter(look__gte=number)]
        if processes <= {row.process for row in rows}:
            return rows
        if asked is not None and await StopAsked.objects.filter(pk=asked.pk, ended=True).aexists():
            return rows
        if asyncio.get_running_loop().time() > until:
            return rows
        await asyncio.sleep(LOOK_S)


def _begin(asked: StopAsked | None = None) -> tuple[int, set[str]]:
    """Ask; return the number of the look, and who has to answer."""
    processes = live_processes()
    with transaction.atomic():
        if asked is not None:
            asked.save()
        ConfigVersion.objects.update(looks=F("looks") + 1)
        number = ConfigVersion.objects.values_list("looks", flat=True).get()
    RunningNow.objects.exclude(process__in=processes).filter(look__lt=number).delete()
    return number, processes


def _conclude(asked: StopAsked, actor: str) -> bool:
    """Take back what was asked, and write down that it was done, if it was."""
    with transaction.atomic():
        asked.refresh_from_db()
        asked.delete()
        owner = Tenant.objects.filter(pk=asked.tenant_id or 0).first()
        if asked.ended and owner is not None:
            named = {"request": str(asked.request_id)}
            audit.record(actor, "request stopped", owner, after=named)
    return asked.ended


# --- answered, by each process


def process_name() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


async def answer_looks(runtime: Runtime) -> None:
    """Answer whoever looks, for ever."""
    while True:
        await runtime.snapshot.looked.wait()
        runtime.snapshot.looked.clear()
        try:
            await _answer(runtime, runtime.snapshot.looks)
        except Error as error:
            log.warning("What runs here could not be told: %s", error)
        except Exception:
            log.exception("What runs here could not be told")


async def _answer(runtime: Runtime, number: int) -> None:
    wanted = await runtime.reader.read(lambda: list(StopAsked.objects.filter(ended=False)))
    here = stops(runtime).all()
    ended = end_asked(here, wanted)
    told, left_off = describe(here, runtime.clock())
    await runtime.reader.read(lambda: _write(number, told, left_off, ended))


def end_asked(here: Sequence[Stoppable], wanted: Sequence[StopAsked]) -> list[StopAsked]:
    """End the requests that somebody wants ended and may; return whose they were."""
    running = {one.request_id: one for one in here}
    ended = []
    for asked in wanted:
        one = running.get(asked.request_id)
        if one is not None and asked.tenant_id in {None, one.caller.tenant_id}:
            one.stop(PermissionDeniedError("The request was stopped."))
            asked.tenant_id, asked.ended = one.caller.tenant_id, True
            ended.append(asked)
    return ended


def describe(here: Sequence[Stoppable], now: float) -> tuple[list[Any], int]:
    """Return the oldest as plain values, and how many were left off."""
    oldest = sorted(here, key=lambda one: one.started)
    told = [one.describe(now) for one in oldest[:MOST_TOLD]]
    return [msgspec.to_builtins(one) for one in told], max(0, len(oldest) - MOST_TOLD)


def _write(number: int, told: list[Any], left_off: int, ended: Sequence[StopAsked]) -> None:
    for asked in ended:
        # Not saved: whoever asked may have given up and taken it back.
        StopAsked.objects.filter(pk=asked.pk).update(tenant_id=asked.tenant_id, ended=True)
    RunningNow.objects.update_or_create(
        process=process_name(),
        defaults={"look": number, "requests": told, "left_off": left_off},
    )
