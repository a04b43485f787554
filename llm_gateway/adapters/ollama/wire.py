"""What of an Ollama answer is looked at: typed shapes for the decoder, usage, errors, times."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct

from llm_gateway.adapters.counting import count, text_bytes, text_or_none
from llm_gateway.adapters.upstream_errors import Complaint, upstream_error
from llm_gateway.errors import GatewayError
from llm_gateway.types import Facts, Usage

_SECONDS = 19  # characters of a time up to its seconds; up to nine digits of a fraction follow
_CONTEXT_WORDS = ("context length", "context size", "prompt too long")


class Function(Struct):
    name: Any = None
    arguments: Any = None


class Call(Struct):
    id: Any = None
    function: Function | None = None


class Message(Struct):
    content: Any = None
    thinking: Any = None
    tool_calls: list[Call] | None = None


class Line(Struct):
    """A line of a stream, or a whole answer."""

    model: Any = None
    created_at: Any = None
    message: Message | None = None
    done: bool = False
    done_reason: Any = None
    prompt_eval_count: Any = None
    eval_count: Any = None
    logprobs: list[dict[str, Any]] | None = None
    error: Any = None


decode = msgspec.json.Decoder(Line).decode


def observe(line: Line, facts: Facts) -> None:
    """Write into `facts` what the line tells."""
    facts.model = facts.model or text_or_none(line.model)
    said = line.message
    if said is not None:
        size = text_bytes(said.content) + text_bytes(said.thinking)
        for call in said.tool_calls or ():
            if call.function is not None:
                size += text_bytes(call.function.name) + text_bytes(call.function.arguments)
        if size:
            facts.content = True
            facts.output_bytes += size
    if line.done:
        facts.finish_reason = text_or_none(line.done_reason)
        facts.complete = True
        _observe_usage(line, facts)


def _observe_usage(line: Line, facts: Facts) -> None:
    if line.prompt_eval_count is None:
        return
    try:
        facts.usage = Usage(
            input=count(line.prompt_eval_count),
            output=count(line.eval_count),
            estimated=line.eval_count is None,
        )
    except ValueError:
        facts.usage_invalid = f"{line.prompt_eval_count}, {line.eval_count}"


def unix_seconds(created_at: object) -> int | None:
    """Return a time as the protocol writes it in Unix seconds, None for what is none."""
    if not isinstance(created_at, str):
        return None
    zone = created_at[_SECONDS:].lstrip(".0123456789") or "Z"
    try:
        return int(datetime.fromisoformat(created_at[:_SECONDS] + zone).timestamp())
    except ValueError:
        return None


def complaint(error: object) -> Complaint:
    """Return what an error says."""
    text = error if isinstance(error, str) else ""
    return Complaint(message=text, context_length=any(word in text for word in _CONTEXT_WORDS))


def parse_error(status: int, headers: Mapping[str, str], body: bytes) -> GatewayError:
    """Return a provider's error as ours, by its status first."""
    return upstream_error(status, headers, body, _read)


def _read(body: bytes) -> Complaint:
    try:
        answer = msgspec.json.decode(body)
    except ValueError:
        return Complaint()
    return complaint(answer.get("error")) if isinstance(answer, dict) else Complaint()
