"""Read Cohere's answers, streamed or whole, into events by the same steps.

A tool plan is thinking: what the model says to itself before it calls. Logprobs are passed over, as
they cannot be asked for.
"""

from collections.abc import Iterator

from msgspec import UNSET

from llm_gateway.adapters import sse
from llm_gateway.adapters.cohere import wire
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

_DONE = b"[DONE]"  # follows the terminal event, and says nothing more
_REASONS: dict[str, FinishReason] = {"MAX_TOKENS": "length", "TOOL_CALL": "tool_calls"}


def reader() -> "CohereReader":
    return CohereReader()


def read_answer(body: bytes) -> tuple[list[Event], Facts]:
    """Return a whole answer as events. Raises InvalidAnswerError, or the error it names instead."""
    try:
        answer = wire.decode_answer(body)
        body.decode()
    except ValueError as error:
        raise InvalidAnswerError("The provider's answer is not valid JSON.") from error
    if not isinstance(answer.message, wire.Message):
        raise InvalidAnswerError("The provider's answer has no message.")
    whole = CohereReader()
    events = [*whole.start(answer.id), *whole.message(answer.message)]
    last = wire.Delta(finish_reason=answer.finish_reason, usage=answer.usage)
    return [*events, *whole.end(last)], whole.facts


class CohereReader:
    """One answer's state: which calls have begun."""

    __slots__ = ("_begun", "_places", "_silent", "_started", "facts")

    def __init__(self) -> None:
        self.facts = Facts()
        self._started = False
        self._begun = 0
        self._places: dict[int | None, int] = {}  # place on the wire -> number of the call
        self._silent: set[int] = set()  # calls without arguments so far

    def feed(self, frame: bytes) -> list[Event]:
        """Return a frame's events. Raises the error that the end of the stream names."""
        data = sse.frame_data(frame)
        if not data or data == _DONE:
            return []
        try:
            event = wire.decode_event(data)
        except ValueError:
            self.facts.skipped += 1
            return []
        return list(self._read(event))

    def start(self, answer_id: object) -> Iterator[Event]:
        if not self._started:
            self._started = True
            self.facts.id = text_or_none(answer_id)
            yield Start(id=self.facts.id or "", model="")

    def message(self, message: wire.Message, place: int | None = None) -> Iterator[Event]:
        """Yield what a message, or a piece of one, says."""
        wire.observe_message(message, self.facts)
        if isinstance(message.tool_plan, str) and message.tool_plan:
            yield ThinkingDelta(text=message.tool_plan)
        for part in wire.contents(message):
            if isinstance(part.thinking, str) and part.thinking:
                yield ThinkingDelta(text=part.thinking)
            if isinstance(part.text, str) and part.text:
                yield TextDelta(text=part.text)
        for number, call in enumerate(wire.calls(message)):
            yield from self._call(call, number if place is None else place)
        for quoted in wire.quoted(message):
            yield from _citations(quoted)

    def end(self, delta: wire.Delta) -> Iterator[Event]:
        """Yield how the answer ended. Raises the error that its reason names."""
        self.facts.finish_reason = text_or_none(delta.finish_reason)
        self.facts.error = wire.failure(delta.finish_reason, delta.error)
        if self.facts.error is not None:
            raise self.facts.error
        for number in sorted(self._silent):  # a call without arguments has an empty object
            yield ToolCallDelta(index=number, arguments="{}")
        yield Finish(reason=_REASONS.get(self.facts.finish_reason or "", "stop"))
        if delta.usage is not UNSET:
            wire.observe_usage(bytes(delta.usage), self.facts)
        if self.facts.usage is not None:
            yield UsageSeen(usage=self.facts.usage)
        self.facts.complete = True
        yield End()

    def _read(self, event: wire.Event) -> Iterator[Event]:
        if event.type == "message-start":
            yield from self.start(event.id)
        delta = event.delta
        if delta is None:
            return
        if event.type == "message-end":
            yield from self.end(delta)
        elif delta.message is not None:
            yield from self.message(delta.message, event.index or 0)

    def _call(self, call: wire.Call, place: int) -> Iterator[Event]:
        if isinstance(call.id, str) and call.id:
            number = self._places[place] = self._begun
            self._begun += 1
            self._silent.add(number)
            yield ToolCallStart(index=number, id=call.id, name=call.text("name"))
        arguments = call.text("arguments")
        if arguments and place in self._places:
            number = self._places[place]
            self._silent.discard(number)
            yield ToolCallDelta(index=number, arguments=arguments)


def _citations(quoted: wire.Quoted) -> Iterator[Event]:
    start = quoted.start if type(quoted.start) is int else None
    end = quoted.end if type(quoted.end) is int else None
    for source in quoted.sources or ():
        document = source.document if isinstance(source.document, dict) else {}
        yield Citation(
            url=text_or_none(document.get("url")),
            title=text_or_none(document.get("title")),
            source=text_or_none(source.id),
            quote=text_or_none(document.get("text")),
            start=start,
            end=end,
        )
