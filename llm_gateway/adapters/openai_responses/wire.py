"""What of a responses answer is looked at: typed shapes for the decoder, facts, usage, errors.

Fields that only pass through are not decoded, and only what steers has a type: something unexpected
elsewhere does not spoil the event it is in.
"""

from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from llm_gateway.adapters.counting import RAW_KEPT, count, count_in, text_bytes, text_or_none
from llm_gateway.adapters.openai_chat.wire import NULL, complaint
from llm_gateway.adapters.openai_chat.wire import error_in_answer as chat_error
from llm_gateway.adapters.upstream_errors import by_status
from llm_gateway.errors import GatewayError
from llm_gateway.types import Facts, Usage

# With these an answer is over; a failed one tells its error.
ENDS = frozenset({"response.completed", "response.incomplete", "response.cancelled"})
FAILED = "response.failed"
# Runs of the provider's own tools that it bills by the call.
BILLED = frozenset({"web_search_call", "file_search_call", "code_interpreter_call"})
_UNFINISHED = frozenset({"queued", "in_progress"})
# Items that are the model's own words; what the others hold is not its output.
_WORDS = frozenset({"message", "function_call", "reasoning", "custom_tool_call"})


class Item(Struct):
    """A piece of the output: a message, a call of a tool, reasoning, or a tool of the provider."""

    type: str = ""
    id: Any = None
    call_id: Any = None
    name: Any = None
    arguments: Any = None
    input: Any = None
    content: Any = None
    summary: Any = None
    encrypted_content: Any = None

    def output_bytes(self) -> int:
        """Return the bytes of output it carries; what its author encrypted is none."""
        if self.type not in _WORDS:
            return 0
        size = text_bytes(self.arguments) + text_bytes(self.input)
        return size + sum(map(_part_bytes, _list(self.content) + _list(self.summary)))


class Answer(Struct):
    """A response, as it stands at this point of a stream or as a whole answer."""

    id: Any = None
    model: Any = None
    created_at: Any = None
    status: Any = None
    error: Any = None
    incomplete_details: Any = None
    store: Any = None
    conversation: Any = None
    output: list[Item] | None = None
    usage: Raw | UnsetType = UNSET

    @property
    def reason(self) -> str | None:
        """Return why it is over, in the protocol's words; None while it is not."""
        details = self.incomplete_details
        why = details.get("reason") if isinstance(details, dict) else None
        status = text_or_none(self.status)
        return text_or_none(why) or (None if status in _UNFINISHED else status)


class Event(Struct):
    type: str = ""
    response: Answer | None = None
    item: Item | None = None
    output_index: int = 0
    content_index: int = 0
    summary_index: int = 0
    delta: Any = None
    part: Any = None
    annotation: Any = None
    logprobs: Any = None
    error: Any = None
    code: Any = None
    message: Any = None
    param: Any = None


decode_event = msgspec.json.Decoder(Event).decode
decode_answer = msgspec.json.Decoder(Answer).decode


def observe(event: Event, facts: Facts) -> None:
    """Write into `facts` what an event tells."""
    if event.delta is not None:
        size = text_bytes(event.delta)
        if size:
            facts.output_bytes += size
            facts.content = True
    elif event.response is not None:
        observe_answer(event.response, facts, ended=event.type in ENDS)
    elif event.item is not None and event.item.type not in {"message", "reasoning"}:
        facts.content = True  # a tool is called


def observe_answer(answer: Answer, facts: Facts, *, ended: bool) -> None:
    """Write into `facts` what a response tells; `ended` says that it is whole."""
    if facts.id is None:
        facts.id, facts.model = text_or_none(answer.id), text_or_none(answer.model)
    if answer.usage is not UNSET:
        _observe_usage(bytes(answer.usage), answer, facts)
    if not ended:
        return
    facts.complete = True
    facts.finish_reason = answer.reason
    facts.kept = () if answer.store is False else tuple(_kept(answer))
    if not facts.output_bytes:
        facts.output_bytes = sum(item.output_bytes() for item in answer.output or ())
        facts.content = facts.content or bool(answer.output)


def _kept(answer: Answer) -> list[str]:
    """Return the ids of the response, its conversation and its items."""
    held = answer.conversation
    conversation = held.get("id") if isinstance(held, dict) else held
    items = [item.id for item in answer.output or ()]
    return [each for each in (answer.id, conversation, *items) if isinstance(each, str) and each]


def _observe_usage(raw: bytes, answer: Answer, facts: Facts) -> None:
    """Hold a reported usage; the last valid one wins, an invalid one is kept as text."""
    if raw == NULL:
        return
    searches = sum(item.type in BILLED for item in answer.output or ())
    try:
        facts.usage = read_usage(msgspec.json.decode(raw), searches=searches)
    except ValueError:
        facts.usage_invalid = raw[:RAW_KEPT].decode(errors="replace")


def read_usage(reported: object, *, searches: int = 0) -> Usage:
    """Return a usage object as ours. Raises ValueError where it is none."""
    if not isinstance(reported, dict) or reported.get("input_tokens") is None:
        raise ValueError("no usage")
    return Usage(
        input=count(reported["input_tokens"]),
        output=count(reported.get("output_tokens")),
        cache_read=count_in(reported, "input_tokens_details", "cached_tokens"),
        cache_write=count_in(reported, "input_tokens_details", "cache_write_tokens"),
        reasoning=count_in(reported, "output_tokens_details", "reasoning_tokens"),
        audio_input=count_in(reported, "input_tokens_details", "audio_tokens"),
        audio_output=count_in(reported, "output_tokens_details", "audio_tokens"),
        image_input=count_in(reported, "input_tokens_details", "image_tokens"),
        image_output=count_in(reported, "output_tokens_details", "image_tokens"),
        tool_calls=searches,
    )


def render_usage(usage: Usage) -> dict[str, Any]:
    """Return our usage as the protocol counts: input with cached, output with reasoning."""
    return {
        "input_tokens": usage.input,
        "input_tokens_details": {
            "cached_tokens": usage.cache_read,
            "cache_write_tokens": usage.cache_write + usage.cache_write_1h,
        },
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.input + usage.output,
    }


def told_error(event: Event, facts: Facts) -> GatewayError | None:
    """Return the error that an event is, or that a failed response names."""
    if event.type == "error":
        flat = {"code": event.code, "message": event.message, "param": event.param}
        return error_in_answer(event.error or flat)
    if event.type == FAILED and event.response is not None:
        observe(event, facts)
        return error_in_answer(event.response.error)
    return None


def error_in_answer(error: object) -> GatewayError:
    """Return the error that an error object inside a 200 names: by its code, else as in chat."""
    code = error.get("code") if isinstance(error, dict) else None
    if isinstance(code, str) and ("image" in code or code.startswith("invalid_prompt")):
        return by_status(400, complaint(error))
    return chat_error(error)


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _part_bytes(part: object) -> int:
    held = part if isinstance(part, dict) else {}
    return text_bytes(held.get("text")) + text_bytes(held.get("refusal"))
