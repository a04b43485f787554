"""Read Anthropic answers, streamed or whole, into events by the same steps.

Blocks of tools that the provider runs itself have no event and are passed over; their text is not.
"""

from collections.abc import Iterator

import msgspec

from llm_gateway.adapters import sse
from llm_gateway.adapters.anthropic_messages import wire
from llm_gateway.adapters.anthropic_messages.relay import whole
from llm_gateway.adapters.counting import text_or_none
from llm_gateway.types import (
    Citation,
    End,
    Event,
    Facts,
    Finish,
    FinishReason,
    Start,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    ToolCallStart,
    UsageSeen,
)

_REASONS: dict[str, FinishReason] = {
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "refusal",
    "pause_turn": "pause",
}


def reader() -> "MessageReader":
    return MessageReader()


def read_answer(body: bytes) -> tuple[list[Event], Facts]:
    """Return a whole answer as events. Raises InvalidAnswerError, or the error it names."""
    message = MessageReader()
    events = list(message.read_whole(whole(body)))
    return events, message.facts


class MessageReader:
    """One answer's state: the tool call each block is, and whether it has arguments yet."""

    __slots__ = ("_calls", "_seen", "_silent", "_started", "facts")

    def __init__(self) -> None:
        self._seen = wire.Seen()
        self.facts: Facts = self._seen.facts
        self._started = False
        self._calls: dict[int, int] = {}  # block -> number of its call
        self._silent: set[int] = set()  # blocks whose call has no arguments so far

    def feed(self, frame: bytes) -> list[Event]:
        """Return a frame's events. Raises the error that an error event names."""
        data = sse.frame_data(frame)
        if not data:
            return []
        try:
            event = wire.decode_event(data)
        except ValueError:
            self.facts.skipped += 1
            return []
        if event.type == "error":
            self.facts.error = wire.error_in_answer(event.error)
            raise self.facts.error
        return list(self._read(event))

    def read_whole(self, message: wire.Message) -> Iterator[Event]:
        self._seen.message(message)
        self.facts.complete = True
        yield from self._start(message)
        for index, block in enumerate(message.content or ()):
            yield from self._begin(index, block)
            yield from self._end_block(index)
        yield from self._finish(message.stop_reason, message.stop_sequence)
        yield from self._usage()
        yield End()

    def _read(self, event: wire.Event) -> Iterator[Event]:
        before = self.facts.usage
        self._seen.event(event)
        if event.message is not None:
            yield from self._start(event.message)
        if event.content_block is not None:
            yield from self._begin(event.index, event.content_block)
        if event.type == "content_block_delta" and event.delta is not None:
            yield from self._delta(event.index, event.delta)
        if event.type == "content_block_stop":
            yield from self._end_block(event.index)
        if event.type == "message_delta" and event.delta is not None:
            yield from self._finish(event.delta.stop_reason, event.delta.stop_sequence)
        if self.facts.usage is not before:
            yield from self._usage()
        if event.type == "message_stop":
            yield End()

    def _start(self, message: wire.Message) -> Iterator[Event]:
        if not self._started:  # a provider was seen to send message_start twice
            self._started = True
            yield Start(id=text_or_none(message.id) or "", model=text_or_none(message.model) or "")

    def _begin(self, index: int, block: wire.Block) -> Iterator[Event]:
        if block.type == "tool_use":
            number = self._calls[index] = len(self._calls)
            yield ToolCallStart(index=number, id=str(block.id or ""), name=str(block.name or ""))
            self._silent.add(index)
            if block.input:
                yield from self._arguments(index, msgspec.json.encode(block.input).decode())
        elif block.type == "redacted_thinking":
            yield ThinkingDelta(redacted=str(block.data or ""))
        elif block.type in {"text", "thinking"}:
            yield from self._delta(index, block)

    def _delta(self, index: int, delta: wire.Block) -> Iterator[Event]:
        if isinstance(delta.text, str) and delta.text:
            yield TextDelta(text=delta.text)
        yield from _citations(delta.citations, [delta.citation])
        thought, signature = text_or_none(delta.thinking), text_or_none(delta.signature)
        if thought or signature:
            yield ThinkingDelta(text=thought or "", signature=signature or None)
        if isinstance(delta.partial_json, str) and delta.partial_json and index in self._calls:
            yield from self._arguments(index, delta.partial_json)

    def _arguments(self, index: int, text: str) -> Iterator[Event]:
        self._silent.discard(index)
        yield ToolCallDelta(index=self._calls[index], arguments=text)

    def _end_block(self, index: int) -> Iterator[Event]:
        if index in self._silent:  # a call without arguments is a call with an empty object
            yield from self._arguments(index, "{}")

    def _finish(self, reason: object, sequence: object) -> Iterator[Event]:
        if isinstance(reason, str):
            stopped_by = text_or_none(sequence)
            yield Finish(reason=_REASONS.get(reason, "stop"), stop_sequence=stopped_by)

    def _usage(self) -> Iterator[Event]:
        if self.facts.usage is not None:
            yield UsageSeen(usage=self.facts.usage)


def _citations(*told: object) -> Iterator[Event]:
    """Read where a text is from: a page of the web, or a document by its title."""
    for one in (each for several in told if isinstance(several, list) for each in several):
        if isinstance(one, dict):
            yield Citation(
                url=text_or_none(one.get("url")),
                title=text_or_none(one.get("title")),
                source=text_or_none(one.get("document_title") or one.get("source")),
                quote=text_or_none(one.get("cited_text")),
            )
