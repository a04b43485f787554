"""Read Ollama's answers, streamed as lines or whole, into events by the same steps."""

from collections.abc import Iterator
from typing import Any

import msgspec

from llm_gateway.adapters.counting import text_or_none
from llm_gateway.adapters.ollama import wire
from llm_gateway.adapters.upstream_errors import by_status
from llm_gateway.errors import InvalidAnswerError
from llm_gateway.types import (
    End,
    Event,
    Facts,
    Finish,
    FinishReason,
    Logprobs,
    Start,
    TextDelta,
    ThinkingDelta,
    TokenLogprob,
    ToolCallDelta,
    ToolCallStart,
    UsageSeen,
)

_FAILED = 500


def reader() -> "OllamaReader":
    return OllamaReader()


def read_answer(body: bytes) -> tuple[list[Event], Facts]:
    """Return a whole answer as events. Raises InvalidAnswerError, or the error it names instead."""
    whole = OllamaReader()
    try:
        line = wire.decode(body)
        body.decode()
    except ValueError as error:
        raise InvalidAnswerError("The provider's answer is not valid JSON.") from error
    events = list(whole.read(line))
    if line.message is None:
        raise InvalidAnswerError("The provider's answer has no message.")
    return events, whole.facts


class OllamaReader:
    """One answer's state: how many calls have begun."""

    __slots__ = ("_calls", "_started", "facts")

    def __init__(self) -> None:
        self.facts = Facts()
        self._started = False
        self._calls = 0

    def feed(self, frame: bytes) -> list[Event]:
        """Return a line's events. Raises the error that a line names."""
        if not frame:
            return []
        try:
            line = wire.decode(frame)
        except ValueError:
            self.facts.skipped += 1
            return []
        return list(self.read(line))

    def read(self, line: wire.Line) -> Iterator[Event]:
        if line.error is not None:
            self.facts.error = by_status(_FAILED, wire.complaint(line.error))
            raise self.facts.error
        wire.observe(line, self.facts)
        if not self._started:
            self._started = True
            yield Start(
                id="", model=self.facts.model or "", created=wire.unix_seconds(line.created_at)
            )
        if line.message is not None:
            yield from self._said(line.message, line.created_at)
        if line.logprobs:
            yield Logprobs(tokens=tuple(map(_logprob, line.logprobs)))
        if line.done:
            yield from self._end()

    def _said(self, message: wire.Message, created_at: object) -> Iterator[Event]:
        if isinstance(message.thinking, str) and message.thinking:
            yield ThinkingDelta(text=message.thinking)
        if isinstance(message.content, str) and message.content:
            yield TextDelta(text=message.content)
        for call in message.tool_calls or ():
            yield from self._call(call, created_at)

    def _call(self, call: wire.Call, created_at: object) -> Iterator[Event]:
        function = call.function or wire.Function()
        number, self._calls = self._calls, self._calls + 1
        # Older servers give no ids: the time makes one that no other turn has.
        own = "".join(filter(str.isalnum, str(created_at)))
        yield ToolCallStart(
            index=number,
            id=text_or_none(call.id) or f"call_{own}_{number}",
            name=text_or_none(function.name) or "",
        )
        arguments = function.arguments if isinstance(function.arguments, dict) else {}
        yield ToolCallDelta(index=number, arguments=msgspec.json.encode(arguments).decode())

    def _end(self) -> Iterator[Event]:
        reason: FinishReason = "tool_calls" if self._calls else "stop"
        yield Finish(reason="length" if self.facts.finish_reason == "length" else reason)
        if self.facts.usage is not None:
            yield UsageSeen(usage=self.facts.usage)
        yield End()


def _logprob(told: dict[str, Any]) -> TokenLogprob:
    number, raw, top = told.get("logprob"), told.get("bytes"), told.get("top_logprobs")
    return TokenLogprob(
        token=text_or_none(told.get("token")) or "",
        logprob=float(number) if isinstance(number, int | float) else 0.0,
        raw=tuple(raw) if isinstance(raw, list) else None,
        top=tuple(_logprob(one) for one in top if isinstance(one, dict))
        if isinstance(top, list)
        else (),
    )
