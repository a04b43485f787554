"""Read what steers the gateway out of a chat body, and send the body on in its own dialect."""

from typing import Any

from llm_gateway.adapters.base import Changes
from llm_gateway.adapters.counting import text_or_none
from llm_gateway.adapters.paths import path_for
from llm_gateway.adapters.steering import refuse_steering
from llm_gateway.adapters.steering_fields import (
    Media,
    flag,
    inline_size,
    media_in,
    message_list,
    model_name,
    object_list,
    optional_object,
    outgoing,
    positive,
    wrong,
)
from llm_gateway.types import Call, Outgoing, Quirks

PATH = "/chat/completions"
MAX_CHOICES = 128
MAX_TOKENS_FIELDS = ("max_completion_tokens", "max_tokens")
KNOWN = frozenset({
    "audio", "frequency_penalty", "function_call", "functions", "logit_bias", "logprobs",
    "max_completion_tokens", "max_tokens", "messages", "metadata", "modalities", "model",
    "moderation", "n", "parallel_tool_calls", "prediction", "presence_penalty",
    "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "reasoning_effort",
    "response_format", "safety_identifier", "seed", "service_tier", "stop", "store", "stream",
    "stream_options", "temperature", "tool_choice", "tools", "top_logprobs", "top_p", "user",
    "verbosity", "web_search_options",
})  # fmt: skip


def parse_call(body: dict[str, Any], *, size: int) -> Call:
    """Return what steers the gateway. Raises InvalidRequestError naming the field."""
    refuse_steering(body, KNOWN)
    messages = message_list(body)
    tools = object_list(body, "tools") + object_list(body, "functions")
    media = media_in(messages, _read_media)
    stream = flag(body, "stream")
    searches = body.get("web_search_options") is not None  # once for each answer
    return Call(
        dialect="openai_chat",
        operation="chat",
        model=model_name(body),
        body=body,
        size=size,
        stream=stream,
        max_output_tokens=_max_tokens(body),
        choices=_choices(body),
        wants_usage=_wants_usage(body),
        end_user=_end_user(body),
        needs=_needs(body, stream=stream, tools=bool(tools), images=bool(media.images)),
        items=len(messages) + len(tools),
        images=media.images,
        documents=media.documents,
        audio=media.audio,
        media_bytes=media.inline_bytes,
        searches=int(searches),
        unreported_calls=int(searches),
        units=_units(body, media, searches=searches),
        unsized=_elsewhere(messages) or ("web_search_options" if searches else ""),
    )


def render_relay(call: Call, changes: Changes, quirks: Quirks) -> Outgoing:
    """Return the caller's own body with `changes`, re-serialised; `call.body` is left alone."""
    body = {**call.body, "model": changes.upstream_name}
    if call.stream and quirks.include_usage:
        body["stream_options"] = {**(body.get("stream_options") or {}), "include_usage": True}
    if changes.max_output_tokens is not None:
        used = [field for field in MAX_TOKENS_FIELDS if body.get(field) is not None]
        for field in used or [quirks.max_tokens_field]:
            body[field] = changes.max_output_tokens
    path = path_for("chat", PATH, changes.upstream_name, quirks)
    return outgoing(path, body, quirks.default_headers, stream=call.stream)


def _max_tokens(body: dict[str, Any]) -> int | None:
    """Return the larger of the two fields: what is sent bounds the output by neither less."""
    given = [value for field in MAX_TOKENS_FIELDS if (value := positive(body, field)) is not None]
    return max(given, default=None)


def _choices(body: dict[str, Any]) -> int:
    n = positive(body, "n") or 1
    if n > MAX_CHOICES:
        raise wrong("n", f"at most {MAX_CHOICES}")
    return n


def _wants_usage(body: dict[str, Any]) -> bool:
    wanted = optional_object(body, "stream_options").get("include_usage")
    if wanted is not None and not isinstance(wanted, bool):
        raise wrong("stream_options.include_usage", "true or false")
    return bool(wanted)


def _end_user(body: dict[str, Any]) -> str | None:
    for field in ("safety_identifier", "user"):
        value = body.get(field)
        if value is not None and not isinstance(value, str):
            raise wrong(field, "a string")
        if value:
            return value
    return None


def _needs(body: dict[str, Any], *, stream: bool, tools: bool, images: bool) -> frozenset[str]:
    stop = body.get("stop")
    if stop is not None and not isinstance(stop, (str, list)):
        raise wrong("stop", "a string or a list of strings")
    asked = {
        "stream": stream,
        "tools": tools,
        "vision": images,
        "json_schema": optional_object(body, "response_format").get("type") == "json_schema",
        "reasoning": text_or_none(body.get("reasoning_effort")) not in {None, "none"},
    }
    return frozenset({"chat", *(need for need, wanted in asked.items() if wanted)})


def _units(body: dict[str, Any], media: Media, *, searches: bool) -> frozenset[str]:
    modalities = body.get("modalities")
    asked = {
        "audio_input_token": bool(media.audio),
        "audio_output_token": isinstance(modalities, list) and "audio" in modalities,
        "tool_call": searches,
    }
    return frozenset(unit for unit, wanted in asked.items() if wanted)


def _elsewhere(messages: list[Any]) -> str:
    """Name the first message that gives its sound by the id of an earlier answer."""
    for index, message in enumerate(messages):
        if isinstance(message, dict) and isinstance(message.get("audio"), dict):
            return f"messages[{index}].audio"
    return ""


_MEDIA = {"image_url": "url", "input_audio": "data", "file": "file_data"}


def _read_media(part: dict[str, Any], media: Media) -> None:
    kind = part.get("type")
    media.audio += kind == "input_audio"
    field = _MEDIA.get(kind) if isinstance(kind, str) else None
    if kind is None or field is None:
        return
    media.images += kind == "image_url"
    media.documents += kind == "file"
    media.inline_bytes += inline_size(part.get(kind), field)
