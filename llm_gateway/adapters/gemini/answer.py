"""Read Gemini answers, streamed or whole, into events by the same steps.

What tools of Google's own did has no event and is passed over; the text they led to is not. Why a
candidate ended is told at the end: a stream may say "STOP" long before.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from llm_gateway.adapters import sse
from llm_gateway.adapters.counting import text_or_none
from llm_gateway.adapters.gemini import wire
from llm_gateway.adapters.gemini.relay import whole
from llm_gateway.adapters.gemini.signatures import unwrap
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

_REASONS: dict[str, FinishReason] = {
    "MAX_TOKENS": "length",
    **dict.fromkeys(
        (
            "SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY",
            "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION",
        ),
        "content_filter",
    ),
}  # fmt: skip


def reader() -> "GeminiReader":
    return GeminiReader()


def read_answer(body: bytes) -> tuple[list[Event], Facts]:
    """Return a whole answer as events. Raises InvalidAnswerError, or the error it names."""
    answer = GeminiReader()
    events = [event for chunk in whole(body) for event in answer.read(chunk)]
    events += answer.end(final=True)
    return events, answer.facts


class GeminiReader:
    """One answer's state: what has begun, how many calls, and why each candidate ended."""

    __slots__ = ("_calls", "_reasons", "_seen", "_started", "facts")

    def __init__(self) -> None:
        self._seen = wire.Seen()
        self.facts: Facts = self._seen.facts
        self._started = False
        self._calls: dict[int, int] = {}  # candidate -> calls so far
        self._reasons: dict[int, str] = {}

    def feed(self, frame: bytes) -> list[Event]:
        """Return a frame's events; the empty frame is the end of the stream.

        Raises the error that an error object in the stream names.
        """
        if not frame:
            return self.end()
        data = sse.frame_data(frame)
        if not data:
            return []
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
        self._seen.chunk(chunk)
        if not self._started and (chunk.candidates or self._seen.blocked):
            self._started = True
            yield Start(id=self.facts.id or "", model=self.facts.model or "")
        if self.facts.usage is not None and self.facts.usage is not before:
            yield UsageSeen(usage=self.facts.usage)
        for candidate in chunk.candidates or ():
            yield from self._candidate(candidate)

    def end(self, *, final: bool = False) -> list[Event]:
        """Return how the answer ended; nothing where it was cut, and is not `final` by itself."""
        before = self.facts.usage
        if not self._seen.end(final=final):
            return []
        events: list[Event] = [
            Finish(reason=self._reason(word, number), choice=number)
            for number, word in sorted(self._reasons.items())
        ]
        if self._seen.blocked:
            events.append(Finish(reason="content_filter"))
        if self.facts.usage is not None and self.facts.usage is not before:
            events.append(UsageSeen(usage=self.facts.usage))
        return [*events, End()]

    def _reason(self, word: str, choice: int) -> FinishReason:
        """Return why a candidate ended; "STOP" is also said of one that calls functions."""
        reason = _REASONS.get(word, "stop")
        return "tool_calls" if reason == "stop" and self._calls.get(choice) else reason

    def _candidate(self, candidate: wire.Candidate) -> Iterator[Event]:
        number = candidate.number
        for part in (candidate.content.parts or ()) if candidate.content else ():
            yield from self._part(part, number)
        if candidate.logprobs_result is not msgspec.UNSET:
            tokens = tuple(_logprobs(msgspec.json.decode(candidate.logprobs_result)))
            if tokens:
                yield Logprobs(tokens=tokens, choice=number)
        if isinstance(candidate.finish_reason, str):
            self._reasons[number] = candidate.finish_reason

    def _part(self, part: wire.Part, choice: int) -> Iterator[Event]:
        signature = text_or_none(part.thought_signature) or None
        text = text_or_none(part.text)
        if part.function_call is not None:
            yield from self._call(part.function_call, signature, choice)
        elif text is None:
            return
        elif part.thought is True:
            yield from _thought(text, signature, choice)
        else:
            yield from _text(text, signature, choice)

    def _call(self, call: wire.FunctionCall, signature: str | None, choice: int) -> Iterator[Event]:
        """Read a call; one without an id gets one that the next turn can name it by."""
        index = self._calls.get(choice, 0)
        self._calls[choice] = index + 1
        given = text_or_none(call.id) or f"call_{self.facts.id or 'gemini'}_{choice}_{index}"
        yield ToolCallStart(
            index=index,
            id=given,
            name=text_or_none(call.name) or "",
            signature=signature,
            choice=choice,
        )
        arguments = call.args if isinstance(call.args, dict) else {}
        text = msgspec.json.encode(arguments).decode()
        yield ToolCallDelta(index=index, arguments=text, choice=choice)


def _text(text: str, signature: str | None, choice: int) -> Iterator[Event]:
    if text:
        yield TextDelta(text=text, choice=choice)
    if signature:
        yield TextDelta(text="", signature=signature, choice=choice)


def _thought(text: str, signature: str | None, choice: int) -> Iterator[Event]:
    """Read a thought; Google's own signature is of its turn, another provider's of the thought."""
    foreign = signature if signature and unwrap(signature) else None
    if text or foreign:
        yield ThinkingDelta(text=text, signature=foreign, choice=choice)
    if signature and not foreign:
        yield from _text("", signature, choice)


def _logprobs(result: Any) -> Iterator[TokenLogprob]:  # noqa: ANN401 - JSON
    """Read how likely each chosen token was, with the likeliest ones in its place."""
    chosen = result.get("chosenCandidates") if isinstance(result, dict) else None
    tops = result.get("topCandidates") if isinstance(result, dict) else None
    rows = tops if isinstance(tops, list) else []
    for place, one in enumerate(chosen if isinstance(chosen, list) else ()):
        row = rows[place] if place < len(rows) else {}
        likeliest = row.get("candidates") if isinstance(row, dict) else None
        yield _token(one, tuple(_tokens(likeliest or ())))


def _tokens(candidates: Iterable[Any]) -> Iterator[TokenLogprob]:
    return (_token(one, ()) for one in candidates)


def _token(one: Any, top: tuple[TokenLogprob, ...]) -> TokenLogprob:  # noqa: ANN401 - JSON
    named = one if isinstance(one, dict) else {}
    probability = named.get("logProbability")
    return TokenLogprob(
        token=text_or_none(named.get("token")) or "",
        logprob=float(probability) if isinstance(probability, int | float) else 0.0,
        top=top,
    )
