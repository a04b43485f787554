"""What of an OpenAI chat answer is looked at: typed shapes for the decoder, usage, error objects.

Fields that only pass through are not decoded. A field of an unexpected type does not spoil the
frame it is in: only what steers has a type.
"""

from decimal import Decimal
from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from llm_gateway.adapters.counting import RAW_KEPT, count, count_in, text_bytes, text_or_none
from llm_gateway.adapters.upstream_errors import Complaint, by_status
from llm_gateway.errors import GatewayError
from llm_gateway.types import Facts, Usage

NULL = b"null"
_CACHED = ("prompt_cache_hit_tokens", "cached_tokens", "num_cached_tokens")
# Nothing costs that: a number that says so is none.
_DEAREST_USD = 10**6
_SEARCHES = ("num_search_queries", "num_sources_used")


class Delta(Struct):
    """A message or a piece of one. Reasoning has two spellings among compatible servers."""

    content: Any = None
    refusal: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    reasoning_details: Any = None
    thinking_blocks: Any = None
    annotations: Any = None
    tool_calls: Any = None
    function_call: Any = None

    def output_bytes(self) -> int:
        """Return how many bytes of output it carries; 0 when it is only a frame."""
        size = text_bytes(self.content)
        for other in (self.reasoning_content or self.reasoning, self.refusal, self.tool_calls):
            if other is not None:
                size += text_bytes(other)
        return size + text_bytes(self.function_call)


class Choice(Struct):
    """A message or a piece of one; in the older protocol of completions a text."""

    index: Any = 0
    text: Any = None
    delta: Delta | None = None
    message: Delta | None = None
    finish_reason: Any = None
    logprobs: Raw | UnsetType = UNSET


class Chunk(Struct):
    """A chunk or a whole answer. Groq tells its usage inside an object of its own as well."""

    id: Any = None
    model: Any = None
    created: Any = None
    choices: list[Choice] | None = None
    usage: Raw | UnsetType = UNSET
    error: Any = None
    x_groq: Any = None
    search_results: Any = None
    citations: Any = None


decode = msgspec.json.Decoder(Chunk).decode


def observe(chunk: Chunk, facts: Facts) -> None:
    """Write into `facts` what the chunk tells."""
    if not facts.id:  # Azure's first chunk says nothing of itself
        facts.id, facts.model = text_or_none(chunk.id), text_or_none(chunk.model)
    for choice in chunk.choices or ():
        if isinstance(choice.finish_reason, str):
            facts.finish_reason = choice.finish_reason
        said = choice.delta or choice.message
        size = said.output_bytes() if said else text_bytes(choice.text)
        if size:
            facts.content = True
            facts.output_bytes += size
    if chunk.usage is not UNSET:
        observe_usage(bytes(chunk.usage), facts)
    elif isinstance(chunk.x_groq, dict) and "usage" in chunk.x_groq:
        observe_usage(msgspec.json.encode(chunk.x_groq["usage"]), facts)


def observe_usage(raw: bytes, facts: Facts) -> None:
    """Hold a reported usage; the last valid one wins, an invalid one is kept as text."""
    if raw == NULL:
        return
    try:
        reported = msgspec.json.decode(raw)
        facts.usage = read_usage(reported)
        facts.cost_nano = told_cost(reported)
    except ValueError:
        facts.usage_invalid = raw[:RAW_KEPT].decode(errors="replace")


def told_cost(reported: dict[str, Any]) -> int | None:
    """Return what a usage says that it costs, in nano-dollars; None where it says nothing of use.

    OpenRouter: a number of US dollars, and of its own fee alone where the key is the caller's.
    Perplexity: an object with the sum.
    """
    cost = reported.get("cost")
    if isinstance(cost, dict):
        cost = cost.get("total_cost")
    if isinstance(cost, bool) or not isinstance(cost, int | float) or reported.get("is_byok"):
        return None
    if not 0 <= cost < _DEAREST_USD:
        return None
    return round(Decimal(str(cost)) * 10**9)


def read_usage(reported: object) -> Usage:
    """Return a usage object as ours; without a count of output it is only a beginning.

    Raises ValueError where it is none.
    """
    if not isinstance(reported, dict) or reported.get("prompt_tokens") is None:
        raise ValueError("no usage")
    prompt, output = count(reported["prompt_tokens"]), count(reported.get("completion_tokens"))
    reasoning = count_in(reported, "completion_tokens_details", "reasoning_tokens")
    # Counted beside the output: the total says so (xAI), or it stands beside it (Perplexity).
    if reasoning and reported.get("total_tokens") == prompt + output + reasoning:
        output += reasoning
    elif apart := count(reported.get("reasoning_tokens")):
        reasoning, output = apart, output + apart
    return Usage(
        input=prompt + count(reported.get("citation_tokens")),
        output=output,
        cache_read=_cached(reported),
        cache_write=count_in(reported, "prompt_tokens_details", "cache_write_tokens"),
        reasoning=reasoning,
        audio_input=count_in(reported, "prompt_tokens_details", "audio_tokens"),
        audio_output=count_in(reported, "completion_tokens_details", "audio_tokens"),
        image_input=count_in(reported, "prompt_tokens_details", "image_tokens"),
        image_output=count_in(reported, "completion_tokens_details", "image_tokens"),
        audio_seconds=count(reported.get("prompt_audio_seconds")),
        estimated=reported.get("completion_tokens") is None,
        tool_calls=sum(count(reported.get(name)) for name in _SEARCHES)
        + count_in(reported, "server_tool_use", "web_search_requests"),
    )


def _cached(reported: dict[str, Any]) -> int:
    """Return what came from the cache, under whichever name a server has for it."""
    usual = count_in(reported, "prompt_tokens_details", "cached_tokens")
    return usual or next(filter(None, (count(reported.get(name)) for name in _CACHED)), 0)


def render_usage(usage: Usage) -> dict[str, Any]:
    """Return our usage as the protocol counts: input with cached, output with reasoning."""
    prompt = {"cached_tokens": usage.cache_read, "audio_tokens": usage.audio_input}
    if written := usage.cache_write + usage.cache_write_1h:
        prompt["cache_write_tokens"] = written
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
        "prompt_tokens_details": prompt,
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning,
            "audio_tokens": usage.audio_output,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


_STATUS_OF = {
    "invalid_request_error": 400, "context_length_exceeded": 400, "authentication_error": 401,
    "invalid_api_key": 401, "permission_error": 403, "model_not_found": 404,
    "insufficient_quota": 429, "rate_limit_error": 429, "rate_limit_exceeded": 429,
    "requests": 429, "tokens": 429, "overloaded": 503, "overloaded_error": 503,
    "service_unavailable": 503, "timeout": 504,
}  # fmt: skip
_CONTEXT_WORDS = ("maximum context length", "context window", "prompt is too long")
# OpenAI, Azure, and OpenAI of prompts to models that reason.
_POLICY_CODES = ("content_policy_violation", "content_filter", "invalid_prompt")
_ERRORS = range(400, 600)


def complaint(error: object) -> Complaint:
    """Return what an error object says; some servers send a bare string."""
    if not isinstance(error, dict):
        return Complaint(message=error if isinstance(error, str) else "")
    message, param = error.get("message"), error.get("param")
    text = message if isinstance(message, str) else ""
    return Complaint(
        message=text,
        param=param if isinstance(param, str) else None,
        context_length=error.get("code") == "context_length_exceeded"
        or any(words in text for words in _CONTEXT_WORDS),
        content_policy=error.get("code") in _POLICY_CODES,
    )


def error_in_answer(error: object) -> GatewayError:
    """Return the error that an error object inside a 200 names: by its status, code or type."""
    named = error if isinstance(error, dict) else {}
    for field in ("status", "status_code", "code", "type"):
        value = named.get(field)
        status = _STATUS_OF.get(value, 0) if isinstance(value, str) else value
        if type(status) is int and status in _ERRORS:
            return by_status(status, complaint(error))
    return by_status(500, complaint(error))
