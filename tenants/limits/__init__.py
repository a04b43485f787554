"""Admit requests under rates: all of a request's limits fit, or nothing is booked."""

import asyncio
import time
from collections.abc import Callable, Sequence
from weakref import WeakSet

from tenants.limits.local import LocalBook
from tenants.limits.plan import (
    Book,
    Decision,
    Kind,
    Meter,
    Ticket,
    decide,
    meters,
    plan_of,
    tighter,
)
from tenants.types import RateRule

__all__ = ["Decision", "Kind", "Limits", "Meter", "Ticket", "make_limits", "tighter"]

RENEW_EVERY_S = 10.0
UNLIMITED = Decision(allowed=True)


class Limits:
    """Requests, tokens and concurrency of one process, over a back end. One event loop's.

    `installation` is whose counters these are: others may share the back end.
    """

    def __init__(self, installation: str, book: Book) -> None:
        self._installation, self.book = installation, book
        # A ticket that nobody holds any longer is not renewed: its slots end with their lease.
        self._running: WeakSet[Ticket] = WeakSet()
        self._renewing: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connect; the first call does so otherwise. Never fails: `book.state` says how."""
        await self.book.start()

    async def admit(
        self, tenant_id: int, request_id: str, rules: Sequence[RateRule], tokens: int
    ) -> Decision:
        """Book one request, its tokens and a slot in every bound of `rules`, or nothing at all.

        `tokens` is an upper bound of what will be used.
        """
        plan = plan_of(self._installation, tenant_id, tuple(rules))
        if not plan.bounds:
            return UNLIMITED
        if self._renewing is None:
            self._renewing = asyncio.create_task(self._renew_for_ever(), name="limits renewal")
        answer = await self.book.take(plan, request_id, tokens)
        if answer.numbers[0]:
            return decide(answer, None)
        ticket = Ticket(
            request_id=request_id,
            plan=answer.plan,
            tokens=tokens,
            second=answer.numbers[2],
            book=answer.book,
        )
        if plan.has_slots:
            self._running.add(ticket)
        return decide(answer, ticket)

    async def settle(self, ticket: Ticket | None, tokens_used: int) -> None:
        """End a request: its slot is free, its tokens are what it used. The second call is idle."""
        if ticket is not None and self._closed(ticket):
            ticket.book.give(ticket, requests=0, tokens=ticket.tokens - tokens_used)

    async def refund(self, ticket: Ticket | None) -> None:
        """Take a request back that was refused later: request, tokens and slot are free again."""
        if ticket is not None and self._closed(ticket):
            ticket.book.give(ticket, requests=1, tokens=ticket.tokens)

    async def status(self, tenant_id: int, rules: Sequence[RateRule]) -> list[Meter]:
        """Return a meter for every bound of `rules`, in their order."""
        plan = plan_of(self._installation, tenant_id, tuple(rules))
        return meters(await self.book.read(plan)) if plan.bounds else []

    def renew(self) -> None:
        """Lease the slots of every running request again."""
        self.book.renew(list(self._running))

    async def close(self) -> None:
        if self._renewing is not None:
            self._renewing.cancel()
        await self.book.close()

    def _closed(self, ticket: Ticket) -> bool:
        was_open, ticket.open = ticket.open, False
        self._running.discard(ticket)
        return was_open

    async def _renew_for_ever(self) -> None:
        while True:
            await asyncio.sleep(RENEW_EVERY_S)
            self.renew()


def make_limits(redis_url: str, installation: str, live_processes: Callable[[], int]) -> Limits:
    """Return limits over Redis, or in the process where `redis_url` is empty."""
    own = LocalBook(time.monotonic, live_processes)
    if not redis_url:
        return Limits(installation, own)
    from tenants.limits.shared import SharedBook  # noqa: PLC0415 - Redis' client is an extra

    return Limits(installation, SharedBook(redis_url, own))
