"""Read Converse answers, streamed as binary events or whole, into events by the same steps."""

from collections.abc import Iterator
from typing import Any

import msgspec

from llm_gateway.adapters import eventstream
from llm_gateway.adapters.bedrock_converse import wire
from llm_gateway.adapters.counting import text_or_none
from llm_gateway.errors import InvalidAnswerError
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
    "content_filtered": "content_filter",
    "guardrail_intervened": "content_filter",
}


def reader() -> "ConverseReader":
    return ConverseReader()


def read_answer(body: bytes) -> tuple[list[Event], Facts]:
    """Return a whole answer as events. Raises InvalidAnswerError for what is none."""
    try:
        answer = wire.decode(body)
        body.decode()
    except ValueError as error:
        raise InvalidAnswerError("The provider's answer is not valid JSON.") from error
    if answer.output is None or answer.output.message is None:
        raise InvalidAnswerError("The provider's answer has no message.")
    whole = ConverseReader()
    return list(whole.read_whole(answer, answer.output.message)), whole.facts


class ConverseReader:
    """One answer's state: the tool call each block is, and whether it has arguments yet."""

    __slots__ = ("_calls", "_silent", "_started", "facts")

    def __init__(self) -> None:
        self.facts = Facts()
        self._started = False
        self._calls: dict[int, int] = {}  # block -> number of its call
        self._silent: set[int] = set()  # blocks whose call has no arguments so far

    def feed(self, frame: bytes) -> list[Event]:
        """Return a message's events. Raises the error that an exception names."""
        if not frame:
            return []
        headers, data = eventstream.message(frame)
        try:
            payload = wire.decode(data or b"{}")
        except ValueError:
            self.facts.skipped += 1
            return []
        if headers.get(":message-type", "event") != "event":
            kind = headers.get(":exception-type", headers.get(":error-code", ""))
            self.facts.error = wire.error_in_stream(kind, payload)
            raise self.facts.error
        return list(self._read(headers.get(":event-type", ""), payload))

    def read_whole(self, answer: wire.Payload, message: wire.Message) -> Iterator[Event]:
        wire.observe(answer, self.facts)
        yield from self._start()
        for index, block in enumerate(message.content or ()):
            yield from self._begin(index, block)
            yield from self._delta(index, block)
            yield from self._end_block(index)
        yield from self._finish(answer)
        yield from self._end()

    def _read(self, kind: str, payload: wire.Payload) -> Iterator[Event]:
        wire.observe(payload, self.facts)
        index = payload.content_block_index
        if kind == "messageStart":
            yield from self._start()
        elif kind == "contentBlockStart" and payload.start is not None:
            yield from self._begin(index, payload.start)
        elif kind == "contentBlockDelta" and payload.delta is not None:
            yield from self._delta(index, payload.delta)
        elif kind == "contentBlockStop":
            yield from self._end_block(index)
        elif kind == "messageStop":
            yield from self._finish(payload)
        elif kind == "metadata":
            yield from self._end()

    def _start(self) -> Iterator[Event]:
        if not self._started:
            self._started = True
            yield Start(id="", model="")

    def _begin(self, index: int, block: wire.Block) -> Iterator[Event]:
        called = block.tool_use
        if called is not None:
            number = self._calls[index] = len(self._calls)
            self._silent.add(index)
            yield ToolCallStart(index=number, id=str(called.id or ""), name=str(called.name or ""))

    def _delta(self, index: int, block: wire.Block) -> Iterator[Event]:
        if isinstance(block.text, str) and block.text:
            yield TextDelta(text=block.text)
        if block.reasoning is not None:
            yield from _thinking(block.reasoning.whole or block.reasoning)
        if block.tool_use is not None:
            yield from self._arguments(index, block.tool_use.input)
        if block.citation is not None:
            yield _citation(block.citation)
        if block.cited is not None:
            yield from _cited(block.cited)

    def _arguments(self, index: int, said: object) -> Iterator[Event]:
        """Yield a piece of JSON text, or the object that a whole answer has."""
        if isinstance(said, dict):
            said = msgspec.json.encode(said).decode()
        if isinstance(said, str) and said and index in self._calls:
            self._silent.discard(index)
            yield ToolCallDelta(index=self._calls[index], arguments=said)

    def _end_block(self, index: int) -> Iterator[Event]:
        if index in self._silent:  # a call without arguments is a call with an empty object
            yield from self._arguments(index, "{}")

    def _finish(self, payload: wire.Payload) -> Iterator[Event]:
        own = payload.additional_model_response_fields
        sequence = own.get("stop_sequence") if isinstance(own, dict) else None
        yield Finish(
            reason=_REASONS.get(self.facts.finish_reason or "", "stop"),
            stop_sequence=text_or_none(sequence),
        )

    def _end(self) -> Iterator[Event]:
        if self.facts.usage is not None:
            yield UsageSeen(usage=self.facts.usage)
        self.facts.complete = True
        yield End()


def _thinking(said: wire.Reasoning) -> Iterator[Event]:
    text, signature = text_or_none(said.text), text_or_none(said.signature)
    redacted = text_or_none(said.redacted)
    if text or signature or redacted:
        yield ThinkingDelta(text=text or "", signature=signature or None, redacted=redacted or None)


def _cited(block: dict[str, Any]) -> Iterator[Event]:
    """Yield a whole block of text with where it is from."""
    for part in block.get("content") or ():
        text = part.get("text") if isinstance(part, dict) else None
        if isinstance(text, str) and text:
            yield TextDelta(text=text)
    for citation in block.get("citations") or ():
        if isinstance(citation, dict):
            yield _citation(citation)


def _citation(said: dict[str, Any]) -> Citation:
    location = said.get("location")
    web = location.get("web") if isinstance(location, dict) else None
    content = said.get("sourceContent")
    quotes = [
        one["text"]
        for one in (content if isinstance(content, list) else ())
        if isinstance(one, dict) and isinstance(one.get("text"), str)
    ]
    return Citation(
        url=text_or_none(web.get("url")) if isinstance(web, dict) else None,
        title=text_or_none(said.get("title")),
        source=text_or_none(said.get("source")),
        quote="".join(quotes) or None,
    )
