"""Read what steers the gateway out of a responses body, and send the body on in its own dialect."""

from collections.abc import Iterator
from typing import Any

from llm_gateway.adapters.base import Changes
from llm_gateway.adapters.counting import text_or_none
from llm_gateway.adapters.paths import path_for
from llm_gateway.adapters.server_tools import CALLS, server_tools
from llm_gateway.adapters.steering import refuse_steering
from llm_gateway.adapters.steering_fields import (
    Media,
    flag,
    inline_size,
    model_name,
    object_list,
    optional_object,
    outgoing,
    positive,
    wrong,
)
from llm_gateway.errors import InvalidRequestError
from llm_gateway.types import Call, Outgoing, Quirks

PATH = "/responses"
WAYS = ("responses", "chat")
LOOKED_UP = ("conversation", "previous_response_id")
KNOWN = frozenset({
    "background", "context_management", "conversation", "include", "input", "instructions",
    "max_output_tokens", "max_tool_calls", "metadata", "model", "moderation",
    "parallel_tool_calls", "previous_response_id", "prompt", "prompt_cache_key",
    "prompt_cache_options", "prompt_cache_retention", "reasoning", "safety_identifier",
    "service_tier", "store", "stream", "stream_options", "temperature", "text", "tool_choice",
    "tools", "top_logprobs", "top_p", "truncation", "user",
})  # fmt: skip


def parse_call(body: dict[str, Any], *, size: int) -> Call:
    """Return what steers the gateway. Raises InvalidRequestError naming the field."""
    refuse_steering(body, KNOWN)
    items = _items(body)
    tools = object_list(body, "tools")
    stream = flag(body, "stream")
    if flag(body, "background") and not stream:
        raise InvalidRequestError(
            "'background' needs 'stream': what such an answer costs is known at its end only.",
            param="background",
        )
    media = Media()
    for part in _parts(items):
        _read_media(part, media)
    own, most = server_tools(tools), _most_calls(body)
    continues = tuple(_continues(body, items))
    return Call(
        dialect="openai_responses",
        operation="chat",
        ways=WAYS,
        model=model_name(body),
        body=body,
        size=size,
        stream=stream,
        max_output_tokens=positive(body, "max_output_tokens"),
        wants_usage=True,  # the protocol always tells it
        end_user=_end_user(body),
        needs=_needs(body, stream=stream, tools=bool(tools), images=bool(media.images)),
        items=len(items) + len(tools),
        images=media.images,
        documents=media.documents,
        audio=media.audio,
        media_bytes=media.inline_bytes,
        searches=min(own.calls, most),
        units=own.units | ({"audio_input_token"} if media.audio else frozenset()),
        unsized=_elsewhere(body, own.unsized) or ("input" if continues else ""),
        rounds=min(own.rounds, 1 + most),
        continues=continues,
    )


def render_relay(call: Call, changes: Changes, quirks: Quirks) -> Outgoing:
    """Return the caller's own body with `changes`, re-serialised; `call.body` is left alone."""
    body = {**call.body, "model": changes.upstream_name}
    if changes.max_output_tokens is not None:
        body["max_output_tokens"] = changes.max_output_tokens
    path = path_for("responses", PATH, changes.upstream_name, quirks)
    return outgoing(path, body, quirks.default_headers, stream=call.stream)


def _items(body: dict[str, Any]) -> list[Any]:
    """Return the input's items; a text is one."""
    given = body.get("input")
    if given is not None and not isinstance(given, str | list):
        raise wrong("input", "a string or a list of items")
    return given if isinstance(given, list) else [given] if given else []


def _parts(items: list[Any]) -> Iterator[dict[str, Any]]:
    found = [item for item in items if isinstance(item, dict)]
    for content in (item.get(field) for item in found for field in ("content", "output")):
        parts = content if isinstance(content, list) else ()
        yield from (part for part in parts if isinstance(part, dict))


def _most_calls(body: dict[str, Any]) -> int:
    """Return how many calls of all its tools the body allows."""
    most = body.get("max_tool_calls")
    return most if type(most) is int and most > 0 else CALLS


def _elsewhere(body: dict[str, Any], tools: str) -> str:
    """Return a field that brings input from elsewhere; the last are those that may be looked up."""
    if body.get("prompt") is not None:
        return "prompt"
    kept = (name for name in LOOKED_UP if body.get(name) is not None)
    return tools or next(kept, "")


def _continues(body: dict[str, Any], items: list[Any]) -> Iterator[str]:
    """Yield the ids of what the provider has to have kept for this request."""
    previous = body.get("previous_response_id")
    if previous is not None:
        yield _identifier("previous_response_id", previous)
    conversation = body.get("conversation")
    if conversation is not None:
        inner = conversation.get("id") if isinstance(conversation, dict) else conversation
        yield _identifier("conversation", inner)
    for index, item in enumerate(items):
        if isinstance(item, dict) and item.get("type") == "item_reference":
            yield _identifier(f"input[{index}].id", item.get("id"))


def _identifier(param: str, value: object) -> str:
    if not isinstance(value, str) or not value:
        raise wrong(param, "an id")
    return value


def _end_user(body: dict[str, Any]) -> str | None:
    for field in ("safety_identifier", "user"):
        value = body.get(field)
        if value is not None and not isinstance(value, str):
            raise wrong(field, "a string")
        if value:
            return value
    return None


def _needs(body: dict[str, Any], *, stream: bool, tools: bool, images: bool) -> frozenset[str]:
    form, reasoning = (
        optional_object(body, "text").get("format"),
        optional_object(body, "reasoning"),
    )
    asked = {
        "stream": stream,
        "tools": tools,
        "vision": images,
        "json_schema": isinstance(form, dict) and form.get("type") == "json_schema",
        "reasoning": text_or_none(reasoning.get("effort")) not in {None, "none"},
    }
    return frozenset(need for need, wanted in asked.items() if wanted)


_MEDIA = {"input_image": "image_url", "input_file": "file_data"}


def _read_media(part: dict[str, Any], media: Media) -> None:
    kind = part.get("type")
    media.images += kind == "input_image"
    media.documents += kind == "input_file"
    if kind == "input_audio":
        media.audio += 1
        media.inline_bytes += inline_size(part.get("input_audio"), "data")
    elif isinstance(kind, str) and kind in _MEDIA:
        media.inline_bytes += inline_size(part, _MEDIA[kind])
