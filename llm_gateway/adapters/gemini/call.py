"""Read what steers the gateway out of a Gemini request, and send it on in its own dialect.

The model and the method stand in the path, so whoever has the path hands them in.
"""

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from llm_gateway.adapters.base import Changes
from llm_gateway.adapters.gemini.proto import camel, items, member, spelled
from llm_gateway.adapters.steering import refuse_steering
from llm_gateway.adapters.steering_fields import Media, inline_size, outgoing, wrong
from llm_gateway.types import Call, Outgoing, Quirks

VERSION = "/v1beta"
RESOURCES = ("models/", "tunedModels/")
MAX_CHOICES = 128
# Searches of one answer that a provider runs by itself, where nobody limits them.
SEARCHES = 20
_FIELDS = frozenset({
    "contents", "system_instruction", "tools", "tool_config", "safety_settings",
    "generation_config", "cached_content", "labels", "model", "store", "service_tier",
    "generate_content_request",
})  # fmt: skip
KNOWN = _FIELDS | {camel(name) for name in _FIELDS}
_SEARCH_TOOLS = ("googleSearch", "googleSearchRetrieval", "googleMaps", "enterpriseWebSearch")
# What these find, or run, is input beside the prompt (`toolUsePromptTokenCount`).
_READING_TOOLS = ("codeExecution", "fileSearch", "urlContext")


def parse_call(
    body: dict[str, Any],
    *,
    size: int,
    model: str = "",
    stream: bool = False,
    operation: str = "chat",
) -> Call:
    """Return what steers the gateway; `model` is as the path names it.

    `operation` is chat or count_tokens, whose body may hold a whole request. Raises
    InvalidRequestError naming the field.
    """
    refuse_steering(body, KNOWN)
    request = member(body, "generateContentRequest") if operation == "count_tokens" else None
    asked = body if request is None else request
    if not isinstance(asked, dict):
        raise wrong("generateContentRequest", "an object")
    config = _object(asked, "generationConfig")
    contents = items(member(asked, "contents"))
    tools = items(member(asked, "tools"))
    functions = [one for tool in tools for one in items(member(tool, "functionDeclarations"))]
    media = media_of(contents)
    searches, reads = _any_of(_SEARCH_TOOLS, tools), _any_of(_READING_TOOLS, tools)
    return Call(
        dialect="gemini",
        operation=operation,
        model=model_of(body, model),
        body=body,
        size=size,
        stream=stream,
        max_output_tokens=_positive(config, "maxOutputTokens"),
        choices=_choices(config),
        wants_usage=True,  # the protocol always tells it
        needs=_needs(config, stream=stream, tools=bool(functions), images=bool(media.images)),
        items=len(contents) + len(functions),
        images=media.images,
        documents=media.documents,
        audio=media.audio,
        media_bytes=media.inline_bytes,
        searches=SEARCHES if searches else 0,
        units=_units(config, media, searches=searches),
        unsized=_elsewhere(asked) or media.unsized or ("tools" if reads else ""),
        rounds=1 + reads,
    )


def render_relay(call: Call, changes: Changes, quirks: Quirks) -> Outgoing:
    """Return the caller's own body with `changes`, re-serialised; `call.body` is left alone."""
    body = renamed(call.body, changes.upstream_name)
    if call.operation == "count_tokens":
        field = spelled(body, "generateContentRequest")
        if isinstance(body.get(field), dict):
            body = {**body, field: renamed(body[field], changes.upstream_name)}
    elif changes.max_output_tokens is not None:
        body = _bounded(body, changes.max_output_tokens)
    path = path_of(changes.upstream_name, method_of(call))
    return outgoing(path, body, quirks.default_headers, stream=call.stream)


def method_of(call: Call) -> str:
    """Return what a provider is asked for: streams always as server-sent events."""
    if call.operation == "count_tokens":
        return "countTokens"
    return "streamGenerateContent?alt=sse" if call.stream else "generateContent"


def path_of(model: str, method: str) -> str:
    """Return where a model's method is called."""
    kind, name = _resource(model)
    return f"{VERSION}/{kind}{quote(name, safe=':@')}:{method}"


def resource_of(model: str) -> str:
    """Return the name of a model as bodies hold it."""
    return "".join(_resource(model))


def renamed(body: dict[str, Any], model: str) -> dict[str, Any]:
    """Return a body under another model, where it names one."""
    return body if body.get("model") is None else {**body, "model": resource_of(model)}


def model_of(body: dict[str, Any], model: str) -> str:
    """Return the public name of the model: the path's, whatever a body may say besides."""
    given = model or body.get("model")
    if not isinstance(given, str) or given in {"", RESOURCES[0]}:
        raise wrong("model", "the name of a model")
    return given.removeprefix(RESOURCES[0])


def media_of(contents: list[Any]) -> Media:
    """Return how much of the contents is no text."""
    media = Media()
    for part in _parts(contents):
        for holder in (part, *items(member(member(part, "functionResponse"), "parts"))):
            _read_media(holder, media)
    return media


def _resource(model: str) -> tuple[str, str]:
    for kind in RESOURCES:
        if model.startswith(kind):
            return kind, model.removeprefix(kind)
    return RESOURCES[0], model


def _object(body: dict[str, Any], name: str) -> dict[str, Any]:
    value = member(body, name)
    if value is not None and not isinstance(value, dict):
        raise wrong(name, "an object")
    return value or {}


def _positive(config: dict[str, Any], name: str) -> int | None:
    value = member(config, name)
    if value is not None and (type(value) is not int or value < 1):
        raise wrong(f"generationConfig.{name}", "an integer of at least 1")
    return value


def _choices(config: dict[str, Any]) -> int:
    count = _positive(config, "candidateCount") or 1
    if count > MAX_CHOICES:
        raise wrong("generationConfig.candidateCount", f"at most {MAX_CHOICES}")
    return count


def _needs(config: dict[str, Any], *, stream: bool, tools: bool, images: bool) -> frozenset[str]:
    stops = member(config, "stopSequences")
    if stops is not None and not isinstance(stops, list):
        raise wrong("generationConfig.stopSequences", "a list of strings")
    thinking = _object(config, "thinkingConfig")
    asked = {
        "stream": stream,
        "tools": tools,
        "vision": images,
        "json_schema": any(
            member(config, name) is not None for name in ("responseSchema", "responseJsonSchema")
        ),
        "reasoning": bool(member(thinking, "thinkingBudget") or member(thinking, "thinkingLevel")),
    }
    return frozenset({"chat", *(need for need, wanted in asked.items() if wanted)})


def _any_of(names: tuple[str, ...], tools: list[Any]) -> bool:
    return any(member(tool, name) is not None for tool in tools for name in names)


def _units(config: dict[str, Any], media: Media, *, searches: bool) -> frozenset[str]:
    modalities = items(member(config, "responseModalities"))
    asked = {
        "audio_input_token": bool(media.audio),
        "audio_output_token": "AUDIO" in modalities,
        "image_output_token": "IMAGE" in modalities,
        "tool_call": searches,
    }
    return frozenset(unit for unit, wanted in asked.items() if wanted)


def _elsewhere(asked: dict[str, Any]) -> str:
    return "cachedContent" if member(asked, "cachedContent") is not None else ""


def _bounded(body: dict[str, Any], most: int) -> dict[str, Any]:
    field = spelled(body, "generationConfig")
    config = body.get(field) or {}
    return {**body, field: {**config, spelled(config, "maxOutputTokens"): most}}


def _parts(contents: list[Any]) -> Iterator[Any]:
    return (part for content in contents for part in items(member(content, "parts")))


def _read_media(holder: object, media: Media) -> None:
    """Count a piece of media by its type; video has no allowance, so its bytes stay text."""
    inline, file = member(holder, "inlineData"), member(holder, "fileData")
    kind = str(member(inline or file, "mimeType") or "").partition("/")[0]
    if file is not None and kind != "image":
        media.unsized = media.unsized or "fileData"
    if (inline is None and file is None) or kind == "video":
        return
    media.images += kind == "image"
    media.audio += kind == "audio"
    media.documents += kind not in {"image", "audio"}
    media.inline_bytes += inline_size(inline, "data")
