"""Speak Gemini's generateContent, countTokens and batchEmbedContents as their provider does."""

from json import loads
from typing import Any
from urllib.parse import unquote

from typing_extensions import override

from tests.upstream.wire import Answer, Event, Json, Prompt, Tokens, ToolCall, dump, words

STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
FINISHES = {"stop": "STOP", "length": "MAX_TOKENS", "tool_calls": "STOP"}
MODELS = "/models/"


def named(path: str) -> Json:
    """Return what a path says in this dialect, and other dialects say in the body."""
    name, _, method = path.partition(MODELS)[2].rpartition(":")
    return {"model": unquote(name), "stream": method.startswith("stream")} if name else {}


class _Gemini:
    billable = True

    def read(self, body: Json) -> Prompt:
        request = body.get("generateContentRequest") or body
        contents = request.get("contents") or []
        config = request.get("generationConfig") or {}
        said = [_said(content) for content in [request.get("systemInstruction"), *contents]]
        users = [_said(one) for one in contents if one.get("role", "user") == "user"]
        return Prompt(
            model=str(body.get("model")),
            tokens=words(said),
            text=" ".join(said),
            last_user=users[-1] if users else "",
            stream=bool(body.get("stream")),
            limit=config.get("maxOutputTokens"),
            choices=config.get("candidateCount") or 1,
        )

    def usage(self, tokens: Tokens) -> Json:
        usage: Json = {
            "promptTokenCount": tokens.input,
            "candidatesTokenCount": tokens.output,
            "totalTokenCount": tokens.input + tokens.output,
        }
        cached = {"cachedContentTokenCount": tokens.cache_read} if tokens.cache_read else {}
        return usage | cached

    def tokens(self, usage: Json) -> Tokens:
        return Tokens(
            usage["promptTokenCount"],
            usage.get("candidatesTokenCount", 0) + usage.get("thoughtsTokenCount", 0),
            usage.get("cachedContentTokenCount", 0),
        )

    def error(self, status: int, message: str) -> Json:
        word = STATUSES.get(status, "INTERNAL")
        return {"error": {"code": status, "message": message, "status": word}}

    def error_event(self, error: Json) -> bytes:
        return _event(error)


class GeminiContent(_Gemini):
    name = "gemini.content"

    def whole(self, answer: Answer) -> list[Event]:
        parts: list[Json] = [{"text": "".join(answer.pieces)}] if answer.pieces else []
        parts += map(_call, answer.calls)
        finish = FINISHES[answer.finish]
        usage = answer.usages[-1] if answer.usages else None
        body = _answer(answer, [_candidate(i, parts, finish) for i in _choices(answer)], usage)
        return [Event(dump(body), answer.tokens.output, usage)]

    def stream(self, answer: Answer) -> list[Event]:
        """Every chunk reports the usage so far, as the provider does; the last one is whole."""
        parts: list[Json] = [{"text": piece} for piece in answer.pieces]
        parts += map(_call, answer.calls)
        told = answer.usages[0] if answer.usages else None
        events = [
            Event(_event(_answer(answer, [_candidate(i, [part])], None)), 1)
            for part in parts
            for i in _choices(answer)
        ]
        finish = FINISHES[answer.finish]
        ends = [_candidate(i, [{"text": ""}], finish) for i in _choices(answer)]
        events.append(Event(_event(_answer(answer, ends, told)), 0, told))
        events += [
            Event(_event(_answer(answer, [], usage)), 0, usage) for usage in answer.usages[1:]
        ]
        return events


class GeminiCountTokens(_Gemini):
    name = "gemini.count_tokens"
    billable = False

    def whole(self, answer: Answer) -> list[Event]:
        return [Event(dump({"totalTokens": answer.tokens.input}))]

    def stream(self, answer: Answer) -> list[Event]:
        return self.whole(answer)


class GeminiEmbeddings(_Gemini):
    """Vectors of eight numbers that depend on position and length of their content alone."""

    name = "gemini.embeddings"

    @override
    def read(self, body: Json) -> Prompt:
        said = [_said(one["content"]) for one in _requests(body)]
        # A limit of no words: a vector is no output that anybody bills.
        return Prompt(
            model=str(body.get("model")), tokens=words(said), text=" ".join(said), limit=0
        )

    @override
    def usage(self, tokens: Tokens) -> Json:
        return {"promptTokenCount": tokens.input}

    def whole(self, answer: Answer) -> list[Event]:
        vectors = []
        for index, one in enumerate(_requests(answer.body)):
            size = one.get("outputDimensionality") or 8
            length = len(_said(one["content"]))
            values = [(index + 1) / (length + place + 2) for place in range(size)]
            vectors.append({"values": values})
        single = "requests" not in answer.body
        body: Json = {"embedding": vectors[0]} if single else {"embeddings": vectors}
        usage = answer.usages[-1] if answer.usages else None
        told = {} if usage is None else {"usageMetadata": usage}
        return [Event(dump(body | told), 0, usage)]

    def stream(self, answer: Answer) -> list[Event]:
        return self.whole(answer)


def _requests(body: Json) -> list[Json]:
    requests: list[Json] = body.get("requests") or [body]
    return requests


def _said(content: Any) -> str:
    """Return the texts of a content."""
    parts = (content or {}).get("parts") or []
    parts = [parts] if isinstance(parts, dict) else parts
    return " ".join(str(part["text"]) for part in parts if part.get("text"))


def _choices(answer: Answer) -> range:
    return range(answer.prompt.choices)


def _call(call: ToolCall) -> Json:
    return {"functionCall": {"id": call.id, "name": call.name, "args": loads(call.arguments)}}


def _candidate(index: int, parts: list[Json], finish: str | None = None) -> Json:
    said: Json = {"content": {"parts": parts, "role": "model"}}
    return said | ({"finishReason": finish} if finish else {}) | {"index": index}


def _answer(answer: Answer, candidates: list[Json], usage: Json | None) -> Json:
    place = answer.usage_path[0] if answer.usage_path != ("usage",) else "usageMetadata"
    told = {} if usage is None else {place: usage}
    named = {"modelVersion": answer.prompt.model, "responseId": f"resp-up{answer.n}"}
    return {"candidates": candidates, **told, **named}


def _event(value: Json) -> bytes:
    return b"data: " + dump(value) + b"\r\n\r\n"
