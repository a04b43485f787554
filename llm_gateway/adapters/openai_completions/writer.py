"""Write events as a completions answer, streamed or whole from the same pieces.

The protocol has texts and nothing else: thinking and sources have no place, a refusal is a text.
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from llm_gateway.adapters import sse
from llm_gateway.adapters.openai_chat.relay import DONE_FRAME
from llm_gateway.adapters.openai_chat.wire import render_usage
from llm_gateway.types import (
    Call,
    Event,
    Finish,
    Logprobs,
    RefusalDelta,
    Start,
    TextDelta,
    Usage,
    UsageSeen,
)

_PREFIX = "cmpl-"
_REASONS = {"length": "length", "content_filter": "content_filter", "refusal": "content_filter"}
Wire = dict[str, Any]


def writer(call: Call, *, model: str, request_id: str, created: int = 0) -> "CompletionWriter":
    """Return a writer of one stream; `created` stands in where the provider gave no time."""
    return CompletionWriter(_head(model, request_id, created), wants_usage=call.wants_usage)


def render_answer(
    events: Iterable[Event], call: Call, *, model: str, request_id: str, created: int = 0
) -> bytes:
    """Return the whole answer that a client would have put together from the stream."""
    del call  # a whole answer always tells its usage
    pieces, choices = Pieces(_head(model, request_id, created)), dict[int, Wire]()
    for event in events:
        for one in pieces.of(event):
            _merge(choices.setdefault(one["index"], _choice(one["index"], "")), one)
    body = {
        **pieces.head,
        "choices": [choices[number] for number in sorted(choices)] or [_choice(0, "")],
        "usage": render_usage(pieces.usage or Usage()),
    }
    for choice in body["choices"]:
        choice["finish_reason"] = choice["finish_reason"] or "stop"
    return msgspec.json.encode(body)


class Pieces:
    """Turns events into pieces of choices; takes what stands around them."""

    __slots__ = ("_lengths", "head", "usage")

    def __init__(self, head: Wire) -> None:
        self.head = head
        self.usage: Usage | None = None
        self._lengths: dict[int, int] = {}  # characters whose tokens were told, by choice

    def of(self, event: Event) -> list[Wire]:
        """Return the pieces that one event becomes."""
        match event:
            case Start(id=given, created=created):
                named = given if given.startswith(_PREFIX) else _PREFIX + given
                self.head["id"] = named if given else self.head["id"]
                self.head["created"] = created or self.head["created"]
            case UsageSeen(usage=usage):
                self.usage = usage
            case TextDelta(text=text, choice=choice) | RefusalDelta(text=text, choice=choice):
                return [_choice(choice, text)] if text else []
            case Logprobs(choice=choice):
                return [_choice(choice, "", logprobs=self._likely(event))]
            case Finish(choice=choice, reason=reason):
                return [_choice(choice, "", finish=_REASONS.get(reason, "stop"))]
            case _:
                pass
        return []

    def _likely(self, event: Logprobs) -> Wire:
        told: Wire = {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
        for token in event.tokens:
            offset = self._lengths.get(event.choice, 0)
            self._lengths[event.choice] = offset + len(token.token)
            told["tokens"].append(token.token)
            told["token_logprobs"].append(token.logprob)
            told["top_logprobs"].append({one.token: one.logprob for one in token.top})
            told["text_offset"].append(offset)
        return told


class CompletionWriter:
    """One stream. The usage chunk and [DONE] wait for `end`."""

    __slots__ = ("_pieces", "_wants_usage")

    def __init__(self, head: Wire, *, wants_usage: bool) -> None:
        self._pieces = Pieces(head)
        self._wants_usage = wants_usage

    def feed(self, event: Event) -> bytes:
        pieces = self._pieces.of(event)
        usage = {"usage": None} if self._wants_usage else {}
        chunks = ({**self._pieces.head, "choices": [piece], **usage} for piece in pieces)
        return b"".join(sse.unnamed(msgspec.json.encode(chunk)) for chunk in chunks)

    def end(self) -> bytes:
        usage = self._pieces.usage
        if not self._wants_usage or usage is None:
            return DONE_FRAME
        last = {**self._pieces.head, "choices": [], "usage": render_usage(usage)}
        return sse.unnamed(msgspec.json.encode(last)) + DONE_FRAME


def ending(head: Wire, choices: int, usage: Usage | None) -> bytes:
    """Return what ends a stream whose choices reached their limit of tokens."""
    chunks = [
        {**head, "choices": [_choice(number, "", finish="length")]} for number in range(choices)
    ]
    if usage is not None:
        chunks.append({**head, "choices": [], "usage": render_usage(usage)})
    return b"".join([*(sse.unnamed(msgspec.json.encode(one)) for one in chunks), DONE_FRAME])


def _head(model: str, request_id: str, created: int) -> Wire:
    identifier = _PREFIX + request_id
    return {"id": identifier, "object": "text_completion", "created": created, "model": model}


def _choice(
    number: int, text: str, *, logprobs: Wire | None = None, finish: str | None = None
) -> Wire:
    return {"text": text, "index": number, "logprobs": logprobs, "finish_reason": finish}


def _merge(choice: Wire, piece: Wire) -> None:
    choice["text"] += piece["text"]
    choice["finish_reason"] = piece["finish_reason"] or choice["finish_reason"]
    told = piece["logprobs"]
    if told is not None:
        before = choice["logprobs"] or {name: [] for name in told}
        choice["logprobs"] = {name: [*before[name], *told[name]] for name in told}
