"""Keep rates in Redis for all processes; with it away, keep this process' share of them."""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from typing_extensions import override

from tenants.limits.local import LocalBook
from tenants.limits.pipe import AwayError, Pipe
from tenants.limits.plan import Answer, Book, Plan, State, Ticket

RENEW_AT_ONCE = 200


@cache
def script() -> str:
    return (Path(__file__).parent.parent / "lua" / "rates.lua").read_text()


class SharedBook(Book):
    """`clock` None is Redis' own clock; a test may give milliseconds instead."""

    def __init__(self, url: str, own: LocalBook, clock: Callable[[], int] | None = None) -> None:
        self._pipe = Pipe(url, script())
        self._own = own
        self._clock = clock

    @property
    @override
    def state(self) -> State:
        return "redis" if self._pipe.up else "away"

    @property
    @override
    def lost(self) -> int:
        """Settles and renewals that may not have reached Redis."""
        return self._pipe.lost

    @override
    async def start(self) -> None:
        await self._pipe.start()

    @override
    async def take(self, plan: Plan, request_id: str, tokens: int) -> Answer:
        # Else a limit used up before and beside Redis could be used up a third time in its window.
        own = await self._own.take(plan, request_id, tokens) if self._pipe.forgot else None
        if own is not None and own.numbers[0]:
            return own
        values = [bound.value for bound in plan.bounds]
        arguments = self._arguments("take", plan, request_id, tokens, *values)

        def undo(numbers: list[int]) -> None:
            if not numbers[0]:
                answer = Answer(plan=plan, numbers=numbers, book=self)
                self.give(_ticket(answer, request_id, tokens), requests=1, tokens=tokens)

        try:
            numbers = await self._pipe.call(arguments, undo)
        except AwayError:
            return own or await self._own.take(plan, request_id, tokens)
        if own is not None and numbers[0]:
            self._own.give(_ticket(own, request_id, tokens), requests=1, tokens=tokens)
        return Answer(plan=plan, numbers=numbers, book=self)

    @override
    async def read(self, plan: Plan) -> Answer:
        try:
            numbers = await self._pipe.call(self._arguments("read", plan), _nothing)
        except AwayError:
            return await self._own.read(plan)
        return Answer(plan=plan, numbers=numbers, book=self)

    @override
    def give(self, ticket: Ticket, *, requests: int, tokens: int) -> None:
        if self._pipe.forgot:
            # Its slot here as well; the seconds of Redis name none of ours, so units stay booked.
            self._own.give(ticket, requests=requests, tokens=tokens)
        plan, second = ticket.plan, ticket.second
        self._pipe.send(self._arguments("give", plan, ticket.request_id, second, requests, tokens))

    @override
    def renew(self, tickets: Sequence[Ticket]) -> None:
        """Lease again what is still running, in Redis and in the process."""
        self._own.renew([ticket for ticket in tickets if ticket.book is self._own])
        slots = [
            (key, ticket.request_id)
            for ticket in tickets
            if ticket.book is self
            for key, letter in zip(ticket.plan.keys, ticket.plan.letters, strict=True)
            if letter == "c"
        ]
        for start in range(0, len(slots), RENEW_AT_ONCE):
            keys, ids = zip(*slots[start : start + RENEW_AT_ONCE], strict=True)
            self._pipe.send((len(keys), *keys, "renew", "", self._now(), *ids))

    @override
    async def close(self) -> None:
        await self._pipe.close()

    def _now(self) -> str | int:
        return "" if self._clock is None else self._clock()

    def _arguments(self, operation: str, plan: Plan, *rest: str | int) -> tuple[str | int, ...]:
        return (len(plan.keys), *plan.keys, operation, plan.letters, self._now(), *rest)


def _ticket(answer: Answer, request_id: str, tokens: int) -> Ticket:
    return Ticket(
        request_id=request_id,
        plan=answer.plan,
        tokens=tokens,
        second=answer.numbers[2],
        book=answer.book,
    )


def _nothing(_: object) -> None:
    """Undo a reading, which booked nothing."""
