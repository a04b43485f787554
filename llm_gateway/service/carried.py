"""Carry one request to its end, whoever still waits for it: what was begun is billed (money.md §8).

For doors whose own task may be cancelled at any time. Each step runs in a task that cancellation
does not reach; when the door closes early, the rest is read on in the background.
"""

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any, Self, TypeVar

from msgspec.structs import replace

from llm_gateway import service
from llm_gateway.scope import Scope
from llm_gateway.service.inbound import Answer, Inbound, Unfinished
from llm_gateway.service.runtime import Runtime

# Under this name the ASGI scope holds the `Scope` of a request that goes through Django.
CLOSING = "mobius.closing"

# What still reads on when the process stops has this long; the ledger's recovery does the rest.
LAST_SECONDS = 5.0

Result = TypeVar("Result")
_reading_on: set[asyncio.Task[None]] = set()


async def read_to_the_end() -> None:
    """Wait for what is read on in the background, before what it needs is closed."""
    if _reading_on:
        await asyncio.wait(set(_reading_on), timeout=LAST_SECONDS)


class Carried:
    """One request: `answer()` first, then its chunks; `end` belongs into the door's scope."""

    def __init__(self, runtime: Runtime, inbound: Inbound) -> None:
        self._runtime = runtime
        self._left = False
        self._inbound = replace(inbound, has_left=lambda: self._left)
        self._scope = Scope()
        self._step: asyncio.Future[Any] | None = None
        self._answer: Answer | None = None
        self._over = False

    async def answer(self) -> Answer:
        """Return the answer. Raises GatewayError."""
        return await self._uncancelled(self._ask())

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        """Return the next chunk. Raises Unfinished where the stream broke."""
        if self._over:
            raise StopAsyncIteration
        return await self._uncancelled(self._next())

    async def end(self) -> None:
        """Close what the request opened: at once where it is over, else when it is."""
        if self._over or self._step is None:
            async with self._scope:
                return
        self._left = True
        task = asyncio.create_task(self._read_on(self._step), name="reading on")
        _reading_on.add(task)
        task.add_done_callback(_reading_on.discard)

    async def _uncancelled(self, step: Awaitable[Result]) -> Result:
        self._step = asyncio.ensure_future(step)
        return await asyncio.shield(self._step)

    async def _ask(self) -> Answer:
        try:
            answer = await service.answer(self._runtime, self._inbound, self._scope)
        except BaseException:
            self._over = True
            raise
        self._answer, self._over = answer, answer.chunks is None
        return answer

    async def _next(self) -> bytes:
        assert self._answer is not None  # noqa: S101 - `answer` comes first
        assert self._answer.chunks is not None  # noqa: S101 - else it is over
        try:
            return await anext(self._answer.chunks)
        except BaseException:
            self._over = True
            raise

    async def _read_on(self, step: asyncio.Future[Any]) -> None:
        async with self._scope:
            self._gone()
            await asyncio.wait([step])
            self._gone()
            with suppress(Unfinished):
                async for _ in self:
                    pass

    def _gone(self) -> None:
        if self._answer is not None and not self._over:
            self._answer.on_gone()
