"""Write events as a Gemini answer, streamed or whole from the same parts.

A function call is one part, so its arguments are gathered until it is complete. What another
provider signed is wrapped, see `signatures`.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import jiter
import msgspec

from llm_gateway.adapters import sse
from llm_gateway.adapters.gemini.signatures import Foreign, wrap
from llm_gateway.adapters.gemini.wire import render_usage
from llm_gateway.types import (
    Call,
    Event,
    Finish,
    Logprobs,
    RefusalDelta,
    Start,
    TextDelta,
    ThinkingDelta,
    TokenLogprob,
    ToolCallDelta,
    ToolCallStart,
    Usage,
    UsageSeen,
)

_REASONS = {
    "stop": "STOP",
    "length": "MAX_TOKENS",
    "tool_calls": "STOP",
    "content_filter": "SAFETY",
    "refusal": "SAFETY",
    "pause": "OTHER",
}
Wire = dict[str, Any]
Said = tuple[int, Wire]  # candidate, and a part of its content or other members of it
_encode = msgspec.json.encode


def writer(call: Call, *, model: str, request_id: str, created: int = 0) -> "GeminiWriter":
    """Return a writer of one stream; the protocol has no place for `created`."""
    del call, created
    return GeminiWriter(Head(model, request_id))


class Head:
    """What stands around the candidates: who answered, why they ended, what was used."""

    __slots__ = ("_finishes", "_id", "_model", "_usage")

    def __init__(self, model: str, request_id: str) -> None:
        self._model, self._id = model, request_id
        self._finishes: dict[int, str] = {}
        self._usage = Usage()

    def takes(self, event: Event) -> bool:
        """Take what is no part of a candidate; False leaves the event to the parts."""
        match event:
            case Start(id=given):
                self._id = given or self._id
            case UsageSeen(usage=usage):
                self._usage = usage
            case Finish(reason=reason, choice=choice):
                self._finishes[choice] = _REASONS[reason]
            case _:
                return False
        return True

    def ending(self) -> dict[int, Wire]:
        """Return for each candidate that said so, or for the only one, why it ended."""
        told = self._finishes or {0: "STOP"}
        return {choice: {"finishReason": told[choice], "index": choice} for choice in sorted(told)}

    def answer(self, candidates: list[Wire], *, ended: bool) -> Wire:
        usage = {"usageMetadata": render_usage(self._usage)} if ended else {}
        return {
            "candidates": candidates,
            **usage,
            "modelVersion": self._model,
            "responseId": self._id,
        }


class Parts:
    """Turns events into parts of content: the one place where both shapes come from."""

    __slots__ = ("_calls",)

    def __init__(self) -> None:
        self._calls: dict[int, dict[int, Wire]] = {}  # of a candidate: calls that may go on

    def of(self, event: Event) -> Iterator[Said]:
        """Yield what one event makes complete."""
        match event:
            case ToolCallStart(index=index, choice=choice):
                self._calls.setdefault(choice, {})[index] = _begun(event)
            case ToolCallDelta(index=index, choice=choice, arguments=arguments):
                self._calls[choice][index]["functionCall"]["args"] += arguments
            case TextDelta(choice=choice) | RefusalDelta(choice=choice):
                yield from self._after_calls(choice, _text(event))
            case ThinkingDelta(choice=choice):
                yield from self._after_calls(choice, _thought(event))
            case Logprobs(choice=choice, tokens=tokens):
                yield choice, {"logprobsResult": _logprobs(tokens)}
            case _:
                return

    def rest(self) -> Iterator[Said]:
        """Yield the calls that nothing followed."""
        for choice in sorted(self._calls):
            yield from self._complete(choice)

    def _after_calls(self, choice: int, part: Wire) -> Iterator[Said]:
        yield from self._complete(choice)
        yield choice, _content(part)

    def _complete(self, choice: int) -> Iterator[Said]:
        for _, part in sorted(self._calls.pop(choice, {}).items()):
            call = part["functionCall"]
            yield (
                choice,
                _content({**part, "functionCall": {**call, "args": _object(call["args"])}}),
            )


class GeminiWriter:
    """One stream. Why it ended and what was used waits for `end`."""

    __slots__ = ("_head", "_parts")

    def __init__(self, head: Head) -> None:
        self._head, self._parts = head, Parts()

    def feed(self, event: Event) -> bytes:
        if self._head.takes(event):
            return b""
        return b"".join(map(self._chunk, self._parts.of(event)))

    def end(self) -> bytes:
        last = b"".join(map(self._chunk, self._parts.rest()))
        candidates = [{**_content({"text": ""}), **told} for told in self._head.ending().values()]
        return last + _event(self._head.answer(candidates, ended=True))

    def _chunk(self, said: Said) -> bytes:
        choice, members = said
        return _event(self._head.answer([{**members, "index": choice}], ended=False))


def render_answer(
    events: Iterable[Event], call: Call, *, model: str, request_id: str, created: int = 0
) -> bytes:
    """Return the whole answer that a client would have put together from the stream."""
    del call, created
    head, parts = Head(model, request_id), Parts()
    candidates: dict[int, Wire] = {}
    for event in events:
        if not head.takes(event):
            _merge(candidates, parts.of(event))
    _merge(candidates, parts.rest())
    for choice, told in head.ending().items():
        candidate = candidates.setdefault(choice, _content({"text": ""}))
        candidates[choice] = candidate | told
    whole = [candidates[choice] for choice in sorted(candidates)]
    return _encode(head.answer(whole, ended=True))


def _merge(candidates: dict[int, Wire], said: Iterable[Said]) -> None:
    for choice, members in said:
        candidate = candidates.setdefault(choice, {"index": choice})
        if "content" in members:
            content = candidate.setdefault("content", {"parts": [], "role": "model"})
            _join(content["parts"], members["content"]["parts"][0])
        else:
            result = candidate.setdefault("logprobsResult", {})
            for name, tokens in members["logprobsResult"].items():
                result.setdefault(name, []).extend(tokens)


def _join(parts: list[Wire], part: Wire) -> None:
    """Put a piece of text to the one before it, unless that was signed and so is complete."""
    last = parts[-1] if parts else {}
    alike = "text" in part and "text" in last and part.get("thought") == last.get("thought")
    if alike and "thoughtSignature" not in last:
        parts[-1] = {**last, **part, "text": last["text"] + part["text"]}
    else:
        parts.append(part)


def _content(part: Wire) -> Wire:
    return {"content": {"parts": [part], "role": "model"}}


def _begun(event: ToolCallStart) -> Wire:
    signed = {} if event.signature is None else {"thoughtSignature": event.signature}
    return {"functionCall": {"id": event.id, "name": event.name, "args": ""}, **signed}


def _text(event: TextDelta | RefusalDelta) -> Wire:
    part: Wire = {"text": event.text}
    if isinstance(event, TextDelta) and event.signature is not None:
        part["thoughtSignature"] = event.signature
    return part


def _thought(event: ThinkingDelta) -> Wire:
    part: Wire = {"text": event.text, "thought": True}
    if event.signature or event.redacted is not None:
        foreign = Foreign(signature=event.signature, redacted=event.redacted)
        part["thoughtSignature"] = wrap(foreign)
    return part


def _logprobs(tokens: tuple[TokenLogprob, ...]) -> Wire:
    result: Wire = {"chosenCandidates": [_token(one) for one in tokens]}
    if any(one.top for one in tokens):
        result["topCandidates"] = [
            {"candidates": [_token(likely) for likely in one.top]} for one in tokens
        ]
    return result


def _token(one: TokenLogprob) -> Wire:
    return {"token": one.token, "logProbability": one.logprob}


def _object(text: str) -> Wire:
    """Return arguments as an object; what a limit cut is read as far as it goes."""
    try:
        value = jiter.from_json((text or "{}").encode(), partial_mode=True)
    except ValueError:
        value = None
    return value if isinstance(value, dict) else {"arguments": text}


def _event(value: Wire) -> bytes:
    return sse.unnamed(_encode(value))
