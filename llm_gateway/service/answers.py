"""Turn what an upstream answers into what the caller gets; the end of an answer is kept back.

Where the bytes were cut makes no difference: what stands before an error is passed on, and behind
the last word nothing is read any more.

Four ways, one shape: `feed(chunk)` gives bytes the caller may have now, `tail` what it may have
only after the ledger's commit. Same dialect: relayed. Otherwise: events cross over.
"""

from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Protocol

from msgspec import Struct

from llm_gateway.adapters.base import EventWriter, Relay
from llm_gateway.adapters.framing import Framing
from llm_gateway.errors import ContentBlockedError, GatewayError
from llm_gateway.guardrails.answers import AnswerGuard
from llm_gateway.types import Call, Event, Facts, Finish, Usage, UsageSeen

_END = b""  # the frame that says that nothing follows


class Translation(Protocol):
    """One upstream stream on its way to one caller.

    `frames` counts complete events, `pieces` those of them that brought output.
    """

    facts: Facts
    tail: bytes
    frames: int
    pieces: int

    def feed(self, chunk: bytes) -> bytes: ...
    def ended(self) -> bytes:
        """Take the clean end of the upstream's stream, in protocols that have no other end."""
        ...

    def cut_short(self, usage: Usage) -> None:
        """End the answer here, as if its limit of tokens were reached: only `tail` is left."""


class Speaking(Struct, frozen=True):
    """Who speaks what in one attempt: the caller's adapter, the upstream's, and the names."""

    caller: Any  # a ChatAdapter, or an Adapter where both sides are the same
    upstream: Any
    call: Call
    model: str
    request_id: str
    created: int  # Unix seconds, where the provider names no time
    guard: AnswerGuard | None = None  # what the tenant looks at its answers with

    @property
    def same(self) -> bool:
        return self.caller is self.upstream

    @property
    def relays(self) -> bool:
        """Say whether bytes pass as they are: what may be rewritten is written anew."""
        return self.same and not (self.guard and self.guard.rewrites)

    def guarded(self, events: Iterable[Event]) -> Iterable[Event]:
        """Return what of these may be told now. Raises ContentBlockedError."""
        if self.guard is None:
            return events
        return (told for event in events for told in self.guard.feed(event))

    def held_back(self) -> Iterable[Event]:
        """Return what was not told yet: the answer is over. Raises ContentBlockedError."""
        return () if self.guard is None else self.guard.end()

    def writer(self) -> EventWriter:
        writer: EventWriter = self.caller.writer(
            self.call, model=self.model, request_id=self.request_id, created=self.created
        )
        return writer

    def render(self, said: Any) -> bytes:  # noqa: ANN401 - events, or vectors that nobody looks at
        answer: bytes = self.caller.render_answer(
            said if self.guard is None else self.guard.all(said),
            self.call,
            model=self.model,
            request_id=self.request_id,
            created=self.created,
        )
        return answer


def translation(speaking: Speaking, framer: Framing) -> Translation:
    """Return the way for an upstream that streams, in frames that `framer` cuts."""
    if not speaking.call.stream:
        return Collected(speaking, framer)
    return Relayed(speaking, framer) if speaking.relays else Crossed(speaking, framer)


class Relayed:
    """Same dialect, streamed: bytes pass, facts are read."""

    def __init__(self, speaking: Speaking, framer: Framing) -> None:
        self._framer = framer
        self._speaking = speaking
        self._relay = relay = speaking.upstream.relay(speaking.call, model=speaking.model)
        self._pass_on = _Overhears(speaking, relay).feed if speaking.guard else relay.feed
        self.facts = self._relay.facts
        self.tail = b""
        self.frames = self.pieces = 0

    def feed(self, chunk: bytes) -> bytes:
        facts, pass_on = self.facts, self._pass_on
        pieces = []
        frames = self._framer.feed(chunk)
        self.frames += len(frames)
        for frame in frames:
            if facts.complete:
                self.tail += frame
                continue
            said = facts.output_bytes
            piece = pass_on(frame)
            self.pieces += facts.output_bytes > said
            if facts.error is not None:
                break
            if facts.complete:
                self.tail += piece
            else:
                pieces.append(piece)
        return b"".join(pieces)

    def ended(self) -> bytes:
        piece: bytes = self._pass_on(_END)
        if not self.facts.complete:
            return piece
        self.tail += piece
        return b""

    def cut_short(self, usage: Usage) -> None:
        speaking = self._speaking
        self.tail = self._relay.cut_short(speaking.call, usage, created=speaking.created)


class _Overhears:
    """Has guardrails that rewrite nothing look at a relayed stream."""

    def __init__(self, speaking: Speaking, relay: Relay) -> None:
        self._speaking, self._relay = speaking, relay
        self._reader = speaking.upstream.reader()

    def feed(self, frame: bytes) -> bytes:
        piece = self._relay.feed(frame)
        with suppress(GatewayError):  # what cannot be read is the relay's to judge
            deque(self._speaking.guarded(self._reader.feed(frame)), maxlen=0)
        return piece


class Crossed:
    """Another dialect, streamed: each event is written in the caller's words."""

    def __init__(self, speaking: Speaking, framer: Framing) -> None:
        self._framer = framer
        self._reader = speaking.upstream.reader()
        self._writer = speaking.writer()
        self._speaking = speaking
        self.facts = self._reader.facts
        self.tail = b""
        self.frames = self.pieces = 0

    def feed(self, chunk: bytes) -> bytes:
        frames = self._framer.feed(chunk)
        self.frames += len(frames)
        return self._write(frames)

    def ended(self) -> bytes:
        return self._write([_END])

    def _write(self, frames: list[bytes]) -> bytes:
        facts, read, write = self.facts, self._reader.feed, self._writer.feed
        guarded = self._speaking.guarded
        pieces: list[bytes] = []
        for frame in frames:
            said = facts.output_bytes
            try:
                pieces.extend(map(write, guarded(read(frame))))
            except ContentBlockedError:
                raise
            except GatewayError:
                if facts.error is None:
                    raise
                break  # what the provider told
            self.pieces += facts.output_bytes > said
            if facts.complete:
                break
        if facts.complete and not self.tail:
            pieces.extend(map(write, self._speaking.held_back()))
            self.tail = self._writer.end()
        return b"".join(pieces)

    def cut_short(self, usage: Usage) -> None:
        events = self._speaking.guarded(_shortened(self._speaking.call, usage))
        last = b"".join(map(self._writer.feed, events))
        self.tail = last + self._writer.end()


class Collected:
    """A caller who wants the whole, from an upstream that streams."""

    def __init__(self, speaking: Speaking, framer: Framing) -> None:
        self._framer = framer
        self._reader = speaking.upstream.reader()
        self._speaking = speaking
        self._events: list[Event] = []
        self.facts = self._reader.facts
        self.tail = b""
        self.frames = self.pieces = 0

    def feed(self, chunk: bytes) -> bytes:
        frames = self._framer.feed(chunk)
        self.frames += len(frames)
        self._collect(frames)
        return b""

    def ended(self) -> bytes:
        self._collect([_END])
        return b""

    def _collect(self, frames: list[bytes]) -> None:
        facts = self.facts
        for frame in frames:
            said = facts.output_bytes
            self._events.extend(self._reader.feed(frame))
            self.pieces += facts.output_bytes > said
            if facts.complete:
                break
        if facts.complete and not self.tail:
            self.tail = self._speaking.render(self._events)

    def cut_short(self, usage: Usage) -> None:
        self._events += _shortened(self._speaking.call, usage)
        self.tail = self._speaking.render(self._events)


def _shortened(call: Call, usage: Usage) -> list[Event]:
    """Return the end of an answer whose choices reached their limit of tokens."""
    return [
        *(Finish(reason="length", choice=choice) for choice in range(call.choices)),
        UsageSeen(usage=usage),
    ]


def read_whole(speaking: Speaking, body: bytes) -> tuple[Callable[[], tuple[bytes, bytes]], Facts]:
    """Return the facts of a whole answer, and what writes it.

    That returns what the caller may have now and what after the commit, and raises
    ContentBlockedError.
    """
    call = speaking.call
    if speaking.relays and not call.stream:
        answer, facts = speaking.upstream.relay_answer(body, model=speaking.model)
        return lambda: _overheard(speaking, body, answer), facts
    events, facts = speaking.upstream.read_answer(body)
    if not call.stream:
        return lambda: (b"", speaking.render(events)), facts
    return lambda: _streamed(speaking, events), facts


def _overheard(speaking: Speaking, body: bytes, answer: bytes) -> tuple[bytes, bytes]:
    if speaking.guard is not None:
        speaking.guard.all(speaking.upstream.read_answer(body)[0])
    return b"", answer


def _streamed(speaking: Speaking, events: list[Event]) -> tuple[bytes, bytes]:
    writer = speaking.writer()
    told = [*speaking.guarded(events), *speaking.held_back()]
    return b"".join(map(writer.feed, told)), writer.end()
