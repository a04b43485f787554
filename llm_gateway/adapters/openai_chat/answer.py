"""Read OpenAI chat answers, streamed or whole, into events by the same steps.

Reasoning comes as `reasoning_content` or `reasoning` from compatible servers, as parts of a list
that is the content, or signed as `thinking_blocks` (see `writer`) or `reasoning_details`.
"""

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import UNSET, Raw

from llm_gateway.adapters import sse
from llm_gateway.adapters.counting import text_or_none, texts
from llm_gateway.adapters.openai_chat import sources, wire
from llm_gateway.adapters.openai_chat.relay import DONE, whole
from llm_gateway.types import (
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
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}


def reader() -> "ChatReader":
    return ChatReader()


def read_answer(body: bytes) -> tuple[list[Event], Facts]:
    """Return a whole answer as events. Raises InvalidAnswerError, or the error it names."""
    chat = ChatReader()
    events = [*chat.read(whole(body)), End()]
    chat.facts.complete = True
    return events, chat.facts


class ChatReader:
    """One answer's state: what has begun, and which tool call an entry continues."""

    __slots__ = ("_begun", "_calls", "_cited", "_ids", "_refused", "_started", "facts")

    def __init__(self) -> None:
        self.facts = Facts()
        self._started = self._cited = False
        self._refused: set[int] = set()
        self._ids: dict[tuple[int, int], str] = {}  # (choice, place on the wire) -> id
        self._calls: dict[tuple[int, int], int] = {}  # the same -> our number
        self._begun: dict[int, int] = {}  # choice -> calls so far

    def feed(self, frame: bytes) -> list[Event]:
        """Return a frame's events. Raises the error that an error object in the stream names."""
        data = sse.frame_data(frame)
        if not data:
            return []
        if data == DONE:
            self.facts.complete = True
            return [End()]
        try:
            chunk = wire.decode(data)
        except ValueError:
            self.facts.skipped += 1
            return []
        if chunk.error is not None:
            self.facts.error = wire.error_in_answer(chunk.error)
            raise self.facts.error
        return list(self.read(chunk))

    def read(self, chunk: wire.Chunk) -> Iterator[Event]:
        before = self.facts.usage
        wire.observe(chunk, self.facts)
        if not self._started and (chunk.choices or chunk.id):
            self._started = True
            yield Start(
                id=self.facts.id or "",
                model=self.facts.model or "",
                created=chunk.created if type(chunk.created) is int else None,
            )
        for choice in chunk.choices or ():
            if isinstance(choice.finish_reason, str) and not self._cited:
                self._cited = True
                yield from sources.search_results(chunk.search_results, chunk.citations)
            yield from self._choice(choice)
        if self.facts.usage is not None and self.facts.usage is not before:
            yield UsageSeen(usage=self.facts.usage)

    def _choice(self, choice: wire.Choice) -> Iterator[Event]:
        said = choice.delta or choice.message
        number = choice.index if type(choice.index) is int else 0
        if said is not None:
            yield from _thinking(said, number, whole=choice.delta is None)
            yield from _content(said.content, number)
            if isinstance(said.refusal, str) and said.refusal:
                self._refused.add(number)
                yield RefusalDelta(text=said.refusal, choice=number)
            yield from sources.annotations(said.annotations, number)
            yield from self._tool_calls(said.tool_calls, number)
        else:
            yield from _content(choice.text, number)
        if choice.logprobs is not UNSET:
            yield from _logprobs(choice.logprobs, number)
        if isinstance(choice.finish_reason, str):
            yield Finish(reason=self._reason(choice.finish_reason, number), choice=number)

    def _reason(self, word: str, choice: int) -> FinishReason:
        """Return why a choice ended.

        "stop" is also said of a refusal, and of a call that the caller's `tool_choice` named.
        """
        reason = _REASONS.get(word, "stop")
        if reason == "stop" and choice in self._refused:
            return "refusal"
        return "tool_calls" if reason == "stop" and self._begun.get(choice) else reason

    def _tool_calls(self, entries: object, choice: int) -> Iterator[Event]:
        for position, entry in enumerate(entries if isinstance(entries, list) else ()):
            if not isinstance(entry, dict):
                continue
            place = entry.get("index")
            key = (choice, place if type(place) is int else position)
            function = entry.get("function")
            named = function if isinstance(function, dict) else {}
            if self._is_new(key, entry.get("id"), named):
                yield self._begin(key, entry.get("id"), named)
            arguments = named.get("arguments")
            if isinstance(arguments, str) and arguments:
                yield ToolCallDelta(index=self._calls[key], arguments=arguments, choice=choice)

    def _is_new(self, key: tuple[int, int], call_id: object, named: dict[str, Any]) -> bool:
        """Tell a call's begin from its going on; some servers give every call the place 0."""
        if key not in self._ids:
            return True
        return bool(call_id) and bool(named.get("name")) and call_id != self._ids[key]

    def _begin(self, key: tuple[int, int], call_id: object, named: dict[str, Any]) -> ToolCallStart:
        choice = key[0]
        number = self._begun.get(choice, 0)
        self._begun[choice] = number + 1
        self._calls[key] = number
        self._ids[key] = str(call_id) if call_id else f"call_{choice}_{number}"
        return ToolCallStart(
            index=number, id=self._ids[key], name=str(named.get("name") or ""), choice=choice
        )


def _thinking(said: wire.Delta, choice: int, *, whole: bool) -> Iterator[Event]:
    """Read reasoning; a signed block of a stream comes after its text, a whole one holds it."""
    blocks = said.thinking_blocks if isinstance(said.thinking_blocks, list) else []
    text = said.reasoning_content or said.reasoning
    details = list(sources.signed(said.reasoning_details, choice, whole=whole))
    if isinstance(text, str) and text and not (whole and (blocks or details)):
        yield ThinkingDelta(text=text, choice=choice)
    yield from details
    for block in blocks:
        if isinstance(block, dict):
            yield ThinkingDelta(
                text=str(block.get("thinking") or "") if whole else "",
                signature=text_or_none(block.get("signature")),
                redacted=text_or_none(block.get("data")),
                choice=choice,
            )


def _logprobs(raw: Raw, choice: int) -> Iterator[Event]:
    told = msgspec.json.decode(raw)
    content = told.get("content") if isinstance(told, dict) else None
    tokens = tuple(map(_token, content if isinstance(content, list) else ()))
    if tokens:
        yield Logprobs(tokens=tokens, choice=choice)


def _token(one: Any) -> TokenLogprob:  # noqa: ANN401 - JSON
    named = one if isinstance(one, dict) else {}
    raw, top, logprob = named.get("bytes"), named.get("top_logprobs"), named.get("logprob")
    return TokenLogprob(
        token=text_or_none(named.get("token")) or "",
        logprob=float(logprob) if isinstance(logprob, int | float) else 0.0,
        raw=tuple(raw) if isinstance(raw, list) else None,
        top=tuple(map(_token, top if isinstance(top, list) else ())),
    )


def _content(content: object, choice: int) -> Iterator[Event]:
    if isinstance(content, str):
        if content:
            yield TextDelta(text=content, choice=choice)
        return
    for part in content if isinstance(content, list) else ():
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text":
            yield TextDelta(text=str(part.get("text") or ""), choice=choice)
        elif kind == "thinking":
            yield ThinkingDelta(text="".join(texts(part.get("thinking"))), choice=choice)
