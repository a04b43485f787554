"""Speak OpenAI's responses and legacy completions as their provider does."""

from typing import Any

from typing_extensions import override

from tests.upstream.openai_wire import OpenAi
from tests.upstream.wire import (
    CREATED,
    Answer,
    Event,
    Json,
    Prompt,
    Tokens,
    data,
    dump,
    last_user,
    placed,
    texts,
    words,
)


class OpenAiResponses(OpenAi):
    name = "openai.responses"

    def read(self, body: Json) -> Prompt:
        given = body.get("input") or ""
        items = given if isinstance(given, list) else [{"role": "user", "content": given}]
        said = [body.get("instructions") or "", *items]
        return Prompt(
            model=str(body.get("model")),
            tokens=words(said),
            text=" ".join(texts(said)),
            last_user=last_user(items),
            stream=bool(body.get("stream")),
            limit=body.get("max_output_tokens"),
        )

    def usage(self, tokens: Tokens) -> Json:
        return {
            "input_tokens": tokens.input,
            "input_tokens_details": {
                "cached_tokens": tokens.cache_read,
                "cache_write_tokens": tokens.cache_write,
            },
            "output_tokens": tokens.output,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": tokens.input + tokens.output,
        }

    @override
    def tokens(self, usage: Json) -> Tokens:
        details = usage["input_tokens_details"]
        return Tokens(
            usage["input_tokens"],
            usage["output_tokens"],
            details["cached_tokens"],
            details["cache_write_tokens"],
        )

    def whole(self, answer: Answer) -> list[Event]:
        usage = answer.usages[-1] if answer.usages else None
        body = response(answer, items(answer), ended=True)
        if usage is not None:
            body |= placed(usage, answer.usage_path)
        return [Event(dump(body), answer.tokens.output, usage)]

    def stream(self, answer: Answer) -> list[Event]:
        begun = response(answer, [], ended=False)
        said = [({"type": f"response.{name}", "response": begun}, 0) for name in _BEGINNING]
        for index, item in enumerate(items(answer)):
            said += _told(answer, index, item)
        events = [
            Event(_named({**event, "sequence_number": number}), tokens)
            for number, (event, tokens) in enumerate(said)
        ]
        usage = answer.usages[-1] if answer.usages else None
        body = response(answer, items(answer), ended=True)
        if usage is not None:
            body |= placed(usage, answer.usage_path)
        last = {"type": f"response.{body['status']}", "response": body}
        return [*events, Event(_named({**last, "sequence_number": len(said)}), 0, usage)]

    @override
    def error_event(self, error: Json) -> bytes:
        return _named({"type": "error", "sequence_number": 0, **error["error"], **error})


_BEGINNING = ("created", "in_progress")


def items(answer: Answer) -> list[Json]:
    """Return the output: a message where anything is said, then the calls."""
    found: list[Json] = []
    if answer.pieces or not answer.calls:
        part: Json = {"type": "output_text", "text": "".join(answer.pieces)}
        part |= {"annotations": [], "logprobs": []}
        message = {"id": f"msg_up{answer.n}", "type": "message", "role": "assistant"}
        found.append({**message, "status": "completed", "content": [part]})
    found += [
        {
            "id": f"fc_up{answer.n}_{place}",
            "type": "function_call",
            "status": "completed",
            "call_id": call.id,
            "name": call.name,
            "arguments": call.arguments,
        }
        for place, call in enumerate(answer.calls)
    ]
    return found


def response(answer: Answer, output: list[Json], *, ended: bool) -> Json:
    cut = ended and answer.finish == "length"
    return {
        "id": f"resp_up{answer.n}",
        "object": "response",
        "created_at": CREATED,
        "status": "incomplete" if cut else "completed" if ended else "in_progress",
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "instructions": None,
        "metadata": {},
        "model": answer.prompt.model,
        "output": output,
        "parallel_tool_calls": True,
        "previous_response_id": answer.body.get("previous_response_id"),
        "conversation": _conversation(answer.body.get("conversation")),
        "store": answer.body.get("store") is not False,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "usage": None,
    }


def _conversation(asked: Any) -> Json | None:
    return {"id": asked} if isinstance(asked, str) else asked


def _told(answer: Answer, index: int, item: Json) -> list[tuple[Json, int]]:
    """Return the events of one item, each with the tokens it carries."""
    place = {"item_id": item["id"], "output_index": index}
    begun = {**item, "status": "in_progress"}
    if item["type"] == "message":
        begun["content"] = []
        part, where = item["content"][0], {**place, "content_index": 0}
        empty = {**part, "text": ""}
        inside = [({"type": "response.content_part.added", **where, "part": empty}, 0)]
        inside += [
            ({"type": "response.output_text.delta", **where, "delta": piece, "logprobs": []}, 1)
            for piece in answer.pieces
        ]
        done = {"text": part["text"], "logprobs": []}
        inside.append(({"type": "response.output_text.done", **where, **done}, 0))
        inside.append(({"type": "response.content_part.done", **where, "part": part}, 0))
    else:
        begun["arguments"] = ""
        middle = len(item["arguments"]) // 2
        halves = (item["arguments"][:middle], item["arguments"][middle:])
        kind = "response.function_call_arguments"
        inside = [
            ({"type": f"{kind}.delta", **place, "delta": half}, number)
            for number, half in enumerate(halves)
        ]
        inside.append(({"type": f"{kind}.done", **place, "arguments": item["arguments"]}, 0))
    added = {"type": "response.output_item.added", "output_index": index, "item": begun}
    done = {"type": "response.output_item.done", "output_index": index, "item": item}
    return [(added, 0), *inside, (done, 0)]


def _named(event: Json) -> bytes:
    name: str = event["type"]
    return b"event: " + name.encode() + b"\n" + data(event)


class OpenAiCompletions(OpenAi):
    name = "openai.completions"

    def read(self, body: Json) -> Prompt:
        prompt = body.get("prompt") or ""
        return Prompt(
            model=str(body.get("model")),
            tokens=words(prompt),
            text=" ".join(texts(prompt)),
            last_user=" ".join(texts(prompt)),
            stream=bool(body.get("stream")),
            limit=body.get("max_tokens") or 16,
            wants_usage=bool((body.get("stream_options") or {}).get("include_usage")),
        )

    def usage(self, tokens: Tokens) -> Json:
        return {
            "prompt_tokens": tokens.input,
            "completion_tokens": tokens.output,
            "total_tokens": tokens.input + tokens.output,
        }

    def whole(self, answer: Answer) -> list[Event]:
        usage = answer.usages[-1] if answer.usages else None
        body = _head(answer) | {"choices": [_text("".join(answer.pieces), answer.finish)]}
        if usage is not None:
            body |= placed(usage, answer.usage_path)
        return [Event(dump(body), answer.tokens.output, usage)]

    def stream(self, answer: Answer) -> list[Event]:
        said = [Event(data(_head(answer) | {"choices": [_text(p)]}), 1) for p in answer.pieces]
        last = Event(data(_head(answer) | {"choices": [_text("", answer.finish)]}))
        counted = [
            Event(
                data(_head(answer) | {"choices": []} | placed(usage, answer.usage_path)), 0, usage
            )
            for usage in (answer.usages if answer.prompt.wants_usage else ())
        ]
        return [*said, last, *counted, Event(b"data: [DONE]\n\n")]


def _head(answer: Answer) -> Json:
    return {
        "id": f"cmpl-up{answer.n}",
        "object": "text_completion",
        "created": CREATED,
        "model": answer.prompt.model,
    }


def _text(text: str, finish: str | None = None) -> Json:
    return {"text": text, "index": 0, "logprobs": None, "finish_reason": finish}
