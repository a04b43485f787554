"""Turn what an upstream answers into what the caller gets; the end of an answer is kept back.

Where the bytes were cut makes no difference: what stands before an error is passed on, and behind
the last word nothing is read any more.

Four ways, one shape: `feed(chunk)` gives bytes the caller may have now, `tail` what it may have
only after the ledger's commit. Same dialect: relayed. Otherwise: events cross over.
"""

from typing import Any, Protocol

from msgspec import Struct

from llm_gateway.adapters.base import EventWriter
from llm_gateway.adapters.framing import Framing
from llm_gateway.errors import GatewayError
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

    @property
    def same(self) -> bool:
        return self.caller is self.upstream

    def writer(self) -> EventWriter:
        writer: EventWriter = self.caller.writer(
            self.call, model=self.model, request_id=self.request_id, created=self.created
        )
        return writer

    def render(self, events: list[Event]) -> bytes:
        answer: bytes = self.caller.render_answer(
            events,
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
    return Relayed(speaking, framer) if speaking.same else Crossed(speaking, framer)


class Relayed:
    """Same dialect, streamed: bytes pass, facts are read."""

    def __init__(self, speaking: Speaking, framer: Framing) -> None:
        self._framer = framer
        self._speaking = speaking
        self._relay = speaking.upstream.relay(speaking.call, model=speaking.model)
        self.facts = self._relay.facts
        self.tail = b""
        self.frames = self.pieces = 0

    def feed(self, chunk: bytes) -> bytes:
        facts, pass_on = self.facts, self._relay.feed
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
        piece: bytes = self._relay.feed(_END)
        if not self.facts.complete:
            return piece
        self.tail += piece
        return b""

    def cut_short(self, usage: Usage) -> None:
        speaking = self._speaking
        self.tail = self._relay.cut_short(speaking.call, usage, created=speaking.created)


class Crossed:
    """Another dialect, streamed: each event is written in the caller's words."""

    def __init__(self, speaking: Speaking, framer: Framing) -> None:
        self._framer = framer
        self._reader = speaking.upstream.reader()
        self._writer = speaking.writer()
        self._call = speaking.call
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
        pieces: list[bytes] = []
        for frame in frames:
            said = facts.output_bytes
            try:
                pieces.extend(map(write, read(frame)))
            except GatewayError:
                if facts.error is None:
                    raise
                break  # what the provider told
            self.pieces += facts.output_bytes > said
            if facts.complete:
                break
        if facts.complete and not self.tail:
            self.tail = self._writer.end()
        return b"".join(pieces)

    def cut_short(self, usage: Usage) -> None:
        last = b"".join(map(self._writer.feed, _shortened(self._call, usage)))
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


def translate_whole(speaking: Speaking, body: bytes) -> tuple[bytes, bytes, Facts]:
    """Return a whole answer as (what the caller may have now, what after the commit, facts)."""
    call = speaking.call
    if speaking.same and not call.stream:
        answer, facts = speaking.upstream.relay_answer(body, model=speaking.model)
        return b"", answer, facts
    events, facts = speaking.upstream.read_answer(body)
    if not call.stream:
        return b"", speaking.render(events), facts
    writer = speaking.writer()
    return b"".join(map(writer.feed, events)), writer.end(), facts
