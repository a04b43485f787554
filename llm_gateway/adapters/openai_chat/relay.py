"""Pass an OpenAI chat answer on, byte for byte but for the model name, and see its facts.

What only our own `stream_options.include_usage` caused is taken out again: the extra chunk, and
`"usage":null` in the others.
"""

import re
from typing import Any

import msgspec
from msgspec import UNSET

from llm_gateway.adapters import splice, sse
from llm_gateway.adapters.openai_chat import wire
from llm_gateway.errors import InvalidAnswerError
from llm_gateway.types import Call, Facts, Usage

DONE = b"[DONE]"
DONE_FRAME = sse.unnamed(DONE)
_NULL_USAGE = b',"usage":null'
_MODEL_KEY = b'"model"'
_MODEL = re.compile(rb'"model"\s*:\s*("(?:[^"\\]|\\.)*")')
# Between it and one end of the chunk stand only plain members: so it is a member of the chunk
# itself, found without parsing again.
_MEMBER = rb'"\w+":(?:"[^"\\]*"|null|true|false|-?\d+)'
_FLAT_START = re.compile(rb"\{%b(?:,%b)*" % (_MEMBER, _MEMBER))
_FLAT_END = re.compile(rb"(?:,%b)*\}" % _MEMBER)


def relay(call: Call, *, model: str) -> "ChatRelay":
    return ChatRelay(model, keep_usage=call.wants_usage)


class ChatRelay:
    """Carries one stream. All chunks of a stream mostly start alike, up to the model's value.

    That start is found once by parsing; where the next frame begins with the same bytes the value
    stands at the same place, and is exchanged without parsing for it again.
    """

    __slots__ = ("_keep_usage", "_model", "_new_start", "_start", "facts")

    def __init__(self, model: str, *, keep_usage: bool) -> None:
        self.facts = Facts()
        self._model = msgspec.json.encode(model)
        self._keep_usage = keep_usage
        self._start = self._new_start = b"\0"  # no frame starts so

    def feed(self, frame: bytes) -> bytes:
        data = sse.frame_data(frame)
        if not data:
            return frame
        if data == DONE:
            self.facts.complete = True
            return frame
        try:
            chunk = wire.decode(data)
            return self._pass_on(frame, data, chunk)
        except ValueError:
            self.facts.skipped += 1
            return b""

    def cut_short(self, call: Call, usage: Usage, *, created: int) -> bytes:
        head: dict[str, Any] = {
            "id": self.facts.id,
            "object": "chat.completion.chunk",
            "created": created,
            "model": msgspec.Raw(self._model),
        }
        finish: dict[str, Any] = {"delta": {}, "logprobs": None, "finish_reason": "length"}
        chunks = [{**head, "choices": [{"index": n, **finish}]} for n in range(call.choices)]
        if self._keep_usage:
            chunks.append({**head, "choices": [], "usage": wire.render_usage(usage)})
        return b"".join([*(sse.unnamed(msgspec.json.encode(c)) for c in chunks), sse.unnamed(DONE)])

    def _pass_on(self, frame: bytes, data: bytes, chunk: wire.Chunk) -> bytes:
        if chunk.error is not None:
            self.facts.error = wire.error_in_answer(chunk.error)
            return b""
        wire.observe(chunk, self.facts)
        if self._keep_usage or chunk.usage is UNSET:
            return self._renamed(frame, data, chunk)
        if bytes(chunk.usage) == wire.NULL:
            kept = _without_null_usage(data)
            return self._renamed(sse.with_data(frame, data, kept), kept, chunk)
        return b"" if chunk.choices == [] else self._renamed(frame, data, chunk)

    def _renamed(self, frame: bytes, data: bytes, chunk: wire.Chunk) -> bytes:
        if frame.startswith(self._start):
            return self._new_start + frame[len(self._start) :]
        if not isinstance(chunk.model, str) or not chunk.model:
            return frame
        offset = frame.find(data)
        member = next(member for member in splice.members(data) if member.key == "model")
        if offset < 0:
            return sse.with_data(
                frame, data, data[: member.value] + self._model + data[member.end :]
            )
        self._start = frame[: offset + member.end]
        self._new_start = frame[: offset + member.value] + self._model
        return self._new_start + frame[len(self._start) :]


def relay_answer(body: bytes, *, model: str) -> tuple[bytes, Facts]:
    """Return a whole answer with its model renamed, and its facts.

    Raises InvalidAnswerError for what is no chat answer, or the error it names instead.
    """
    answer = whole(body)
    facts = Facts()
    wire.observe(answer, facts)
    facts.complete = True
    if facts.model is None:
        return body, facts
    renamed = msgspec.json.encode(model)
    if body.count(_MODEL_KEY) == 1 and (match := _MODEL.search(body)):
        # It stands once, and the answer has one: so it is that one, found without a walk.
        return body[: match.start(1)] + renamed + body[match.end(1) :], facts
    try:
        return splice.substitute(body, ("model",), renamed), facts
    except ValueError as error:
        raise InvalidAnswerError("The provider's answer is not valid JSON.") from error


def whole(body: bytes) -> wire.Chunk:
    """Decode a whole answer. Raises InvalidAnswerError, or the error it names instead."""
    try:
        answer = wire.decode(body)
        body.decode()  # parts that are passed over may hold what is no UTF-8
    except ValueError as error:
        raise InvalidAnswerError("The provider's answer is not valid JSON.") from error
    if answer.error is not None:
        raise wire.error_in_answer(answer.error)
    if not answer.choices:
        raise InvalidAnswerError("The provider's answer has no choices.")
    for choice in answer.choices:
        if choice.message is not None:
            choice.delta = None  # Perplexity's, which says nothing more
    return answer


def _without_null_usage(data: bytes) -> bytes:
    at = data.rfind(_NULL_USAGE)
    after = at + len(_NULL_USAGE)
    if at > 0 and (_FLAT_END.fullmatch(data, after) or _FLAT_START.fullmatch(data, 0, at)):
        return data[:at] + data[after:]
    return splice.without(data, "usage")
