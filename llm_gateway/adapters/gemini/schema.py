"""Turn Google's own kind of schema into JSON Schema, which every other protocol speaks.

Theirs has types in capitals, `nullable` instead of a type, bounds as text, and an order of the
properties, which here is the order they are written in.
"""

from collections.abc import Callable
from typing import Any

from llm_gateway.adapters.gemini.proto import camel

Schema = dict[str, Any]
_BOUNDS = {"minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"}
_LISTS = {"anyOf", "oneOf", "allOf", "prefixItems"}
_MAPS = {"properties", "defs", "$defs", "definitions"}
_WHOLE = {"allOf", "not", "additionalProperties"}  # closing a part would change what the whole says


def json_schema(schema: Schema) -> Schema:
    """Return a schema in JSON Schema's words; what it does not know stays as it is."""
    given = {camel(name): value for name, value in schema.items()}
    order, nullable = given.pop("propertyOrdering", None), given.pop("nullable", None)
    written = {name: _value(name, value) for name, value in given.items()}
    if isinstance(order, list) and isinstance(written.get("properties"), dict):
        written["properties"] = _ordered(written["properties"], order)
    return _nullable(written) if nullable is True else written


def closed(schema: Schema) -> Schema:
    """Return a schema by which an object has what is declared and nothing else.

    Where Google validates calls that goes without saying; other protocols have to be told.
    """
    told = {
        name: value if name in _WHOLE else _inside(name, value, _closed)
        for name, value in schema.items()
    }
    return {**told, "additionalProperties": False} if _is_open(told) else told


def _is_open(schema: Schema) -> bool:
    return "properties" in schema and "additionalProperties" not in schema


def _closed(value: Any) -> Any:  # noqa: ANN401 - JSON
    return closed(value) if isinstance(value, dict) else value


def _value(name: str, value: Any) -> Any:  # noqa: ANN401 - JSON
    if name == "type" and isinstance(value, str):
        return value.lower()
    if name in _BOUNDS and isinstance(value, str) and value.isdecimal():
        return int(value)
    return _inside(name, value, _schema)


def _inside(name: str, value: Any, change: Callable[[Any], Any]) -> Any:  # noqa: ANN401 - JSON
    """Return what a field says, with every schema in it changed."""
    if name in _MAPS and isinstance(value, dict):
        return {key: change(item) for key, item in value.items()}
    if name in _LISTS and isinstance(value, list):
        return [change(item) for item in value]
    return change(value) if name in {"items", "additionalProperties", "not"} else value


def _schema(value: Any) -> Any:  # noqa: ANN401 - JSON
    return json_schema(value) if isinstance(value, dict) else value


def _ordered(properties: Schema, order: list[Any]) -> Schema:
    first = {name: properties[name] for name in order if name in properties}
    return {**first, **properties}


def _nullable(schema: Schema) -> Schema:
    kind = schema.get("type")
    if isinstance(kind, str):
        return {**schema, "type": [kind, "null"]}
    if isinstance(schema.get("anyOf"), list):
        return {**schema, "anyOf": [*schema["anyOf"], {"type": "null"}]}
    return schema
