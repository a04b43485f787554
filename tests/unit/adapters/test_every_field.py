"""Every field of a request, at any depth, is carried or refused by its name; nothing breaks.

Over all requests that were recorded and all golden ones, towards every protocol of a provider.
"""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec
import pytest

from llm_gateway.adapters import ADAPTERS, CHAT_ADAPTERS, CHAT_UPSTREAMS
from llm_gateway.adapters.base import ChatAdapter, ChatUpstream
from llm_gateway.adapters.crossing import cross
from llm_gateway.errors import GatewayError, InvalidRequestError, UnexpressibleError
from llm_gateway.types import Quirks
from tests.unit.adapters import golden
from tests.unit.adapters import recordings as source

LIMIT = 12345  # no request asks for it
Place = tuple[str | int, ...]


class Asked(NamedTuple):
    """What a caller asked, in which dialect."""

    id: str
    adapter: str
    body: dict[str, Any]


def asked() -> list[Asked]:
    found = [Asked(row.id, row.adapter, row.request) for row in source.recordings()]
    for path in golden.cases():
        body = msgspec.json.decode((path / "request.json").read_bytes())
        found.append(Asked(golden.name_of(path), path.parent.name, body))
    return found


ASKED = asked()
CHATS = [
    one
    for one in ASKED
    if one.adapter in CHAT_ADAPTERS and not re.search("count-?tokens-n", one.id)
]


def over(chosen: list[Asked]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("one", chosen, ids=lambda one: one.id)


def test_requests_of_every_dialect_are_among_them() -> None:
    if not source.FOLDER.is_dir():
        source.absent()
    assert {one.adapter for one in CHATS} == set(CHAT_ADAPTERS)
    recorded = {one.id for one in CHATS if "/" not in one.id}
    assert recorded == {row.id for row in source.recordings() if row.is_chat}


# --- carried or refused ---------------------------------------------------------------------------

# Values that are one thing to whoever reads them: a schema, what a tool was called with or told.
OPAQUE = {
    *("parameters", "input_schema", "schema", "args", "response", "metadata", "logit_bias"),
    *("parametersJsonSchema", "responseSchema", "response_schema", "responseJsonSchema"),
    "partMetadata",
}
# What says no more than its absence to a target, as the adapters document: by field, `...` any.
TEXTS: tuple[Any, ...] = (
    {"format": {"type": "text"}},
    {"format": {"type": "text"}, "verbosity": "medium"},
)
QUIET: dict[str, tuple[Any, ...]] = {
    # What is so without being said, or says nothing.
    "stream": (False,), "n": (1,), "candidateCount": (1,), "presence_penalty": (0,),
    "frequency_penalty": (0,), "system": ("",), "instructions": ("",), "description": ("",),
    "content": ("",), "text": ("", *TEXTS), "reasoning_content": ("",),
    "arguments": ("{}",), "is_error": (False,), "logprobs": (False,), "store": (False,),
    "background": (False,), "truncation": ("disabled",), "verbosity": ("medium",),
    "service_tier": ("auto", "default", "standard_only"), "mode": ("AUTO", "auto", "explicit"),
    "tool_choice": ("auto", {"type": "auto"}), "functionCallingConfig": ({"mode": "AUTO"},),
    "toolConfig": ({"functionCallingConfig": {"mode": "AUTO"}},), "detail": ("auto",),
    "citations": ({"enabled": False},), "enabled": (False,), "refusal": ("",),
    "modalities": (["text"],), "responseModalities": (["TEXT"],), "parallel_tool_calls": (True,),
    "responseMimeType": ("text/plain",), "disable_parallel_tool_use": (False,),
    "input_schema": ({"type": "object", "properties": {}},), "context": ("auto",),
    "parameters": ({"type": "object", "properties": {}},), "thinkingBudget": (0,),
    "systemInstruction": ({"parts": {"text": ""}},), "thinking_budget": (0,),
    "parts": ({"text": ""},),
    # Kinds and places that follow from where it stands, and from what stands beside it.
    "type": (...,), "role": (...,), "format": (...,), "index": (...,), "mimeType": (...,),
    "media_type": (...,), "thought": (True,),
    "include": (["reasoning.encrypted_content"], ["message.output_text.logprobs"]),
    # The caller's own stream; all thinking that there is is shown; equal prefixes are kept anyway.
    "stream_options": (...,), "include_usage": (...,), "include_obfuscation": (...,),
    "display": (...,), "includeThoughts": (True,), "include_thoughts": (True,),
    "summary": (...,), "cache_control": (...,), "prompt_cache_breakpoint": (...,), "ttl": (...,),
    # That somebody thinks, or does not, where a target's model decides it.
    "thinking": (...,), "reasoning": (...,), "thinkingConfig": (...,), "generationConfig": (...,),
    # Labels: of earlier items, of a schema, of what has its own id.
    "id": (...,), "status": (...,), "phase": (...,), "name": (...,), "strict": (...,),
    # An amount without a number, where targets know numbers.
    "effort": ("xhigh", "max"), "output_config": ({"effort": "xhigh"}, {"effort": "max"}),
}  # fmt: skip


@over(CHATS)
def test_a_field_at_any_depth_is_carried_or_refused_by_name(one: Asked) -> None:
    adapter = CHAT_ADAPTERS[one.adapter]
    for target in others(adapter):
        body = without_refused(adapter, target, one.body)
        if body is None:
            continue
        sent = crossed(adapter, target, body)
        for place, value in places(body):
            if value is None or is_quiet(place, value) or is_left_out(body, place):
                continue
            less = crossed(adapter, target, without(body, place))
            assert less != sent, f"{path_of(place)} = {value!r} is not told to {target.name}"


def is_left_out(body: dict[str, Any], place: Place) -> bool:
    """Say whether this is of a tool that the caller's choice does not allow: it is not told of."""
    choice = body.get("tool_choice")
    allowed = choice.get("tools") if isinstance(choice, dict) else None
    if place[0] != "tools" or allowed is None or len(place) == 1:
        return False
    name = found(body, ["tools", f"[{place[1]}]", "name"])
    return bool(name) and body["tools"][place[1]]["name"] not in {one["name"] for one in allowed}


def others(adapter: ChatAdapter) -> Iterator[ChatUpstream]:
    return (target for target in CHAT_UPSTREAMS.values() if target is not adapter)


def is_quiet(place: Place, value: object) -> bool:
    if value == {} or (isinstance(value, list) and not any(value)):
        return True  # what is left of what was refused
    if place[-2:] in {("format", "description"), ("json_schema", "description")}:
        return True  # a label of the schema
    if place[0] == "safetySettings":
        return True  # those that are not refused ask for no filter
    quiet = QUIET.get(str(place[-1]), ())
    as_bool = isinstance(value, bool)
    return any(one is ... or (one == value and isinstance(one, bool) is as_bool) for one in quiet)


def places(value: Any, place: Place = ()) -> Iterator[tuple[Place, Any]]:
    """Yield each field at any depth, with what it says."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from places(item, (*place, index))
    elif isinstance(value, dict):
        for name, item in value.items():
            yield (*place, name), item
            called_with = name == "input" and str(value.get("type")).endswith("tool_use")
            if name not in OPAQUE and not called_with:
                yield from places(item, (*place, name))


def without(value: Any, place: Place) -> Any:
    head, *rest = place
    if isinstance(value, dict):
        kept = {name: item for name, item in value.items() if name != head}
        return {**kept, head: without(value[head], (*rest,))} if rest else kept
    return [
        without(item, (*rest,)) if index == head else item
        for index, item in enumerate(value)
        if rest or index != head
    ]


def crossed(adapter: ChatAdapter, target: ChatUpstream, body: dict[str, Any]) -> object:
    """Return what is sent, whatever the order of its fields; or what is refused."""
    try:
        request = adapter.parse_request(body)
        sent = cross(adapter, target, request, Quirks(), default_max_tokens=LIMIT)
    except InvalidRequestError as error:
        return f"refused: {error.param}"
    return sent.path, msgspec.json.decode(sent.body)


# --- what a refusal names -------------------------------------------------------------------------

# Thinking of another author, whose signature clients may have moved to the next part.
OTHER_NAME = {"contents[].parts[].thought": "contents[].parts[].thoughtSignature"}


def without_refused(
    adapter: ChatAdapter, target: ChatUpstream, body: dict[str, Any]
) -> dict[str, Any] | None:
    """Return what is left once all that is refused is taken out; None where that is nothing."""
    while (error := refusal(adapter, target, body)) is not None:
        stands = named(body, str(error.param))
        if isinstance(error, UnexpressibleError):
            assert stands, f"{error.param} stands nowhere in what was asked of {target.name}"
        if not stands:
            return None
        body = without_field(adapter, body, stands[-1])
    return body


def refusal(
    adapter: ChatAdapter, target: ChatUpstream, body: dict[str, Any]
) -> InvalidRequestError | None:
    try:
        request = adapter.parse_request(body)
        cross(adapter, target, request, Quirks(), default_max_tokens=LIMIT)
    except InvalidRequestError as error:
        return error
    return None


def without_field(adapter: ChatAdapter, body: dict[str, Any], place: Place) -> dict[str, Any]:
    """Take a field out; all of its item where the rest of that would be none."""
    less: dict[str, Any] = without(body, place)
    if place[-1] != "type":
        try:
            adapter.parse_request(less)
        except InvalidRequestError:
            pass
        else:
            return less
    last = max((at for at, step in enumerate(place) if isinstance(step, int)), default=0)
    whole: dict[str, Any] = without(body, place[: last + 1])
    return whole


def named(body: dict[str, Any], param: str) -> list[Place]:
    """Return where the field that was named stands; `[]` is any item, a part goes by its kind."""
    path = re.findall(r"[^.\[\]]+|\[\d*\]", param)
    parts = [
        place for place in found(body, path[:-1]) if place and kind_of(body, place) == path[-1]
    ]
    other = OTHER_NAME.get(param)
    return found(body, path) or parts or (named(body, other) if other else [])


def found(value: Any, path: list[str]) -> list[Place]:
    if not path:
        return [()]
    head, *rest = path
    keys: list[Any] = []
    if isinstance(value, dict):  # Google's dialect has two ways to write a name
        keys = [key for key in value if same_name(key) == same_name(head)]
    if isinstance(value, list) and head.startswith("["):
        keys = [at for at in range(len(value)) if head in {"[]", f"[{at}]"}]
    return [(key, *place) for key in keys for place in found(value[key], rest)]


def same_name(name: str) -> str:
    return name.replace("_", "").lower()


def kind_of(body: Any, place: Place) -> object:
    for step in place:
        body = body[step]
    return body.get("type") if isinstance(body, dict) else None


def path_of(place: Place) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place)[1:]


# --- whatever stands in a body --------------------------------------------------------------------

ODD: tuple[Any, ...] = ("", "x", -1, True, 2**60, [None], [[]], {}, {"type": "x"})
OTHER_ROLE = {
    "user": "assistant", "assistant": "user", "model": "user", "tool": "assistant",
    "system": "assistant", "developer": "user", "function": "model",
}  # fmt: skip


@over(ASKED)
def test_nothing_that_a_body_may_hold_breaks_an_adapter(one: Asked) -> None:
    """Each field in turn is something else; turns change their speaker, or are left out."""
    adapter: Any = ADAPTERS[one.adapter]
    named_in_path = {"model": "m"} if one.adapter.startswith("gemini") else {}
    for body in mangled(one.body):
        try:
            adapter.parse_call(body, size=1, **named_in_path)
        except GatewayError:
            continue  # what is refused here is not translated
        if one.adapter in CHAT_ADAPTERS:
            for target in others(adapter):
                crossed(adapter, target, body)


def mangled(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for place, _value in places(body):
        yield without(body, place)
        for odd in ODD:
            yield replaced(body, place, odd)
    for name in ("messages", "contents", "input"):
        turns = body.get(name)
        for at, turn in enumerate(turns if isinstance(turns, list) else ()):
            yield without(body, (name, at))
            role = turn.get("role") if isinstance(turn, dict) else None
            if role in OTHER_ROLE:
                yield replaced(body, (name, at, "role"), OTHER_ROLE[role])


def replaced(value: Any, place: Place, odd: Any) -> Any:
    head, *rest = place
    inner = replaced(value[head], (*rest,), odd) if rest else odd
    if isinstance(value, dict):
        return {**value, head: inner}
    return [inner if at == head else item for at, item in enumerate(value)]
