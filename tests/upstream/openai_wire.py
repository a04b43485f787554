"""Speak OpenAI chat completions and embeddings as their provider does."""

import base64
import struct
from typing import Any

from tests.upstream.wire import (
    CREATED,
    Answer,
    Event,
    Json,
    Prompt,
    Tokens,
    ToolCall,
    data,
    dump,
    last_user,
    placed,
    texts,
    words,
)

ERROR_TYPES = {
    400: "invalid_request_error",
    401: "invalid_request_error",
    404: "invalid_request_error",
    429: "rate_limit_error",
}


class OpenAi:
    billable = True

    def tokens(self, usage: Json) -> Tokens:
        details = usage.get("prompt_tokens_details") or {}
        return Tokens(
            usage["prompt_tokens"],
            usage.get("completion_tokens", 0),
            details.get("cached_tokens", 0),
            details.get("cache_write_tokens", 0),
        )

    def error(self, status: int, message: str) -> Json:
        kind = ERROR_TYPES.get(status, "server_error")
        return {"error": {"message": message, "type": kind, "param": None, "code": None}}

    def error_event(self, error: Json) -> bytes:
        return data(error)


class OpenAiChat(OpenAi):
    name = "openai.chat"

    def read(self, body: Json) -> Prompt:
        messages = body.get("messages") or []
        return Prompt(
            model=str(body.get("model")),
            tokens=words(messages),
            text=" ".join(texts(messages)),
            last_user=last_user(messages),
            stream=bool(body.get("stream")),
            limit=body.get("max_completion_tokens") or body.get("max_tokens"),
            choices=body.get("n") or 1,
            wants_usage=bool((body.get("stream_options") or {}).get("include_usage")),
        )

    def usage(self, tokens: Tokens) -> Json:
        usage: Json = {
            "prompt_tokens": tokens.input,
            "completion_tokens": tokens.output,
            "total_tokens": tokens.input + tokens.output,
        }
        if tokens.cache_read or tokens.cache_write:
            usage["prompt_tokens_details"] = {
                "cached_tokens": tokens.cache_read,
                "cache_write_tokens": tokens.cache_write,
            }
        return usage

    def whole(self, answer: Answer) -> list[Event]:
        content = "".join(answer.pieces) or (None if answer.calls else "")
        message: Json = {"role": "assistant", "content": content, "refusal": None}
        if answer.calls:
            message["tool_calls"] = [
                {"id": call.id, "type": "function", "function": _function(call)}
                for call in answer.calls
            ]
        body = _envelope(answer, "chat.completion") | {
            "choices": [
                {"index": i, "message": message, "finish_reason": answer.finish, "logprobs": None}
                for i in range(answer.prompt.choices)
            ]
        }
        usage = answer.usages[-1] if answer.usages else None
        if usage is not None:
            body |= placed(usage, answer.usage_path)
        return [Event(dump(body), answer.tokens.output, usage)]

    def stream(self, answer: Answer) -> list[Event]:
        counted = answer.prompt.wants_usage
        envelope = _envelope(answer, "chat.completion.chunk")

        def chunk(delta: Json, choice: int, finish: str | None = None) -> bytes:
            entry = {"index": choice, "delta": delta, "finish_reason": finish, "logprobs": None}
            body = envelope | {"choices": [entry]}
            return data(body | {"usage": None} if counted else body)

        indices = range(answer.prompt.choices)
        events = [Event(chunk({"role": "assistant", "content": ""}, i)) for i in indices]
        events += [Event(chunk({"content": p}, i), 1) for p in answer.pieces for i in indices]
        for place, call in enumerate(answer.calls):
            deltas = _call_deltas(place, call)
            last = len(deltas) - 1
            events += [
                Event(chunk({"tool_calls": [delta]}, i), int(part == last))
                for i in indices
                for part, delta in enumerate(deltas)
            ]
        events += [Event(chunk({}, i, answer.finish)) for i in indices]
        for usage in answer.usages if counted else ():
            body = envelope | {"choices": []} | placed(usage, answer.usage_path)
            events.append(Event(data(body), 0, usage))
        return [*events, Event(b"data: [DONE]\n\n")]


class OpenAiEmbeddings(OpenAi):
    """Vectors of eight numbers that depend on position and length of their input alone."""

    name = "openai.embeddings"

    def read(self, body: Json) -> Prompt:
        items = _inputs(body.get("input"))
        tokens = sum(len(item.split()) if isinstance(item, str) else len(item) for item in items)
        text = " ".join(item for item in items if isinstance(item, str))
        # A limit of no words: a vector is no output that anybody bills.
        return Prompt(
            model=str(body.get("model")), tokens=tokens, text=text, last_user=text, limit=0
        )

    def usage(self, tokens: Tokens) -> Json:
        return {"prompt_tokens": tokens.input, "total_tokens": tokens.input}

    def whole(self, answer: Answer) -> list[Event]:
        size = answer.body.get("dimensions") or 8
        entries = []
        for index, item in enumerate(_inputs(answer.body.get("input"))):
            vector = [(index + 1) / (len(item) + place + 2) for place in range(size)]
            packed = answer.body.get("encoding_format") == "base64"
            value = _packed(vector) if packed else vector
            entries.append({"object": "embedding", "index": index, "embedding": value})
        body: Json = {"object": "list", "data": entries, "model": answer.prompt.model}
        usage = answer.usages[-1] if answer.usages else None
        if usage is not None:
            body |= placed(usage, answer.usage_path)
        return [Event(dump(body), 0, usage)]

    def stream(self, answer: Answer) -> list[Event]:
        return self.whole(answer)


def _envelope(answer: Answer, kind: str) -> Json:
    return {
        "id": f"chatcmpl-up{answer.n}",
        "object": kind,
        "created": CREATED,
        "model": answer.prompt.model,
        "system_fingerprint": "fp_scripted",
    }


def _function(call: ToolCall) -> Json:
    return {"name": call.name, "arguments": call.arguments}


def _call_deltas(place: int, call: ToolCall) -> list[Json]:
    opening = {"name": call.name, "arguments": ""}
    return [
        {"index": place, "id": call.id, "type": "function", "function": opening},
        *({"index": place, "function": {"arguments": part}} for part in call.halves()),
    ]


def _inputs(value: Any) -> list[Any]:
    """Return the inputs as a list of texts or of token lists."""
    if isinstance(value, list) and not all(isinstance(item, int) for item in value):
        return value
    return [value]


def _packed(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
