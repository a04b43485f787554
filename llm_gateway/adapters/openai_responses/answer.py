"""Read responses answers, streamed or whole, into events by the same steps.

Items of tools that the provider runs itself have no event and are passed over; their text is not.
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from llm_gateway.adapters import sse
from llm_gateway.adapters.counting import text_or_none
from llm_gateway.adapters.openai_responses import wire
from llm_gateway.adapters.openai_responses.relay import DONE, whole
from llm_gateway.adapters.openai_responses.signatures import GAP, fold, texts_of
from llm_gateway.types import (
    Citation,
    End,
    Event,
    Facts,
    Finish,
    FinishReason,
    Logprobs,
    RefusalDelta,
    Start,
    TextDelta,
    ThinkingDelta,
    TokenLogprob,
    ToolCallDelta,
    ToolCallStart,
    UsageSeen,
)

_REASONS: dict[str, FinishReason] = {
    "max_output_tokens": "length",
    "max_tokens": "length",
    "content_filter": "content_filter",
}
_THOUGHTS = {"response.reasoning_summary_text.delta", "response.reasoning_text.delta"}


def reader() -> "ResponseReader":
    return ResponseReader()


def read_answer(body: bytes) -> tuple[list[Event], Facts]:
    """Return a whole answer as events. Raises InvalidAnswerError, or the error it names."""
    response = ResponseReader()
    events = list(response.read_whole(whole(body)))
    return events, response.facts


class ResponseReader:
    """One answer's state: the call each item is, and what was heard of items before their end."""

    __slots__ = ("_begun_at", "_calls", "_heard", "_length", "_refused", "_started", "facts")

    def __init__(self) -> None:
        self.facts = Facts()
        self._started = self._refused = False
        self._calls: dict[int, int] = {}  # item -> number of its call
        self._heard: dict[int, tuple[str, int]] = {}  # item -> the part that was last heard of it
        self._length = 0  # characters of text so far
        self._begun_at: dict[tuple[int, int], int] = {}  # part -> characters before it

    def feed(self, frame: bytes) -> list[Event]:
        """Return a frame's events. Raises the error that an error event names."""
        data = sse.frame_data(frame)
        if not data or data == DONE:
            return []
        try:
            event = wire.decode_event(data)
        except ValueError:
            self.facts.skipped += 1
            return []
        self.facts.error = wire.told_error(event, self.facts)
        if self.facts.error is not None:
            raise self.facts.error
        wire.observe(event, self.facts)
        return list(self._read(event))

    def read_whole(self, answer: wire.Answer) -> Iterator[Event]:
        wire.observe_answer(answer, self.facts, ended=True)
        yield from self._start(answer)
        for index, item in enumerate(answer.output or ()):
            yield from self._done(index, item)
        yield from self._end()

    def _read(self, event: wire.Event) -> Iterator[Event]:
        if event.response is not None:
            yield from self._start(event.response)
        if isinstance(event.delta, str):
            yield from self._delta(event, event.delta)
        elif event.type == "response.output_text.annotation.added":
            begun_at = self._begun_at.get((event.output_index, event.content_index), 0)
            yield from self._citations([event.annotation], begun_at)
        elif event.item is not None and event.type == "response.output_item.added":
            yield from self._begin(event.output_index, event.item)
        elif event.item is not None and event.type == "response.output_item.done":
            yield from self._done(event.output_index, event.item)
        if event.type in wire.ENDS:
            yield from self._end()

    def _start(self, answer: wire.Answer) -> Iterator[Event]:
        if not self._started:
            self._started = True
            yield Start(
                id=text_or_none(answer.id) or "",
                model=text_or_none(answer.model) or "",
                created=answer.created_at if type(answer.created_at) is int else None,
            )

    def _delta(self, event: wire.Event, said: str) -> Iterator[Event]:
        part = (event.type, max(event.content_index, event.summary_index))
        before = self._heard.get(event.output_index)
        self._heard[event.output_index] = part
        if event.type == "response.output_text.delta":
            self._begun_at.setdefault((event.output_index, event.content_index), self._length)
            yield from self._text(said, event.logprobs)
        elif event.type == "response.refusal.delta":
            yield from self._refusal(said)
        elif event.type in _THOUGHTS:
            gap = GAP if before not in {None, part} else ""
            yield ThinkingDelta(text=gap + said)
        elif event.output_index in self._calls and said:
            yield ToolCallDelta(index=self._calls[event.output_index], arguments=said)

    def _text(self, said: str, logprobs: object) -> Iterator[Event]:
        if said:
            self._length += len(said)
            yield TextDelta(text=said)
        tokens = tuple(_tokens(logprobs))
        if tokens:
            yield Logprobs(tokens=tokens)

    def _refusal(self, said: str) -> Iterator[Event]:
        if said:
            self._refused = True
            yield RefusalDelta(text=said)

    def _begin(self, index: int, item: wire.Item) -> Iterator[Event]:
        if item.type == "function_call" and index not in self._calls:
            number = self._calls[index] = len(self._calls)
            yield ToolCallStart(
                index=number, id=str(item.call_id or item.id or ""), name=str(item.name or "")
            )

    def _done(self, index: int, item: wire.Item) -> Iterator[Event]:
        """Read what an item says that was not heard of it, and what only stands at its end."""
        yield from self._begin(index, item)
        if index not in self._heard:
            yield from self._whole(index, item)
        signature = fold(_plain(item)) if item.type == "reasoning" else None
        if signature is not None:
            yield ThinkingDelta(signature=signature)

    def _whole(self, index: int, item: wire.Item) -> Iterator[Event]:
        if item.type == "function_call" and isinstance(item.arguments, str) and item.arguments:
            yield ToolCallDelta(index=self._calls[index], arguments=item.arguments)
        elif item.type == "reasoning":
            text = GAP.join(text for _, text in texts_of(_plain(item)))
            if text:
                yield ThinkingDelta(text=text)
        elif item.type == "message":
            for part in item.content if isinstance(item.content, list) else ():
                if isinstance(part, dict):
                    yield from self._message_part(part)

    def _message_part(self, part: dict[str, Any]) -> Iterator[Event]:
        text, refusal, before = part.get("text"), part.get("refusal"), self._length
        if isinstance(text, str):
            yield from self._text(text, part.get("logprobs"))
        if isinstance(refusal, str):
            yield from self._refusal(refusal)
        yield from self._citations(part.get("annotations"), before)

    def _citations(self, annotations: object, before: int) -> Iterator[Event]:
        """Read citations of the web; places are told within a part, and meant within all text."""
        for one in annotations if isinstance(annotations, list) else ():
            if isinstance(one, dict) and one.get("type") == "url_citation":
                start, end = one.get("start_index"), one.get("end_index")
                yield Citation(
                    url=str(one.get("url") or ""),
                    title=text_or_none(one.get("title")),
                    start=before + start if type(start) is int else None,
                    end=before + end if type(end) is int else None,
                )

    def _end(self) -> Iterator[Event]:
        yield Finish(reason=self._reason())
        if self.facts.usage is not None:
            yield UsageSeen(usage=self.facts.usage)
        yield End()

    def _reason(self) -> FinishReason:
        reason = _REASONS.get(self.facts.finish_reason or "", "stop")
        if reason != "stop":
            return reason
        return "tool_calls" if self._calls else "refusal" if self._refused else "stop"


def _plain(item: wire.Item) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(item)
    return plain


def _tokens(logprobs: object) -> Iterator[TokenLogprob]:
    """Read what stands beside a text; what is no list of tokens tells nothing."""
    for token in logprobs if isinstance(logprobs, list) else ():
        if isinstance(token, dict) and isinstance(token.get("logprob"), int | float):
            raw = token.get("bytes")
            yield TokenLogprob(
                token=str(token.get("token") or ""),
                logprob=token["logprob"],
                raw=tuple(raw) if isinstance(raw, list) else None,
                top=tuple(_tokens(token.get("top_logprobs"))),
            )
