"""Pass a Gemini answer on, byte for byte but for the model name, and see its facts.

The name stands in `modelVersion`. A stream ends without a word, so what tells its end is kept back
until the connection says that nothing follows.
"""

import re

import msgspec

from llm_gateway.adapters import splice, sse
from llm_gateway.adapters.gemini import wire
from llm_gateway.errors import InvalidAnswerError
from llm_gateway.types import Call, Facts, Usage

_MODEL_KEY = b'"modelVersion"'
_MODEL = re.compile(rb'"modelVersion"\s*:\s*("(?:[^"\\]|\\.)*")')


def relay(call: Call, *, model: str) -> "GeminiRelay":
    del call  # usage is always part of the protocol
    return GeminiRelay(model)


class GeminiRelay:
    """Carries one stream; the empty frame says that it is over."""

    __slots__ = ("_held", "_model", "_public", "_seen", "facts")

    def __init__(self, model: str) -> None:
        self._seen = wire.Seen()
        self.facts = self._seen.facts
        self._public, self._model = model, msgspec.json.encode(model)
        self._held = b""

    def feed(self, frame: bytes) -> bytes:
        if not frame:
            return self._ended()
        data = sse.frame_data(frame)
        if not data:
            return self._keep(frame.strip() and frame) if self._held else frame
        try:
            chunk = wire.decode(data)
            if chunk.error is not None:
                self.facts.error = wire.error_in_answer(chunk.error)
                return b""
            return self._pass_on(frame, data, chunk)
        except ValueError:
            self.facts.skipped += 1
            return b""

    def cut_short(self, call: Call, usage: Usage, *, created: int) -> bytes:
        del created
        if self._held:
            return self._held
        content = {"parts": [{"text": ""}], "role": "model"}
        chunk = {
            "candidates": [
                {"content": content, "finishReason": "MAX_TOKENS", "index": number}
                for number in range(call.choices)
            ],
            "usageMetadata": wire.render_usage(usage),
            "modelVersion": self._public,
            "responseId": self.facts.id or "",
        }
        return sse.unnamed(msgspec.json.encode(chunk))

    def _pass_on(self, frame: bytes, data: bytes, chunk: wire.Chunk) -> bytes:
        before = self.facts.output_bytes
        self._seen.chunk(chunk)
        if isinstance(chunk.model_version, str):
            frame = self._renamed(frame, data)
        if not self._seen.finished:
            return frame
        if self.facts.output_bytes == before:
            return self._keep(frame)
        # Some servers say "STOP" in every chunk: only the last one that says something is kept.
        passed, self._held = self._held, frame
        return passed

    def _keep(self, frame: bytes) -> bytes:
        self._held += frame
        return b""

    def _ended(self) -> bytes:
        self._seen.end()
        held, self._held = self._held, b""
        return held

    def _renamed(self, frame: bytes, data: bytes) -> bytes:
        renamed = _exchanged(frame, self._model)
        if renamed is None:
            new = splice.substitute(data, ("modelVersion",), self._model)
            return sse.with_data(frame, data, new)
        return renamed


def relay_answer(body: bytes, *, model: str) -> tuple[bytes, Facts]:
    """Return a whole answer with its model renamed, and its facts.

    Raises InvalidAnswerError for what is no answer, or the error it names instead.
    """
    (answer,) = whole(body, most=1)
    seen = wire.Seen()
    seen.chunk(answer)
    seen.end(final=True)
    if seen.facts.model is None:
        return body, seen.facts
    name = msgspec.json.encode(model)
    renamed = _exchanged(body, name)
    try:
        return renamed or splice.substitute(body, ("modelVersion",), name), seen.facts
    except ValueError as error:
        raise InvalidAnswerError("The provider's answer is not valid JSON.") from error


def whole(body: bytes, *, most: int | None = None) -> list[wire.Chunk]:
    """Decode a whole answer; a list of chunks, which a stream may come as, counts as their stream.

    Raises InvalidAnswerError, or the error it names instead.
    """
    try:
        answers = _decode_list(body) if body.lstrip().startswith(b"[") else [wire.decode(body)]
        body.decode()  # parts that are passed over may hold what is no UTF-8
    except ValueError as error:
        raise InvalidAnswerError("The provider's answer is not valid JSON.") from error
    for answer in answers:
        if answer.error is not None:
            raise wire.error_in_answer(answer.error)
    if not any(one.candidates or one.prompt_feedback for one in answers):
        raise InvalidAnswerError("The provider's answer has no candidates.")
    if most is not None and len(answers) > most:
        raise InvalidAnswerError("The provider's answer is a list of answers.")
    return answers


def _exchanged(data: bytes, model: bytes) -> bytes | None:
    """Return `data` with the one model it names exchanged, None where there are several.

    Quotes inside a text are escaped, so what looks like the key is the key; and the answer has one.
    """
    if data.count(_MODEL_KEY) != 1 or (match := _MODEL.search(data)) is None:
        return None
    return data[: match.start(1)] + model + data[match.end(1) :]


_decode_list = msgspec.json.Decoder(list[wire.Chunk]).decode
