"""Answers are judged by any schema in bounded time, and asked for in words their target knows."""

import time
from typing import Any

import pytest

from llm_gateway.errors import InvalidRequestError
from llm_gateway.prompts.answer_schema import Expected, read_json, shape_of
from llm_gateway.prompts.shaping import closed, is_strict, way_for
from llm_gateway.types import Quirks

PERSON = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
TREE = {
    "$ref": "#/$defs/node",
    "$defs": {
        "node": {
            "type": "object",
            "properties": {"left": {"$ref": "#/$defs/node"}, "right": {"$ref": "#/$defs/node"}},
        }
    },
}


def doubling(levels: int) -> dict[str, Any]:
    """Return a schema that asks for 2^levels checks of one number."""
    steps = {f"s{n}": {"allOf": [{"$ref": f"#/$defs/s{n + 1}"}] * 2} for n in range(levels)}
    return {"$ref": "#/$defs/s0", "$defs": {**steps, f"s{levels}": {"type": "integer"}}}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": 1}', {"a": 1}),
        ("```json\n[1, 2]\n```", [1, 2]),
        ('Here you are:\n\n{"a": {"b": 1}} I hope it helps.', {"a": {"b": 1}}),
        ('"text"', "text"),
        ("7", 7),
    ],
)
def test_a_value_is_found_in_what_a_model_wrote(text: str, value: object) -> None:
    assert read_json(text) == value


@pytest.mark.parametrize("text", ["", "no", "{", "{'a': 1}", "```\nno\n```"])
def test_what_is_no_json_is_no_value(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        read_json(text)


def test_what_is_wrong_is_said_with_its_place() -> None:
    shape = shape_of({"type": "object", "properties": {"a": {"type": "array", "items": PERSON}}})
    assert shape.problem({"a": [{"name": "x"}]}) is None
    problem = shape.problem({"a": [{"name": "x"}, {"name": 1}]})
    assert problem is not None
    assert problem.startswith("['a'][1]['name']: ")


def test_a_caller_may_have_an_object_of_its_own_made() -> None:
    def build(value: Any) -> str:
        if value["name"] == "no":
            raise ValueError("It must not be no.")
        return str(value["name"])

    expected = Expected(shape_of(PERSON), build)
    assert expected.read('{"name": "x"}').value == "x"
    assert expected.read('{"name": "no"}').problem == "It must not be no."
    assert expected.read("?").problem is not None


@pytest.mark.parametrize(
    "schema",
    [
        None,
        [],
        {"type": "nothing"},
        {"$ref": "https://example.com/schema"},
        {"$ref": "other.json"},
        {"$ref": "#/$defs/nowhere"},
        {"$ref": "#/$defs/a%2fb", "$defs": {"a/b": {}}},
        {"$id": "https://example.com/x", "type": "object"},
        {"$dynamicRef": "#x"},
        {"properties": {"default": {"$ref": "file:///etc/passwd"}}},
        {"pattern": "(a)\\1"},
        doubling(30),
    ],
)
def test_a_schema_that_is_none_or_too_much_is_refused(schema: object) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        shape_of(schema)
    assert caught.value.param == "response_schema"


def test_a_property_may_be_called_like_a_word_of_schemas() -> None:
    shape = shape_of({"type": "object", "properties": {"$ref": PERSON, "enum": {"type": "string"}}})
    assert shape.problem({"enum": "x", "$ref": {"name": "y"}}) is None
    assert shape.problem({"enum": 1}) is not None


def test_no_answer_takes_long_to_judge() -> None:
    json_value = {"anyOf": [{"items": {"$ref": "#"}}, {"additionalProperties": {"$ref": "#"}}]}
    nested: Any = 1
    for _ in range(60):
        nested = [nested, nested] if isinstance(nested, int) else [nested]
    for schema in (TREE, json_value, {"$ref": "#"}, doubling(10), {"pattern": "^(a+)+$"}):
        shape = shape_of(schema)
        began = time.perf_counter()
        shape.problem(nested)
        shape.problem("a" * 100_000 + "b")
        assert time.perf_counter() - began < 1


# --- how it is asked for -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("capabilities", "quirks", "schema", "way"),
    [
        (None, Quirks(), PERSON, "native"),
        ({"json_schema"}, Quirks(), PERSON, "native"),
        ({"tools"}, Quirks(), PERSON, "tool"),
        ({"chat"}, Quirks(), PERSON, "words"),
        (None, Quirks(json_schema=False), PERSON, "tool"),
        ({"tools"}, Quirks(), {"type": "array"}, "words"),
        (None, Quirks(any_schema=False), PERSON, "native"),
        (None, Quirks(any_schema=False), {"type": "object"}, "tool"),
    ],
)
def test_each_target_is_asked_in_its_way(
    capabilities: set[str] | None, quirks: Quirks, schema: dict[str, Any], way: str
) -> None:
    assert way_for(capabilities, quirks, schema) == way


def test_closing_keeps_what_objects_hold_and_leaves_bounds_to_the_judge() -> None:
    schema = {
        "type": "object",
        "title": "T",
        "properties": {
            "age": {"type": "integer", "minimum": 0},
            "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}},
            "kind": {"anyOf": [{"const": "a"}, {"type": "null"}]},
        },
        "$defs": {"tag": {"type": "string", "maxLength": 3}},
    }
    assert closed(schema) == {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "age": {"type": "integer"},
            "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}},
            "kind": {"anyOf": [{"const": "a"}, {"type": "null"}]},
        },
        "$defs": {"tag": {"type": "string"}},
    }


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object"},
        {"type": "object", "properties": {}, "additionalProperties": True},
        {"type": "object", "properties": {"a": {"allOf": [PERSON]}}},
        {"type": "array", "items": {"type": "object"}},
        {"anyOf": [{"type": "object"}]},
    ],
)
def test_what_closing_would_change_is_left_open(schema: dict[str, Any]) -> None:
    assert closed(schema) is None


def test_only_a_schema_that_leaves_nothing_open_is_strict() -> None:
    assert not is_strict(PERSON)
    assert is_strict({**PERSON, "additionalProperties": False})
    assert not is_strict({**PERSON, "required": [], "additionalProperties": False})
    assert not is_strict({"type": "string", "maxLength": 3})
