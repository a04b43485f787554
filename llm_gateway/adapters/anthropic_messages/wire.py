"""What of an Anthropic answer is looked at: typed shapes for the decoder, usage, error objects.

Anthropic counts input without what was read from or written to the prompt cache; ours includes it.
"""

from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from llm_gateway.adapters.counting import RAW_KEPT, count, count_in, text_bytes, text_or_none
from llm_gateway.adapters.upstream_errors import Complaint, by_status
from llm_gateway.errors import GatewayError
from llm_gateway.types import Facts, Usage


class Block(Struct):
    """A content block, or the delta of one or of the message: what is set tells which."""

    type: str = ""
    text: Any = None
    thinking: Any = None
    signature: Any = None
    partial_json: Any = None
    data: Any = None
    id: Any = None
    name: Any = None
    input: Any = None
    citation: Any = None
    citations: Any = None
    stop_reason: Any = None
    stop_sequence: Any = None

    def output_bytes(self) -> int:
        """Return the bytes of output it carries."""
        size = text_bytes(self.text)
        for other in (self.thinking, self.partial_json, self.input):
            if other is not None:
                size += text_bytes(other)
        return size


class Message(Struct):
    """A whole answer, or the beginning of a streamed one. A count of tokens has `input_tokens`."""

    id: Any = None
    model: Any = None
    content: list[Block] | None = None
    stop_reason: Any = None
    stop_sequence: Any = None
    usage: Raw | UnsetType = UNSET
    error: Any = None
    input_tokens: Any = None


class Event(Struct):
    type: str
    index: int = 0
    message: Message | None = None
    content_block: Block | None = None
    delta: Block | None = None
    usage: Raw | UnsetType = UNSET
    error: Any = None


decode_event = msgspec.json.Decoder(Event).decode
decode_message = msgspec.json.Decoder(Message).decode


class Seen:
    """The facts of one answer, as its events come; usage is cumulative, the last valid one wins.

    What message_start reports of the output is no more than a beginning: until message_delta comes
    the usage is `estimated`, so that a stream that ends early is not charged by it.
    """

    __slots__ = ("_reported", "_runs", "facts", "open_block")

    def __init__(self) -> None:
        self.facts = Facts()
        self.open_block: int | None = None  # begun, and not stopped
        self._reported: dict[str, Any] = {}
        self._runs = 0  # of code, which no usage tells of

    def event(self, event: Event) -> None:
        if event.message is not None:
            self.message(event.message, final=False)
        if event.content_block is not None:
            self._output(event.content_block)
            self.open_block = event.index
        if event.delta is not None:
            self._output(event.delta)
            self._stopped(event.delta.stop_reason)
        if event.usage is not UNSET:
            self._usage(bytes(event.usage), final=True)
        if event.type == "content_block_stop":
            self.open_block = None
        elif event.type == "message_stop":
            self.facts.complete = True

    def message(self, message: Message, *, final: bool = True) -> None:
        if self.facts.id is None:
            self.facts.id = text_or_none(message.id)
            self.facts.model = text_or_none(message.model)
        self._stopped(message.stop_reason)
        for block in message.content or ():
            self._output(block)
        if message.usage is not UNSET:
            self._usage(bytes(message.usage), final=final)

    def _stopped(self, reason: object) -> None:
        self.facts.finish_reason = text_or_none(reason) or self.facts.finish_reason

    def _output(self, block: Block) -> None:
        size = block.output_bytes()
        self.facts.output_bytes += size
        if size or block.type in {"tool_use", "redacted_thinking"}:
            self.facts.content = True
        if block.type == "server_tool_use":
            self._runs += str(block.name).endswith("code_execution")

    def _usage(self, raw: bytes, *, final: bool) -> None:
        try:
            reported = msgspec.json.decode(raw)
            merged = _merged(self._reported, reported)
            self.facts.usage = read_usage(merged, runs=self._runs, estimated=not final)
            self._reported = merged
        except ValueError:
            self.facts.usage_invalid = raw[:RAW_KEPT].decode(errors="replace")


def _merged(before: dict[str, Any], reported: object) -> dict[str, Any]:
    """Return the counts so far; a later event may leave out what it does not change."""
    if not isinstance(reported, dict):
        raise ValueError("no usage")  # noqa: TRY004  what the caller of a decoder expects
    return {**before, **{name: value for name, value in reported.items() if value is not None}}


def read_usage(reported: dict[str, Any], *, runs: int = 0, estimated: bool = False) -> Usage:
    """Return a usage object as ours; without a count of output it is only a beginning.

    Raises ValueError where a count is none, or that of input is missing.
    """
    if reported.get("input_tokens") is None:
        raise ValueError("no usage")
    used, rounds = _tokens(reported), _iterations(reported)
    beside = [_tokens(one) for one in rounds if one.get("type") == "compaction"]
    read, written, long, total, output = map(sum, zip(used, *beside, strict=True))
    return Usage(
        input=total,
        output=output,
        cache_read=read,
        cache_write=written - long,
        cache_write_1h=long,
        reasoning=count_in(reported, "output_tokens_details", "thinking_tokens"),
        tool_calls=count_in(reported, "server_tool_use", "web_search_requests") + runs,
        other_model=sum(sum(_tokens(one)[3:]) for one in rounds if "model" in one),
        estimated=estimated or reported.get("output_tokens") is None,
    )


def _tokens(reported: dict[str, Any]) -> tuple[int, int, int, int, int]:
    """Return what was read from the cache, written to it, for an hour of that, input and output."""
    read = count(reported.get("cache_read_input_tokens"))
    written = count(reported.get("cache_creation_input_tokens"))
    long = min(count_in(reported, "cache_creation", "ephemeral_1h_input_tokens"), written)
    total = count(reported.get("input_tokens")) + read + written
    return read, written, long, total, count(reported.get("output_tokens"))


def _iterations(reported: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rounds of an answer. The counts beside them are the sum of the model's own.

    Not of those in which a conversation was made shorter, nor of those by another model.
    """
    found = reported.get("iterations")
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def render_usage(usage: Usage) -> dict[str, Any]:
    """Return our usage as the protocol counts: input without what the cache gave or took."""
    written = usage.cache_write + usage.cache_write_1h
    return {
        "input_tokens": max(usage.input - usage.cache_read - written, 0),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": usage.cache_read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": usage.cache_write,
            "ephemeral_1h_input_tokens": usage.cache_write_1h,
        },
        "output_tokens": usage.output,
        "server_tool_use": None,
        "service_tier": None,
        "inference_geo": None,
    }


_STATUS_OF = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "timeout_error": 504,
    "overloaded_error": 529,
}
_CONTEXT_WORDS = ("prompt is too long", "exceed context limit")
_POLICY_WORDS = "blocked by content filtering policy"


def complaint(error: object) -> Complaint:
    """Return what an error object says."""
    message = error.get("message") if isinstance(error, dict) else None
    text = message if isinstance(message, str) else ""
    return Complaint(
        message=text,
        context_length=any(word in text for word in _CONTEXT_WORDS),
        content_policy=_POLICY_WORDS in text,
    )


def error_in_answer(error: object) -> GatewayError:
    """Return the error that an error object inside a 200 names, by its type."""
    kind = error.get("type") if isinstance(error, dict) else None
    return by_status(_STATUS_OF.get(kind, 500) if isinstance(kind, str) else 500, complaint(error))
