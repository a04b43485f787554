"""What of a Cohere answer is looked at: typed shapes for the decoder, usage, error objects.

Usage is what is billed (`billed_units`): the other count, `tokens`, includes the provider's own
preamble, which costs nothing, and `cached_tokens` is a part of that one.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from llm_gateway.adapters.counting import RAW_KEPT, count, count_in, text_bytes
from llm_gateway.adapters.upstream_errors import Complaint, by_status, upstream_error
from llm_gateway.errors import GatewayError
from llm_gateway.types import Facts, Usage

_NULL = b"null"


class Call(Struct):
    """A tool call, or a piece of one."""

    id: Any = None
    function: dict[str, Any] | None = None

    def text(self, name: str) -> str:
        value = (self.function or {}).get(name)
        return value if isinstance(value, str) else ""


class Content(Struct):
    """A part of the content, or a piece of one."""

    text: Any = None
    thinking: Any = None


class Source(Struct):
    id: Any = None
    document: Any = None
    tool_output: Any = None


class Quoted(Struct):
    """A citation: which characters of the answer are from where."""

    start: Any = None
    end: Any = None
    sources: list[Source] | None = None


class Message(Struct):
    """A message, or a piece of one: there the lists are single objects."""

    content: list[Content] | Content | str | None = None
    tool_plan: Any = None
    tool_calls: list[Call] | Call | None = None
    citations: list[Quoted] | Quoted | None = None


class Delta(Struct):
    message: Message | None = None
    finish_reason: Any = None
    usage: Raw | UnsetType = UNSET
    error: Any = None


class Event(Struct):
    type: str
    id: Any = None
    index: int | None = None
    delta: Delta | None = None


class Answer(Struct):
    """A whole answer; `message` is a text in an error."""

    id: Any = None
    message: Message | str | None = None
    finish_reason: Any = None
    usage: Raw | UnsetType = UNSET


decode_event = msgspec.json.Decoder(Event).decode
decode_answer = msgspec.json.Decoder(Answer).decode


def observe_message(message: Message, facts: Facts) -> None:
    """Write into `facts` how much output the message carries."""
    size = text_bytes(message.tool_plan)
    for part in contents(message):
        size += text_bytes(part.text) + text_bytes(part.thinking)
    for call in calls(message):
        size += text_bytes(call.function)
    if size:
        facts.content = True
        facts.output_bytes += size


def observe_usage(raw: bytes, facts: Facts) -> None:
    """Hold a reported usage; an invalid one is kept as text."""
    if raw == _NULL:
        return
    try:
        facts.usage = read_usage(msgspec.json.decode(raw))
    except ValueError:
        facts.usage_invalid = raw[:RAW_KEPT].decode(errors="replace")


def read_usage(reported: object) -> Usage:
    """Return a usage object as ours; without a count of output it is only a beginning.

    Counts may be written with a decimal point. Raises ValueError where it is none.
    """
    told = whole(reported)
    billed = told.get("billed_units") or told.get("tokens") if isinstance(told, dict) else None
    if not isinstance(billed, dict) or billed.get("input_tokens") is None:
        raise ValueError("no usage")
    output = count(billed.get("output_tokens"))
    return Usage(
        input=count(billed["input_tokens"]),
        output=output,
        reasoning=min(count_in(told, "tokens", "reasoning_tokens"), output),
        estimated=billed.get("output_tokens") is None,
    )


def whole(value: object) -> Any:  # noqa: ANN401 - JSON
    """Return a JSON value with its whole numbers as such."""
    if isinstance(value, dict):
        return {name: whole(item) for name, item in value.items()}
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def contents(message: Message) -> list[Content]:
    content = message.content
    if isinstance(content, str):
        return [Content(text=content)]
    return [content] if isinstance(content, Content) else content or []


def calls(message: Message) -> list[Call]:
    found = message.tool_calls
    return [found] if isinstance(found, Call) else found or []


def quoted(message: Message) -> list[Quoted]:
    found = message.citations
    return [found] if isinstance(found, Quoted) else found or []


_STATUS_OF = {"ERROR": 500, "TIMEOUT": 504}


def failure(reason: object, error: object) -> GatewayError | None:
    """Return the error that a finish reason names, None for one that names none."""
    status = _STATUS_OF.get(reason) if isinstance(reason, str) else None
    if status is None:
        return None
    return by_status(status, Complaint(message=error if isinstance(error, str) else ""))


def parse_error(status: int, headers: Mapping[str, str], body: bytes) -> GatewayError:
    """Return a provider's error as ours, by its status first."""
    return upstream_error(status, headers, body, _read)


def _read(body: bytes) -> Complaint:
    try:
        answer = msgspec.json.decode(body)
    except ValueError:
        return Complaint()
    message = answer.get("message") if isinstance(answer, dict) else None
    text = message if isinstance(message, str) else ""
    return Complaint(message=text, context_length=text.startswith("too many tokens"))
