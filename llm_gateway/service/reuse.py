"""Answer a request by what its tenant was answered before, or is being answered now.

The name of a request covers everything that can change its answer, the tenant first. Whole and
streamed answers stand for each other; errors and answers that were cut short are never kept.
"""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Literal

from llm_gateway.adapters import CHAT_ADAPTERS, sse
from llm_gateway.errors import GatewayError
from llm_gateway.guardrails.guard import guard_of
from llm_gateway.response_cache import Entry, key_of
from llm_gateway.routing.router import Plan
from llm_gateway.service.flights import Flight
from llm_gateway.service.inbound import Answer, Headers, Inbound, Unfinished
from llm_gateway.service.runtime import Runtime
from llm_gateway.service.settling import hit_entry
from llm_gateway.types import Call, Event
from tenants.types import usd

if TYPE_CHECKING:
    from llm_gateway.service.attempt import Attempt

CacheWord = Literal["off", "miss", "hit"]


def reuse(runtime: Runtime, inbound: Inbound) -> "Reuse | None":
    """Return what finds and keeps the answer; None where the tenant wants neither."""
    caller, asked = inbound.caller, inbound.controls.cache
    # An answer that is judged and mended is made of several: only its parts could be kept.
    if inbound.expects is not None or not (caller.cache_seconds or caller.single_flight):
        return None
    return Reuse(
        runtime,
        inbound,
        looks=bool(caller.cache_seconds) and asked != "no-cache",
        keeps=bool(caller.cache_seconds) and asked != "no-store",
        joins=caller.single_flight and asked is None,
    )


class Reuse:
    """The reuse of one request: begun before its first attempt, closed with it."""

    def __init__(
        self, runtime: Runtime, inbound: Inbound, *, looks: bool, keeps: bool, joins: bool
    ) -> None:
        self._runtime, self._inbound = runtime, inbound
        self._looks, self._keeps, self._joins = looks, keeps, joins
        self._key = ""
        self._flight = Flight()  # of our own answer; others hear it where it is announced
        self.found: Entry | None = None
        self.state: CacheWord = "miss" if inbound.caller.cache_seconds else "off"

    @property
    def shared(self) -> bool:
        """Say whether others hear our answer too, or wait for it."""
        return self._flight.joined

    async def begin(self, call: Call, plan: Plan) -> Answer | None:
        """Return an answer that is there or on its way; None makes this request the one to call."""
        self._key = self._name(call, plan)
        if self._looks:
            entry = await self._runtime.response_cache.get(
                self._key, self._inbound.caller.tenant_id
            )
            if entry is not None and (body := self._in_form(entry, call)) is not None:
                return self._answer(entry, call, body)
        while self._joins and (flight := self._runtime.flights.running(self._key)) is not None:
            answer = await self._join(flight, call)
            if answer is not None:
                return answer
        if self._joins:
            self._flight.streamed, self._flight.wants_usage = call.stream, call.wants_usage
            self._runtime.flights.announce(self._key, self._flight)
        return None

    def hear(self, piece: bytes) -> None:
        """Take a piece of the streamed answer in, before its caller gets it."""
        self._flight.hear(piece)

    def answered(
        self, attempt: "Attempt", call: Call, last: bytes, cost_nano: int, *, lasting: bool
    ) -> None:
        """Keep the answer of an attempt that is settled; `last` is what was not heard yet.

        One that is not `lasting` is for those who hear it now.
        """
        self.hear(last)
        body = self._flight.heard
        if body is None or not attempt.whole:
            return
        caller = self._inbound.caller
        entry = Entry(
            request_id=self._inbound.request_id,
            tenant_id=caller.tenant_id,
            until=self._runtime.wall_clock() + caller.cache_seconds,
            body=body,
            streamed=call.stream,
            wants_usage=call.wants_usage,
            model=attempt.deployment.name,
            provider=attempt.provider.name,
            cost_nano=cost_nano,
        )
        if self._keeps and lasting:
            self._runtime.response_cache.put(self._key, entry)
        self._runtime.flights.land(self._key, self._flight, entry)

    def close(self) -> None:
        """Let those who wait for us go their own way, unless they have our answer."""
        self._runtime.flights.land(self._key, self._flight, None)

    def _name(self, call: Call, plan: Plan) -> str:
        inbound = self._inbound
        caller, controls = inbound.caller, inbound.controls
        # Where it may go, by what: a route that leads elsewhere now gives other answers.
        ways = sorted({(t.deployment.id, t.deployment.upstream_name) for t in plan.attempts})
        words = [
            inbound.door.name,
            call.operation,
            inbound.passed_on,
            controls.strategy,
            controls.provider,
            controls.further,
            ways,
            guard_of(caller.guardrails).version if caller.guardrails else "",
        ]
        return key_of(
            caller.tenant_id, caller.project_id, caller.cache_generation, words, call.body
        )

    async def _join(self, flight: Flight, call: Call) -> Answer | None:
        """Return the answer of a running request; None where it failed before it began."""
        flight.joined = True
        alike = call.stream and flight.streamed and call.wants_usage == flight.wants_usage
        if alike:
            await flight.until_begun()
            if flight.begun:
                return self._following(flight)
        else:
            await flight.until_over()
        if flight.entry is None:
            return None
        body = self._in_form(flight.entry, call)
        return None if body is None else self._answer(flight.entry, call, body)

    def _following(self, flight: Flight) -> Answer:
        self.state = "hit"
        return Answer(headers=self._headers(None), chunks=self._followed(flight))

    async def _followed(self, flight: Flight) -> AsyncIterator[bytes]:
        inbound = self._inbound
        try:
            async for piece in flight.pieces():
                yield piece
        except GatewayError as error:
            yield inbound.door.render_stream_error(error, request_id=str(inbound.request_id))
            raise Unfinished from None
        if flight.entry is not None:
            self._note(flight.entry)

    def _answer(self, entry: Entry, call: Call, body: bytes) -> Answer:
        self.state = "hit"
        self._note(entry)
        answer = Answer(headers=self._headers(entry))
        if call.stream:
            answer.chunks = _whole(body)
        else:
            answer.headers.append((b"x-mobius-cost-usd", usd(0).encode()))
            answer.body = body
        return answer

    def _headers(self, entry: Entry | None) -> Headers:
        request_id = str(self._inbound.request_id).encode()
        headers = [(b"x-request-id", request_id), (b"request-id", request_id)]
        if entry is not None:
            headers += [
                (b"x-mobius-model", entry.model.encode("ascii", "replace")),
                (b"x-mobius-provider", entry.provider.encode("ascii", "replace")),
            ]
        return [*headers, (b"x-mobius-attempts", b"0"), (b"x-mobius-cache", b"hit")]

    def _in_form(self, entry: Entry, call: Call) -> bytes | None:
        """Return the answer as this request wants it; None where it cannot be put so."""
        alike = entry.streamed == call.stream
        if alike and (not call.stream or entry.wants_usage == call.wants_usage):
            return entry.body
        door = CHAT_ADAPTERS.get(self._inbound.door.name)
        if door is None:
            return None
        events = _events(door, entry)
        named: dict[str, Any] = {
            "model": entry.model,
            "request_id": str(entry.request_id),
            "created": int(self._runtime.wall_clock()),
        }
        if not call.stream:
            return door.render_answer(events, call, **named)
        writer = door.writer(call, **named)
        return b"".join([*map(writer.feed, events), writer.end()])

    def _note(self, entry: Entry) -> None:
        """Have the ledger say that this answer cost nothing, and what it saved."""
        self.found = entry
        caller, inbound = self._inbound.caller, self._inbound
        self._runtime.ledger.note_soon(
            hit_entry(
                inbound.request_id,
                caller,
                entry.model,
                inbound.controls.tags,
                saved_nano=entry.cost_nano,
            )
        )


def _events(door: Any, entry: Entry) -> list[Event]:  # noqa: ANN401 - a ChatAdapter, which is a module
    if not entry.streamed:
        events: list[Event] = door.read_answer(entry.body)[0]
        return events
    reader, frames = door.reader(), sse.Framer().feed(entry.body)
    return [event for frame in (*frames, b"") for event in reader.feed(frame)]


async def _whole(body: bytes) -> AsyncIterator[bytes]:
    yield body
