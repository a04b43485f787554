"""The dialect of the native API: a caller's side only, no provider speaks it.

A request is a small part of a chat body, so it is read by that dialect's own reader. What only the
gateway knows of an answer (provider, cost, time) is added where the answer leaves.
"""

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

import msgspec

from llm_gateway.adapters import openai_chat, sse
from llm_gateway.errors import GatewayError, InvalidRequestError
from llm_gateway.types import (
    Call,
    ChatRequest,
    Event,
    Finish,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
    Usage,
    UsageSeen,
)

name = "native"
words = openai_chat.words

DONE = b"[DONE]"
FIELDS = frozenset({
    "max_tokens", "messages", "model", "prompt", "response_schema", "stop", "stream",
    "temperature", "top_p", "user",
})  # fmt: skip
SCHEMA = "response_schema"
_encode = msgspec.json.encode


# --- the request -----------------------------------------------------------------------------


def parse_call(body: dict[str, Any], *, size: int) -> Call:
    """Return what steers the gateway. Raises InvalidRequestError naming the field."""
    for field in body:
        if field not in FIELDS:
            raise InvalidRequestError(f"'{field}' is not a parameter.", param=field)
    asked = _chat_body(body)
    # The service asks for it in each target's own way; what names the request has to name it too.
    schema = asked.pop(SCHEMA, None)
    call = openai_chat.parse_call(asked, size=size)
    if schema is not None:
        asked = {**asked, SCHEMA: schema}
    return msgspec.structs.replace(call, dialect=name, wants_usage=True, body=asked)


def parse_request(body: dict[str, Any]) -> ChatRequest:
    """Return the request in the hub's words; `body` is that of the call."""
    return openai_chat.parse_request({key: body[key] for key in body if key != SCHEMA})


def _chat_body(body: dict[str, Any]) -> dict[str, Any]:
    """Return the body with `prompt` as the one message it stands for."""
    given = {field: value for field, value in body.items() if value is not None}
    prompt = given.pop("prompt", None)
    if prompt is None:
        return given
    if "messages" in given:
        raise InvalidRequestError("Send 'messages' or 'prompt', not both.", param="prompt")
    if not isinstance(prompt, str) or not prompt:
        raise InvalidRequestError("'prompt' must be a text.", param="prompt")
    return {**given, "messages": [{"role": "user", "content": prompt}]}


# --- the answer ------------------------------------------------------------------------------


class NativeWriter:
    """One stream: a frame for each piece of text, one with finish reason and usage, [DONE]."""

    __slots__ = ("_model", "_reason", "_usage")

    def __init__(self, model: str) -> None:
        self._model = model
        self._reason: str | None = None
        self._usage = Usage()

    def feed(self, event: Event) -> bytes:
        if isinstance(event, TextDelta | RefusalDelta):
            return self._frame(event.text)
        if isinstance(event, ToolCallDelta):
            return self._frame(event.arguments)
        if isinstance(event, Finish):
            self._reason = _reason(event)
        elif isinstance(event, UsageSeen):
            self._usage = event.usage
        return b""

    def end(self) -> bytes:
        last = self._frame("", finish_reason=self._reason, usage=render_usage(self._usage))
        return last + sse.unnamed(DONE)

    def _frame(self, text: str, **rest: Any) -> bytes:  # noqa: ANN401 - JSON
        chunk = {"content": text, "model": self._model, "finish_reason": None, **rest}
        return sse.unnamed(_encode(chunk))


def writer(call: Call, *, model: str, request_id: str, created: int = 0) -> NativeWriter:
    del call, request_id, created  # the frames say none of it
    return NativeWriter(model)


def render_answer(
    events: Iterable[Event], call: Call, *, model: str, request_id: str, created: int = 0
) -> bytes:
    """Return the whole answer, without what only the gateway knows."""
    del call, created
    pieces: list[str] = []
    called: list[str] = []
    reason: str | None = None
    usage = Usage()
    for event in events:
        if isinstance(event, TextDelta | RefusalDelta):
            pieces.append(event.text)
        elif isinstance(event, ToolCallDelta):
            called.append(event.arguments)
        elif isinstance(event, Finish):
            reason = _reason(event)
        elif isinstance(event, UsageSeen):
            usage = event.usage
    return _encode(
        {
            "content": "".join(called or pieces),
            "object": None,
            "model": model,
            "usage": render_usage(usage),
            "finish_reason": reason,
            "request_id": request_id,
        }
    )


def _reason(event: Finish) -> str:
    """Return why an answer ended; the only tool there can be is the answer itself."""
    return "stop" if event.reason == "tool_calls" else event.reason


def render_usage(usage: Usage) -> dict[str, int]:
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
        "cached_tokens": usage.cache_read,
        "reasoning_tokens": usage.reasoning,
    }


# --- errors ----------------------------------------------------------------------------------


def render_error(error: GatewayError, *, request_id: str) -> dict[str, Any]:
    """Return an error as a problem (RFC 9457); what its detail holds are further members."""
    problem = {
        **error.detail,
        "type": f"urn:mobius:problem:{error.code}",
        "title": HTTPStatus(error.status).phrase,
        "status": error.status,
        "detail": error.message,
        "code": error.code,
        "request_id": request_id,
    }
    return problem if error.param is None else {**problem, "param": error.param}


def render_stream_error(error: GatewayError, *, request_id: str, after: bytes = b"") -> bytes:
    del after  # frames have no numbers
    return sse.unnamed(_encode({"error": render_error(error, request_id=request_id)}))
