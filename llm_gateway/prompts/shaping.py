"""Ask for an answer of a shape in the way that a target understands.

Natively where it can; by a tool that the model has to call with the answer as its argument; else in
words. Whoever reads the answer judges it all the same.
"""

import json
from collections.abc import Collection
from typing import Any, Literal

from msgspec.structs import replace

from llm_gateway.types import (
    ChatRequest,
    Message,
    Quirks,
    ResponseFormat,
    TextPart,
    Tool,
    ToolChoice,
)

Way = Literal["native", "tool", "words"]

NAME = "answer"
TOLD = (
    "Answer with one JSON value and nothing else: no other words, no code fence."
    " It has to be valid by this JSON Schema:\n"
)
MENDED = (
    "That answer is not valid by the JSON Schema that was asked for. What is wrong:\n{problem}\n"
    "Answer again with the whole JSON value, mended, and nothing else."
)
_KEPT = frozenset(
    {"$ref", "anyOf", "const", "description", "enum", "items", "properties", "required", "type"}
)
_BY_NAME = frozenset({"properties", "$defs"})
_FURTHER = frozenset(
    {"allOf", "oneOf", "not", "if", "patternProperties", "prefixItems", "propertyNames"}
)


def way_for(capabilities: Collection[str] | None, quirks: Quirks, schema: dict[str, Any]) -> Way:
    """Return how to ask a target; what is not known of it is not ruled out."""

    def can(capability: str) -> bool:
        return capabilities is None or capability in capabilities

    native = can("json_schema") and quirks.json_schema
    if native and (quirks.any_schema or closed(schema) is not None):
        return "native"
    if can("tools") and schema.get("type") == "object":
        return "tool"
    return "words"


def shaped(request: ChatRequest, schema: dict[str, Any], way: Way, quirks: Quirks) -> ChatRequest:
    """Return the request, asking for an answer by `schema` in this way."""
    if way == "native":
        sent = schema if quirks.any_schema else closed(schema)
        wanted = ResponseFormat(
            kind="schema", name=NAME, schema=sent, strict=is_strict(schema) or None
        )
        return replace(request, response_format=wanted)
    if way == "tool":
        tool = Tool(name=NAME, description="Give the answer.", schema=schema)
        choice = ToolChoice(mode="named", name=NAME)
        return replace(request, tools=(tool,), tool_choice=choice)
    told = TextPart(text=TOLD + json.dumps(schema, ensure_ascii=False))
    return replace(request, messages=(Message(role="system", parts=(told,)), *request.messages))


def is_strict(schema: object) -> bool:
    """Say whether every object of a schema is closed and needs all its fields.

    Only such a schema is held to the letter by servers that know `strict`.
    """
    if isinstance(schema, list):
        return all(map(is_strict, schema))
    if not isinstance(schema, dict):
        return True
    if not schema.keys() <= {*_KEPT, "$defs", "additionalProperties", "title"}:
        return False
    if schema.get("type") == "object" or "properties" in schema:
        fields = schema.get("properties", {})
        needed = schema.get("required", [])
        if schema.get("additionalProperties") is not False or set(needed) != set(fields):
            return False
    return all(map(is_strict, _inner(schema)))


def closed(schema: dict[str, Any]) -> dict[str, Any] | None:
    """Return a schema in the few words that strict servers know, its objects closed.

    Bounds of numbers and texts are left out: the answer is judged by the schema itself. None where
    closing it would change what it means.
    """
    try:
        return _closed(schema)
    except _OpenError:
        return None


class _OpenError(Exception):
    """A schema leaves open what an object holds, or judges in words of its own."""


def _closed(schema: object) -> dict[str, Any]:
    if not isinstance(schema, dict) or _opens(schema):
        raise _OpenError
    kept: dict[str, Any] = {name: schema[name] for name in _KEPT & schema.keys()}
    for name in _BY_NAME & schema.keys():
        kept[name] = {key: _closed(inner) for key, inner in schema[name].items()}
    if "items" in kept:
        kept["items"] = _closed(schema["items"])
    if "anyOf" in kept:
        kept["anyOf"] = [_closed(one) for one in schema["anyOf"]]
    if schema.get("type") == "object":
        kept["additionalProperties"] = False
    return kept


def _opens(schema: dict[str, Any]) -> bool:
    if _FURTHER & schema.keys() or schema.get("additionalProperties", False) is not False:
        return True
    return schema.get("type") == "object" and "properties" not in schema


def _inner(schema: dict[str, Any]) -> list[Any]:
    named = [*schema.get("properties", {}).values(), *schema.get("$defs", {}).values()]
    return [*named, *schema.get("anyOf", []), schema.get("items")]
