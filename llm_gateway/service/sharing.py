"""Send small embeddings calls that come at once as one: of one tenant, deployment and key alone.

Each keeps its own hold and entry. The provider's usage is split by what each asked (money.md §11).
"""

import asyncio
import logging
from contextlib import suppress
from copy import copy
from functools import cache
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct
from typing_extensions import override

from llm_gateway.errors import DeadlineError, GatewayError
from llm_gateway.service.attempt import Attempt
from llm_gateway.service.runtime import Runtime
from llm_gateway.types import Batching, Call, Facts, Usage
from tenants.money import types as money

if TYPE_CHECKING:
    from llm_gateway.adapters.base import EmbeddingsAdapter

log = logging.getLogger(__name__)
_encode = msgspec.json.Encoder(order="deterministic").encode


class Part(Struct, frozen=True):
    """What one call gets of a shared answer."""

    body: bytes
    facts: Facts


class SharedAttempt(Attempt):
    """An attempt whose call may be made together with others; all else of it is its own."""

    @override
    async def _call(self, deadline: float) -> None:
        batching = self.deployment.batching
        assert batching is not None  # noqa: S101 - who makes one looks
        gathering = gatherings(self.runtime).join(self, batching, deadline)
        try:
            async with asyncio.timeout(max(0.0, deadline - self.runtime.clock())):
                part = await asyncio.shield(gathering.part_of(self))
        except (TimeoutError, asyncio.CancelledError) as error:
            if gathering.left_before_it_went(self):
                self.facts.usage = Usage()  # nothing was sent for it, so it costs nothing
            if isinstance(error, TimeoutError):
                raise DeadlineError("The deadline of the request has passed.") from None
            raise
        self._token_seen()
        self.tail, self.facts = part.body, part.facts

    @property
    def likeness(self) -> bytes:
        """Name everything in which calls that are made together have to be equal."""
        inbound = self.inbound
        door: EmbeddingsAdapter = inbound.door
        key = self.target.key.id if self.target.key else None
        who = [inbound.caller.tenant_id, self.deployment.id, key, door.name]
        patience = self.timeouts.patience
        return _encode([who, inbound.passed_on, patience, door.likeness(self.call)])


class _Carrier(Attempt):
    """The one call in the name of all: it has no hold or entry besides theirs."""

    async def carry(self, hold: money.Hold, deadline: float) -> tuple[bytes, Facts]:
        self.hold = hold
        self.outgoing = self._addressed(self._render())
        try:
            await self._call(deadline)
        finally:
            if self._upstream is not None:
                await self._upstream.close()
        return self.head + self.tail, self.facts


class Gathering:
    """Calls that wait for company, until they are enough or the first has waited long enough."""

    def __init__(self, batching: Batching) -> None:
        self._batching = batching
        self._waiting: dict[SharedAttempt, asyncio.Future[Part]] = {}
        self._deadline = 0.0
        self._full = asyncio.Event()
        self.gone = False

    def add(self, attempt: SharedAttempt, deadline: float) -> None:
        self._waiting[attempt] = asyncio.get_running_loop().create_future()
        self._deadline = max(self._deadline, deadline)
        if sum(one.call.items for one in self._waiting) >= self._batching.inputs:
            self.gone = True
            self._full.set()

    def part_of(self, attempt: SharedAttempt) -> "asyncio.Future[Part]":
        return self._waiting[attempt]

    def left_before_it_went(self, attempt: SharedAttempt) -> bool:
        """Take out a call whose caller left; say whether that was in time."""
        if self.gone:
            return False
        del self._waiting[attempt]
        return True

    async def carry(self) -> None:
        """Wait for company, make the call and give each its part, or what went wrong."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._full.wait(), self._batching.wait)
        self.gone = True
        together = list(self._waiting)
        if not together:
            return
        try:
            parts = await self._parts(together)
        except GatewayError as error:
            self._fail(error)
        except Exception:
            log.exception("A shared embeddings call failed")
            self._fail(GatewayError("Something went wrong on our side."))
        else:
            for attempt, part in zip(together, parts, strict=True):
                self._waiting[attempt].set_result(part)

    async def _parts(self, together: list[SharedAttempt]) -> list[Part]:
        first = together[0]
        door: EmbeddingsAdapter = first.inbound.door
        calls = [attempt.call for attempt in together]
        merged: Call = door.merge(calls) if len(calls) > 1 else calls[0]
        carrier = _Carrier(first.runtime, first.inbound, merged, first.target, first.number)
        carrier.timeouts = first.timeouts
        assert first.hold is not None  # noqa: S101 - taken before an attempt calls
        body, facts = await carrier.carry(first.hold, self._deadline)
        if len(calls) == 1:
            return [Part(body, facts)]
        return [
            Part(own, msgspec.structs.replace(facts, usage=usage))
            for own, usage in door.cut(body, calls, facts.usage)
        ]

    def _fail(self, error: GatewayError) -> None:
        for future in self._waiting.values():
            future.set_exception(copy(error))  # each request adds its own id to its own
            future.exception()  # nobody hears it where the caller has left


class Gatherings:
    """The gatherings of one process, by what their calls have in common."""

    def __init__(self) -> None:
        self._open: dict[bytes, Gathering] = {}
        self._carried: set[asyncio.Task[Any]] = set()

    def join(self, attempt: SharedAttempt, batching: Batching, deadline: float) -> Gathering:
        likeness = attempt.likeness
        gathering = self._open.get(likeness)
        if gathering is None or gathering.gone:
            gathering = self._open[likeness] = Gathering(batching)
            task = asyncio.create_task(gathering.carry(), name="shared embeddings call")
            self._carried.add(task)
            task.add_done_callback(lambda done: self._ended(done, likeness, gathering))
        gathering.add(attempt, deadline)
        return gathering

    def _ended(self, task: asyncio.Task[Any], likeness: bytes, gathering: Gathering) -> None:
        self._carried.discard(task)
        if self._open.get(likeness) is gathering:
            del self._open[likeness]


@cache
def gatherings(runtime: Runtime) -> Gatherings:
    del runtime  # one for each
    return Gatherings()
