"""Write events as an OpenAI chat answer, streamed or whole from the same deltas.

Reasoning is written as `reasoning_content`. Where the target signed it, each block is also written
as a whole as `thinking_blocks: [{"index", "type", "thinking", "signature"}]`, or with `data` where
it is redacted; a client that sends the message back carries the signature with it. What Google
signs is a call or a text: that signature stands where Google's own compatible servers put it.
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from llm_gateway.adapters import sse
from llm_gateway.adapters.openai_chat.relay import DONE
from llm_gateway.adapters.openai_chat.wire import render_usage
from llm_gateway.types import (
    Call,
    Citation,
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

_REASONS = {"refusal": "content_filter", "pause": "stop"}  # the others are the protocol's own
_PREFIX = "chatcmpl-"
Delta = dict[str, Any]
_encode = msgspec.json.encode


def writer(call: Call, *, model: str, request_id: str, created: int = 0) -> "ChatWriter":
    """Return a writer of one stream; `created` stands in where the provider gave no time."""
    return ChatWriter(call, Head(model, request_id, created))


class Head:
    """What every chunk of an answer begins with."""

    __slots__ = ("created", "id", "model")

    def __init__(self, model: str, request_id: str, created: int) -> None:
        self.id, self.model, self.created = _PREFIX + request_id, model, created

    def start(self, event: Start) -> None:
        if event.id:
            self.id = event.id if event.id.startswith(_PREFIX) else _PREFIX + event.id
        self.created = event.created or self.created


class Deltas:
    """Turns events into deltas of a message: the one place where both shapes come from."""

    __slots__ = ("_begun", "_blocks", "_refused", "_sources", "_thought")

    def __init__(self) -> None:
        self._begun: set[int] = set()
        self._refused: set[int] = set()
        self._thought: dict[int, str] = {}
        self._blocks: dict[int, int] = {}
        self._sources: dict[int, int] = {}

    def of(self, event: Event) -> tuple[int, Delta, str | None] | None:
        """Return choice, delta and finish reason; None for an event that is no part of a choice."""
        match event:
            case Finish(reason=reason, choice=choice):
                refused = reason == "refusal" and choice in self._refused
                word = "stop" if refused else _REASONS.get(reason, reason)
                return choice, self._first(choice, {}), word
            case TextDelta(text=text, signature=None, choice=choice):
                delta: Delta = {"content": text}
            case TextDelta(text=text, signature=str(signature), choice=choice):
                delta = {"content": text} if text else {}
                delta["extra_content"] = _signed(signature)
            case RefusalDelta(text=text, choice=choice):
                self._refused.add(choice)
                delta = {"refusal": text}
            case ThinkingDelta(choice=choice):
                delta = self._thinking(event)
            case Citation(url=str(), choice=choice):
                number = self._sources.get(choice, 0)
                self._sources[choice] = number + 1
                delta = {"annotations": [{"index": number, **_annotation(event)}]}
            case ToolCallStart(choice=choice) | ToolCallDelta(choice=choice):
                delta = {"tool_calls": [_tool_call(event)]}
            case _:
                return None
        return choice, self._first(choice, delta), None

    def _first(self, choice: int, delta: Delta) -> Delta:
        if choice in self._begun:
            return delta
        self._begun.add(choice)
        return {"role": "assistant", "content": None if delta else "", **delta}

    def _thinking(self, event: ThinkingDelta) -> Delta:
        choice, delta = event.choice, Delta()
        if event.text:
            delta["reasoning_content"] = event.text
            self._thought[choice] = self._thought.get(choice, "") + event.text
        if event.signature is None and event.redacted is None:
            return delta
        number = self._blocks.get(choice, 0)
        self._blocks[choice] = number + 1
        block: Delta = {"index": number}
        if event.redacted is not None:
            block |= {"type": "redacted_thinking", "data": event.redacted}
        else:
            thought = self._thought.pop(choice, "")
            block |= {"type": "thinking", "thinking": thought, "signature": event.signature}
        return {**delta, "thinking_blocks": [block]}


def _tool_call(event: ToolCallStart | ToolCallDelta) -> Delta:
    if isinstance(event, ToolCallDelta):
        return {"index": event.index, "function": {"arguments": event.arguments}}
    function = {"name": event.name, "arguments": ""}
    call = {"index": event.index, "id": event.id, "type": "function", "function": function}
    if event.signature is not None:
        call["extra_content"] = _signed(event.signature)
    return call


def _annotation(event: Citation) -> Delta:
    """Return a source in the web; the protocol has no place for any other."""
    cited = {
        "start_index": event.start or 0,
        "end_index": event.end or 0,
        "title": event.title or "",
        "url": event.url,
    }
    return {"type": "url_citation", "url_citation": cited}


def _signed(signature: str) -> Delta:
    return {"google": {"thought_signature": signature}}


def _logprobs(event: Logprobs) -> Delta:
    tokens = [
        {**_token(one), "top_logprobs": [_token(likely) for likely in one.top]}
        for one in event.tokens
    ]
    return {"content": tokens, "refusal": None}


def _token(one: TokenLogprob) -> Delta:
    raw = list(one.token.encode()) if one.raw is None else one.raw
    return {"token": one.token, "bytes": raw, "logprob": one.logprob}


class ChatWriter:
    """One stream. The usage chunk and [DONE] wait for `end`."""

    __slots__ = ("_deltas", "_head", "_opening", "_tail", "_usage", "_wants_usage")

    def __init__(self, call: Call, head: Head) -> None:
        self._head = head
        self._wants_usage = call.wants_usage
        self._tail = b',"usage":null}' if call.wants_usage else b"}"
        self._usage: Usage | None = None
        self._deltas = Deltas()
        self._opening = self._open()

    def feed(self, event: Event) -> bytes:
        if isinstance(event, Start):
            self._head.start(event)
            self._opening = self._open()
            return b""
        if isinstance(event, UsageSeen):
            self._usage = event.usage
            return b""
        if isinstance(event, Logprobs):
            return self._chunk(event.choice, b"{}", b"null", _encode(_logprobs(event)))
        part = self._deltas.of(event)
        if part is None:
            return b""
        choice, delta, reason = part
        return self._chunk(choice, _encode(delta), _encode(reason))

    def end(self) -> bytes:
        done = sse.unnamed(DONE)
        if not self._wants_usage or self._usage is None:
            return done
        usage = _encode(render_usage(self._usage))
        return sse.unnamed(self._opening + b'[],"usage":' + usage + b"}") + done

    def _chunk(self, choice: int, delta: bytes, reason: bytes, logprobs: bytes = b"null") -> bytes:
        body = b'[{"index":%d,"delta":%b,"logprobs":%b,"finish_reason":%b}]' % (
            choice,
            delta,
            logprobs,
            reason,
        )
        return sse.unnamed(self._opening + body + self._tail)

    def _open(self) -> bytes:
        head = {
            "id": self._head.id,
            "object": "chat.completion.chunk",
            "created": self._head.created,
            "model": self._head.model,
        }
        return _encode(head)[:-1] + b',"choices":'


def render_answer(
    events: Iterable[Event], call: Call, *, model: str, request_id: str, created: int = 0
) -> bytes:
    """Return the whole answer that a client would have put together from the stream."""
    del call  # a whole answer always tells its usage
    head, deltas = Head(model, request_id, created), Deltas()
    choices: dict[int, Delta] = {}
    usage = Usage()
    for event in events:
        if isinstance(event, Start):
            head.start(event)
        elif isinstance(event, UsageSeen):
            usage = event.usage
        elif isinstance(event, Logprobs):
            choice = choices.setdefault(event.choice, _empty_choice(event.choice))
            told = choice["logprobs"] or {"content": [], "refusal": None}
            choice["logprobs"] = {**told, "content": told["content"] + _logprobs(event)["content"]}
        elif part := deltas.of(event):
            number, delta, reason = part
            choice = choices.setdefault(number, _empty_choice(number))
            _merge(choice["message"], delta)
            choice["finish_reason"] = reason or choice["finish_reason"]
    body = {
        "id": head.id,
        "object": "chat.completion",
        "created": head.created,
        "model": head.model,
        "choices": [choices[number] for number in sorted(choices)] or [_empty_choice(0)],
        "usage": render_usage(usage),
    }
    return _encode(body)


def _empty_choice(number: int) -> Delta:
    message = {"role": "assistant", "content": None, "refusal": None}
    return {"index": number, "message": message, "logprobs": None, "finish_reason": "stop"}


def _merge(message: Delta, delta: Delta) -> None:
    for name, value in delta.items():
        if name == "tool_calls":
            _merge_call(message.setdefault(name, []), value[0])
        elif name in {"thinking_blocks", "annotations"}:
            message.setdefault(name, []).extend(value)
        elif name == "extra_content":
            message[name] = value
        elif name == "role" or value is None:
            continue
        else:
            message[name] = (message.get(name) or "") + value


def _merge_call(calls: list[Delta], entry: Delta) -> None:
    index = entry["index"]
    if index < len(calls):
        calls[index]["function"]["arguments"] += entry["function"]["arguments"]
    else:
        calls.append({name: value for name, value in entry.items() if name != "index"})
