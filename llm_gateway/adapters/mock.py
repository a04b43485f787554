"""Answer as a server of the OpenAI dialect would, from nothing but the request: deterministic.

The egress client plays the reply without a socket; chance and the time are arguments. A word is a
token here.
"""

import base64
import hashlib
import struct
from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Struct

from llm_gateway.adapters import sse
from llm_gateway.adapters.openai_chat.relay import DONE

DIMENSIONS = 256
MAX_DIMENSIONS = 8192
Wire = dict[str, Any]
_encode = msgspec.json.encode


class MockOptions(Struct, frozen=True, kw_only=True):
    """What the mock is told to do; `answers` by model name go before `answer`."""

    answer: str | None = None
    answers: dict[str, str] = {}
    delay_s: float = 0
    word_delay_s: float = 0
    error_rate: float = 0


class MockReply(Struct, frozen=True, kw_only=True):
    """An HTTP answer: its body in pieces, each with the seconds to wait before it."""

    status: int
    headers: dict[str, str]
    pieces: list[tuple[float, bytes]]


def reply(path: str, body: Wire, options: MockOptions, *, roll: float, now: float) -> MockReply:
    """Return the reply to a request. `roll` from 0 to 1 decides whether it is an error."""
    if roll < options.error_rate:
        return _error(500, "The mock provider was told to fail.", options.delay_s)
    for ending, answer in _ANSWERS.items():
        if path.endswith(ending):
            return answer(body, options, now)
    return _error(404, f"The mock provider has no {path}.", options.delay_s)


def _models(_body: Wire, options: MockOptions, _now: float) -> MockReply:
    known = [{"id": name, "object": "model"} for name in options.answers or {"mock": ""}]
    return _json({"object": "list", "data": known}, options.delay_s)


def _chat(body: Wire, options: MockOptions, now: float) -> MockReply:
    if not all(isinstance(message, dict) for message in body["messages"]):
        return _error(400, "Each of 'messages' must be an object.", options.delay_s)
    answer = _answer(body, options, now)
    if body.get("stream"):
        return _stream(answer, body, options)
    return _json(answer, options.delay_s)


def _answer(body: Wire, options: MockOptions, now: float) -> Wire:
    asked = [text for message in body["messages"] for text in _texts(message.get("content"))]
    tool = _forced_tool(body)
    words = [] if tool else _words(_text(body, options))
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    reason = "tool_calls" if tool else "stop"
    if limit is not None and len(words) > limit:
        words, reason = words[:limit], "length"
    message: Wire = {"role": "assistant", "content": "".join(words) or None, "refusal": None}
    if tool:
        message["tool_calls"] = [_call(tool, body)]
    spent = len(words) or 1
    counted = sum(len(text.split()) for text in asked)
    return {
        "id": f"chatcmpl-mock-{_digest(body)[:24]}",
        "object": "chat.completion",
        "created": int(now),
        "model": body["model"],
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": reason}],
        "usage": _usage(counted, spent),
    }


def _text(body: Wire, options: MockOptions) -> str:
    fixed = options.answers.get(body["model"], options.answer)
    if fixed is not None:
        return fixed
    asked = [
        " ".join(_texts(message.get("content")))
        for message in body["messages"]
        if message.get("role") == "user"
    ]
    said = asked[-1] if asked else ""
    return f"Hello from the mock provider, no model was called. You said: {said}"


def _forced_tool(body: Wire) -> str | None:
    choice, tools = body.get("tool_choice"), body.get("tools") or []
    if isinstance(choice, dict):
        name = (choice.get("function") or {}).get("name")
        return str(name) if name else None
    return str(tools[0]["function"]["name"]) if choice == "required" and tools else None


def _call(tool: str, body: Wire) -> Wire:
    function = {"name": tool, "arguments": "{}"}
    return {"id": f"call_mock_{_digest(body)[:16]}", "type": "function", "function": function}


def _stream(answer: Wire, body: Wire, options: MockOptions) -> MockReply:
    choice = answer["choices"][0]
    message = choice["message"]
    deltas: list[Wire] = [{"role": "assistant", "content": ""}]
    deltas += [{"content": word} for word in _words(message["content"] or "")]
    if "tool_calls" in message:
        deltas.append({"tool_calls": [{"index": 0, **message["tool_calls"][0]}]})
    head = {**answer, "object": "chat.completion.chunk"}
    usage = head.pop("usage")
    chunks = [{**head, "choices": [_chunk_choice(delta, None)]} for delta in deltas]
    chunks.append({**head, "choices": [_chunk_choice({}, choice["finish_reason"])]})
    if (body.get("stream_options") or {}).get("include_usage"):
        chunks = [{**chunk, "usage": None} for chunk in chunks]
        chunks.append({**head, "choices": [], "usage": usage})
    events = [sse.unnamed(_encode(chunk)) for chunk in chunks] + [sse.unnamed(DONE)]
    waits = [options.delay_s] + [options.word_delay_s] * (len(events) - 1)
    headers = {"content-type": "text/event-stream; charset=utf-8"}
    return MockReply(status=200, headers=headers, pieces=list(zip(waits, events, strict=True)))


def _chunk_choice(delta: Wire, reason: str | None) -> Wire:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}


def _embeddings(body: Wire, options: MockOptions, _now: float) -> MockReply:
    given = body["input"]
    inputs = given if isinstance(given, list) and not isinstance(given[0], int) else [given]
    size = min(body.get("dimensions") or DIMENSIONS, MAX_DIMENSIONS)
    packed = body.get("encoding_format") == "base64"
    data = [
        {"object": "embedding", "index": index, "embedding": _vector(item, size, packed=packed)}
        for index, item in enumerate(inputs)
    ]
    tokens = sum(len(item.split()) if isinstance(item, str) else len(item) for item in inputs)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    answer = {"object": "list", "data": data, "model": body["model"], "usage": usage}
    return _json(answer, options.delay_s)


def _vector(item: object, size: int, *, packed: bool) -> list[float] | str:
    """Return a vector of length 1 that depends on nothing but the input."""
    raw = hashlib.shake_256(_encode(item)).digest(size * 2)
    numbers = [number / 32768 for number in struct.unpack(f"<{size}h", raw)]
    length = sum(number * number for number in numbers) ** 0.5 or 1.0
    vector = [number / length for number in numbers]
    if packed:
        return base64.b64encode(struct.pack(f"<{size}f", *vector)).decode()
    return vector


def _usage(prompt: int, completion: int) -> Wire:
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }


def _texts(content: object) -> Iterable[str]:
    if isinstance(content, str):
        yield content
    for part in content if isinstance(content, list) else ():
        if isinstance(part, dict) and isinstance(part.get("text"), str):
            yield part["text"]


def _words(text: str) -> list[str]:
    """Return the words, each but the first with the space before it."""
    first, *others = text.split(" ")
    return [word for word in (first, *(f" {word}" for word in others)) if word]


def _digest(body: Wire) -> str:
    return hashlib.sha256(_encode(body)).hexdigest()


def _json(body: Wire, delay_s: float, status: int = 200) -> MockReply:
    headers = {"content-type": "application/json"}
    return MockReply(status=status, headers=headers, pieces=[(delay_s, _encode(body))])


def _error(status: int, message: str, delay_s: float) -> MockReply:
    error = {"message": message, "type": "server_error", "param": None, "code": "mock"}
    return _json({"error": error}, delay_s, status)


_ANSWERS = {"/chat/completions": _chat, "/embeddings": _embeddings, "/models": _models}
