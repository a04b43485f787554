"""What of a Converse answer is looked at: typed shapes for the decoder, usage, error objects.

Bedrock counts input without what was read from or written to the prompt cache; ours includes it.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from llm_gateway.adapters.counting import RAW_KEPT, count, text_bytes, text_or_none
from llm_gateway.adapters.upstream_errors import Complaint, by_status, upstream_error
from llm_gateway.errors import GatewayError
from llm_gateway.types import Facts, Usage


class ToolUse(Struct, rename={"id": "toolUseId"}):
    """A call, the beginning of one, or a piece of its arguments."""

    id: Any = None
    name: Any = None
    input: Any = None


class Reasoning(Struct, rename={"whole": "reasoningText", "redacted": "redactedContent"}):
    """Thinking: a piece of it, or a whole under `whole`; a redacted one is base64."""

    text: Any = None
    signature: Any = None
    redacted: Any = None
    whole: "Reasoning | None" = None


class Block(
    Struct,
    rename={
        "tool_use": "toolUse",
        "reasoning": "reasoningContent",
        "cited": "citationsContent",
    },
):
    """A content block, or the delta of one: what is set tells which."""

    text: Any = None
    tool_use: ToolUse | None = None
    reasoning: Reasoning | None = None
    citation: dict[str, Any] | None = None
    cited: dict[str, Any] | None = None

    def output_bytes(self) -> int:
        """Return the bytes of output it carries."""
        size = text_bytes(self.text)
        if self.tool_use is not None:
            size += text_bytes(self.tool_use.name) + text_bytes(self.tool_use.input)
        if self.reasoning is not None:
            thought = self.reasoning.whole or self.reasoning
            size += text_bytes(thought.text) + text_bytes(thought.redacted)
        for part in (self.cited or {}).get("content") or ():
            size += text_bytes(part)
        return size


class Message(Struct):
    content: list[Block] | None = None


class Output(Struct):
    message: Message | None = None


class Payload(Struct, rename="camel"):
    """What an event of a stream carries, or a whole answer: each has some of it."""

    content_block_index: int = 0
    start: Block | None = None
    delta: Block | None = None
    output: Output | None = None
    stop_reason: Any = None
    additional_model_response_fields: Any = None
    usage: Raw | UnsetType = UNSET
    message: Any = None
    original_status_code: Any = None


decode = msgspec.json.Decoder(Payload).decode


def observe(payload: Payload, facts: Facts) -> None:
    """Write into `facts` what an event or a whole answer tells."""
    message = payload.output.message if payload.output else None
    blocks = message.content or [] if message else []
    for block in (payload.start, payload.delta, *blocks):
        size = block.output_bytes() if block else 0
        if size:
            facts.content = True
            facts.output_bytes += size
    facts.finish_reason = text_or_none(payload.stop_reason) or facts.finish_reason
    if payload.usage is not UNSET:
        _observe_usage(bytes(payload.usage), facts)


def _observe_usage(raw: bytes, facts: Facts) -> None:
    try:
        facts.usage = read_usage(msgspec.json.decode(raw))
    except ValueError:
        facts.usage_invalid = raw[:RAW_KEPT].decode(errors="replace")


def read_usage(reported: object) -> Usage:
    """Return a usage object as ours; without a count of output it is only a beginning.

    Raises ValueError where it is none.
    """
    if not isinstance(reported, dict) or reported.get("inputTokens") is None:
        raise ValueError("no usage")
    read = count(reported.get("cacheReadInputTokens"))
    written = count(reported.get("cacheWriteInputTokens"))
    details = reported.get("cacheDetails")
    long = sum(
        count(detail.get("inputTokens"))
        for detail in (details if isinstance(details, list) else ())
        if isinstance(detail, dict) and detail.get("ttl") == "1h"
    )
    return Usage(
        input=count(reported["inputTokens"]) + read + written,
        output=count(reported.get("outputTokens")),
        cache_read=read,
        cache_write=written - min(long, written),
        cache_write_1h=min(long, written),
        estimated=reported.get("outputTokens") is None,
    )


# Statuses of Bedrock's own, in the words of the others; and those of exceptions inside a stream.
_SAME_AS = {408: 504, 424: 500}
_STATUS_OF = {
    "internalServerException": 500,
    "modelStreamErrorException": 500,
    "modelTimeoutException": 504,
    "serviceUnavailableException": 503,
    "throttlingException": 429,
    "validationException": 400,
}
_CONTEXT_WORDS = ("too long", "too many input tokens", "context window", "maximum context length")


def complaint(message: object) -> Complaint:
    text = message if isinstance(message, str) else ""
    return Complaint(message=text, context_length=any(word in text for word in _CONTEXT_WORDS))


def error_in_stream(kind: str, payload: Payload) -> GatewayError:
    """Return the error that an exception inside a stream names."""
    return by_status(_STATUS_OF.get(kind, 500), complaint(payload.message))


def parse_error(status: int, headers: Mapping[str, str], body: bytes) -> GatewayError:
    """Return a provider's error as ours, by its status first."""
    return upstream_error(_SAME_AS.get(status, status), headers, body, _read)


def _read(body: bytes) -> Complaint:
    try:
        answer = msgspec.json.decode(body)
    except ValueError:
        return Complaint()
    if not isinstance(answer, dict):
        return Complaint()
    return complaint(answer.get("message") or answer.get("Message"))
