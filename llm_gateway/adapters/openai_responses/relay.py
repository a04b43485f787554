"""Pass a responses answer on, byte for byte but for the model name, and see its facts."""

import msgspec

from llm_gateway.adapters import splice, sse
from llm_gateway.adapters.openai_responses import wire
from llm_gateway.adapters.openai_responses.closing import Unfinished
from llm_gateway.adapters.openai_responses.response import render_event
from llm_gateway.errors import InvalidAnswerError
from llm_gateway.types import Call, Facts, Usage

DONE = b"[DONE]"  # not the protocol's, but some compatible servers add it
_MODEL = ("response", "model")


def relay(call: Call, *, model: str) -> "ResponseRelay":
    del call  # usage is always part of the protocol
    return ResponseRelay(model)


class ResponseRelay:
    """Carries one stream; only events that hold the response name the model."""

    __slots__ = ("_model", "_next", "_seen", "facts")

    def __init__(self, model: str) -> None:
        self.facts = Facts()
        self._model = model
        self._seen = Unfinished()
        self._next = 0  # number of the event that would come next

    def feed(self, frame: bytes) -> bytes:
        data = sse.frame_data(frame)
        if not data or data == DONE:
            return frame
        try:
            event = wire.decode_event(data)
            self.facts.error = wire.told_error(event, self.facts)
            if self.facts.error is not None:
                return b""
            wire.observe(event, self.facts)
            self._seen.see(event, data)
            self._next += 1
            return frame if event.response is None else self._renamed(frame, data, event.response)
        except ValueError:
            self.facts.skipped += 1
            return b""

    def cut_short(self, call: Call, usage: Usage, *, created: int) -> bytes:
        del call, created
        events = self._seen.cut(wire.render_usage(usage), model=self._model)
        return b"".join(
            render_event(event, number) for number, event in enumerate(events, self._next)
        )

    def _renamed(self, frame: bytes, data: bytes, response: wire.Answer) -> bytes:
        if not isinstance(response.model, str):
            return frame
        named = splice.substitute(data, _MODEL, msgspec.json.encode(self._model))
        return sse.with_data(frame, data, named)


def relay_answer(body: bytes, *, model: str) -> tuple[bytes, Facts]:
    """Return a whole answer with its model renamed, and its facts.

    Raises InvalidAnswerError for what is no response, or the error it names instead.
    """
    answer, facts = whole(body), Facts()
    wire.observe_answer(answer, facts, ended=True)
    return _with_model(body, answer, model), facts


def shown(body: bytes, *, model: str) -> bytes:
    """Return what a provider keeps of a response, whatever became of it, under its public model."""
    return _with_model(body, _decoded(body), model)


def whole(body: bytes) -> wire.Answer:
    """Decode a whole answer. Raises InvalidAnswerError, or the error it names instead."""
    answer = _decoded(body)
    if answer.error is not None:
        raise wire.error_in_answer(answer.error)
    if answer.output is None:
        raise InvalidAnswerError("The provider's answer has no output.")
    return answer


def _decoded(body: bytes) -> wire.Answer:
    try:
        answer = wire.decode_answer(body)
        body.decode()  # parts that are passed over may hold what is no UTF-8
        splice.members(body)
    except ValueError as error:
        raise InvalidAnswerError("The provider's answer is not valid JSON.") from error
    return answer


def _with_model(body: bytes, answer: wire.Answer, model: str) -> bytes:
    if not isinstance(answer.model, str):
        return body
    return splice.substitute(body, ("model",), msgspec.json.encode(model))
