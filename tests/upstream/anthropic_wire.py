"""Speak Anthropic messages and count_tokens as their provider does."""

from json import loads

from tests.upstream.wire import (
    Answer,
    Event,
    Json,
    Prompt,
    Tokens,
    ToolCall,
    dump,
    last_user,
    placed,
    texts,
    words,
)

ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}
STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}


class _Anthropic:
    def read(self, body: Json) -> Prompt:
        messages = body.get("messages") or []
        everything = [body.get("system"), messages]
        return Prompt(
            model=str(body.get("model")),
            tokens=words(everything),
            text=" ".join(texts(everything)),
            last_user=last_user(messages),
            stream=bool(body.get("stream")),
            limit=body.get("max_tokens"),
        )

    def usage(self, tokens: Tokens) -> Json:
        return {
            "input_tokens": tokens.input - tokens.cache_read - tokens.cache_write,
            "cache_creation_input_tokens": tokens.cache_write,
            "cache_read_input_tokens": tokens.cache_read,
            "output_tokens": tokens.output,
        }

    def tokens(self, usage: Json) -> Tokens:
        written = usage.get("cache_creation_input_tokens", 0)
        read = usage.get("cache_read_input_tokens", 0)
        return Tokens(usage["input_tokens"] + read + written, usage["output_tokens"], read, written)

    def error(self, status: int, message: str) -> Json:
        kind = ERROR_TYPES.get(status, "api_error")
        return {"type": "error", "error": {"type": kind, "message": message}}

    def error_event(self, error: Json) -> bytes:
        return _event(error)


class AnthropicMessages(_Anthropic):
    name = "anthropic.messages"
    billable = True

    def whole(self, answer: Answer) -> list[Event]:
        content: list[Json] = [
            {"type": "tool_use", "id": call.id, "name": call.name, "input": loads(call.arguments)}
            for call in answer.calls
        ]
        if answer.pieces:
            content.insert(0, {"type": "text", "text": "".join(answer.pieces)})
        stop = STOP_REASONS[answer.finish]
        body = _message(answer) | {"content": content, "stop_reason": stop}
        usage = answer.usages[-1] if answer.usages else None
        if usage is not None:
            body |= placed(usage, answer.usage_path)
        return [Event(dump(body), answer.tokens.output, usage)]

    def stream(self, answer: Answer) -> list[Event]:
        message, reported = _opening(answer)
        events = [
            Event(_event({"type": "message_start", "message": message}), 0, reported),
            Event(_event({"type": "ping"})),
        ]
        if answer.pieces:
            events += _text_block(answer.pieces)
        for place, call in enumerate(answer.calls, int(bool(answer.pieces))):
            events += _tool_block(place, call)
        stop = {"stop_reason": STOP_REASONS[answer.finish], "stop_sequence": None}
        closing: Json = {"type": "message_delta", "delta": stop}
        closings = [
            Event(_event(closing | placed(usage, answer.usage_path)), 0, usage)
            for usage in answer.usages
        ] or [Event(_event(closing))]
        return [*events, *closings, Event(_event({"type": "message_stop"}))]


class AnthropicCountTokens(_Anthropic):
    name = "anthropic.count_tokens"
    billable = False

    def whole(self, answer: Answer) -> list[Event]:
        return [Event(dump({"input_tokens": answer.tokens.input}))]

    def stream(self, answer: Answer) -> list[Event]:
        return self.whole(answer)


def _message(answer: Answer) -> Json:
    return {
        "id": f"msg_up{answer.n}",
        "type": "message",
        "role": "assistant",
        "model": answer.prompt.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
    }


def _opening(answer: Answer) -> tuple[Json, Json | None]:
    """The provider reports the input at once, and one token of output to come."""
    message = _message(answer)
    if not answer.usages:
        return message, None
    usage = answer.usages[0] | {"output_tokens": 1}
    return message | placed(usage, answer.usage_path), usage


def _text_block(pieces: tuple[str, ...]) -> list[Event]:
    start = {"type": "text", "text": ""}
    deltas = [{"type": "text_delta", "text": piece} for piece in pieces]
    return [
        _block("start", 0, content_block=start),
        *(_block("delta", 0, delta=delta)._replace(tokens=1) for delta in deltas),
        _block("stop", 0),
    ]


def _tool_block(place: int, call: ToolCall) -> list[Event]:
    start = {"type": "tool_use", "id": call.id, "name": call.name, "input": {}}
    deltas = [{"type": "input_json_delta", "partial_json": part} for part in call.halves()]
    return [
        _block("start", place, content_block=start),
        *(_block("delta", place, delta=delta) for delta in deltas),
        _block("stop", place)._replace(tokens=1),
    ]


def _block(what: str, place: int, **fields: Json) -> Event:
    return Event(_event({"type": f"content_block_{what}", "index": place, **fields}))


def _event(value: Json) -> bytes:
    return b"event: " + str(value["type"]).encode() + b"\ndata: " + dump(value) + b"\n\n"
