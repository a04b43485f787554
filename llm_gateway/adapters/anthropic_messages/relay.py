"""Pass an Anthropic answer on, byte for byte but for the model name, and see its facts."""

from typing import Any

import msgspec

from llm_gateway.adapters import splice, sse
from llm_gateway.adapters.anthropic_messages import wire
from llm_gateway.errors import InvalidAnswerError
from llm_gateway.types import Call, Facts, Usage


def relay(call: Call, *, model: str) -> "MessageRelay":
    del call  # usage is always part of the protocol
    return MessageRelay(model)


class MessageRelay:
    """Carries one stream; only message_start names the model."""

    __slots__ = ("_model", "_seen", "facts")

    def __init__(self, model: str) -> None:
        self._seen = wire.Seen()
        self.facts = self._seen.facts
        self._model = msgspec.json.encode(model)

    def feed(self, frame: bytes) -> bytes:
        data = sse.frame_data(frame)
        if not data:
            return frame
        try:
            event = wire.decode_event(data)
            if event.type == "error":
                self.facts.error = wire.error_in_answer(event.error)
                return b""
            self._seen.event(event)
            return frame if event.message is None else self._renamed(frame, data, event.message)
        except ValueError:
            self.facts.skipped += 1
            return b""

    def cut_short(self, call: Call, usage: Usage, *, created: int) -> bytes:
        del call, created
        events: list[dict[str, Any]] = []
        if self._seen.open_block is not None:
            events.append({"type": "content_block_stop", "index": self._seen.open_block})
        reason = {"stop_reason": "max_tokens", "stop_sequence": None}
        told = {"type": "message_delta", "delta": reason, "usage": wire.render_usage(usage)}
        events += [told, {"type": "message_stop"}]
        return b"".join(sse.event(each["type"], msgspec.json.encode(each)) for each in events)

    def _renamed(self, frame: bytes, data: bytes, message: wire.Message) -> bytes:
        if not isinstance(message.model, str):
            return frame
        return sse.with_data(
            frame, data, splice.substitute(data, ("message", "model"), self._model)
        )


def relay_answer(body: bytes, *, model: str) -> tuple[bytes, Facts]:
    """Return a whole answer with its model renamed, and its facts; a count of tokens as it is.

    Raises InvalidAnswerError for what is neither, or the error it names instead.
    """
    answer = whole(body)
    seen = wire.Seen()
    seen.message(answer)
    seen.facts.complete = True
    if seen.facts.model is None:
        return body, seen.facts
    return splice.substitute(body, ("model",), msgspec.json.encode(model)), seen.facts


def whole(body: bytes) -> wire.Message:
    """Decode a whole answer. Raises InvalidAnswerError, or the error it names instead."""
    try:
        answer = wire.decode_message(body)
        body.decode()  # parts that are passed over may hold what is no UTF-8
        splice.members(body)
    except ValueError as error:
        raise InvalidAnswerError("The provider's answer is not valid JSON.") from error
    if answer.error is not None:
        raise wire.error_in_answer(answer.error)
    if answer.content is None and answer.input_tokens is None:
        raise InvalidAnswerError("The provider's answer has no content.")
    return answer
