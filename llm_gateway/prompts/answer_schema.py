"""Judge answers by a JSON Schema that a caller gave; nothing is fetched and nothing runs away.

A schema can ask for more work than the universe has time for: it is unfolded here first, within a
bound, and what recurs is judged only to the depth at which the work stays bounded.
"""

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any

import jsonschema_rs
from msgspec import Struct

from llm_gateway.errors import InvalidRequestError

MOST_STEPS = 20_000  # of a schema with all its references put in
MOST_WORK = 1_000_000  # visits of one answer
DEEPEST = 64
PROBLEMS = 5  # that are told at once
SMALL = 500  # steps of a schema of which more than one is told
LONGEST_MESSAGE = 400  # characters
FIELD = "response_schema"

# What stands here is a value, and no schema.
_VALUES = frozenset({"const", "default", "enum", "examples"})
# Here stand schemas by names of their own.
_NAMED = frozenset({"dependencies", "dependentSchemas", "patternProperties", "properties"})
# Here stand those that are asked for only where something refers to them.
_KEPT_READY = frozenset({"$defs", "definitions"})
# With these a reference leads elsewhere than it says.
_MOVING = frozenset({"$anchor", "$dynamicAnchor", "$dynamicRef", "$id", "$recursiveRef", "id"})
_ESCAPED, _MEANT = re.compile("~[01]|%.."), {"~0": "~", "~1": "/"}
_FENCED = re.compile(r"^\s*```\w*\s*\n(.*?)\n?\s*```\s*$", re.DOTALL)


class Shape(Struct, frozen=True):
    """A schema that was understood; how deep an answer may nest for it, how many errors are told.

    Each error holds a copy of what it is about, so a large schema tells of the first alone.
    """

    schema: Mapping[str, Any]
    validator: Any  # of jsonschema_rs
    deepest: int
    told: int

    def problem(self, value: object) -> str | None:
        """Return in words why a value is not of this shape; None where it is."""
        if _depth(value) > self.deepest:
            return f"It nests deeper than {self.deepest} levels."
        if self.validator.is_valid(value):
            return None
        if self.told > 1:
            return "\n".join(map(_said, islice(self.validator.iter_errors(value), self.told)))
        try:
            self.validator.validate(value)
        except jsonschema_rs.ValidationError as error:
            return _said(error)
        return None


def _said(error: jsonschema_rs.ValidationError) -> str:
    place = "".join(f"[{step!r}]" for step in error.instance_path)
    message = error.message
    if len(message) > LONGEST_MESSAGE:
        message = f"{message[: LONGEST_MESSAGE // 2]} … {message[-LONGEST_MESSAGE // 2 :]}"
    return f"{place or 'The value'}: {message}"


class Read(Struct, frozen=True):
    """What a model's text is: a value, or why it is none."""

    value: Any = None
    problem: str | None = None


def _as_it_is(value: object) -> object:
    return value


class Expected(Struct, frozen=True):
    """What an answer has to be; `build` makes an object of it or raises ValueError."""

    shape: Shape
    build: Callable[[Any], Any] = _as_it_is

    def read(self, text: str) -> Read:
        """Return what a model wrote, as it was asked for."""
        try:
            value = read_json(text)
        except ValueError as error:
            return Read(problem=f"It is no JSON: {error}.")
        problem = self.shape.problem(value)
        if problem is not None:
            return Read(problem=problem)
        try:
            return Read(self.build(value))
        except ValueError as error:
            return Read(problem=str(error))


def shape_of(schema: object) -> Shape:
    """Return a caller's schema compiled. Raises InvalidRequestError naming the field."""
    if not isinstance(schema, dict):
        raise InvalidRequestError(f"'{FIELD}' must be a JSON Schema, an object.", param=FIELD)
    unfolding = _Unfolding(schema)
    unfolding.walk(schema)
    try:
        validator = jsonschema_rs.validator_for(
            schema, retriever=_refuse, pattern_options=jsonschema_rs.RegexOptions()
        )
    except (ValueError, jsonschema_rs.ReferencingError) as error:
        said = str(error).partition("\n")[0]
        raise InvalidRequestError(f"'{FIELD}' is no JSON Schema: {said}.", param=FIELD) from None
    told = PROBLEMS if unfolding.steps <= SMALL else 1
    return Shape(schema, validator, unfolding.deepest, told)


def read_json(text: str) -> object:
    """Return the JSON value that a model wrote, also in a fence or after a sentence.

    Raises ValueError.
    """
    fenced = _FENCED.match(text)
    inside = (fenced.group(1) if fenced else text).strip()
    try:
        return json.loads(inside)
    except ValueError:
        begins = [place for mark in "{[" if (place := inside.find(mark)) >= 0]
        if not begins:
            raise
        value: object = json.JSONDecoder().raw_decode(inside, min(begins))[0]
        return value


def _refuse(uri: str) -> Any:  # noqa: ANN401 - as the library declares it
    raise ValueError(f"{uri} is not fetched")


class _Unfolding:
    """One walk through a schema with its references put in."""

    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root
        self.steps = 0
        self.returns = 0  # to where the walk came from: how often a level asks for itself

    def walk(self, node: object, path: tuple[int, ...] = ()) -> None:
        self.steps += 1
        if self.steps > MOST_STEPS or len(path) > DEEPEST:
            raise InvalidRequestError(
                f"'{FIELD}' is too large once its references are put in.", param=FIELD
            )
        if not isinstance(node, dict):
            for inner in node if isinstance(node, list) else ():
                self.walk(inner, path)
            return
        if id(node) in path:
            self.returns += 1
            return
        here = (*path, id(node))
        for inner in self._below(node):
            self.walk(inner, here)

    @property
    def deepest(self) -> int:
        """How deep an answer may nest so that judging it ends soon."""
        if self.returns < 2:  # noqa: PLR2004 - then the work grows with the answer alone
            return DEEPEST
        return max(2, min(DEEPEST, int(math.log(MOST_WORK, self.returns))))

    def _below(self, node: dict[str, Any]) -> Iterator[object]:
        for name, inner in node.items():
            if name in _MOVING and isinstance(inner, str):
                raise InvalidRequestError(f"'{name}' is not supported in '{FIELD}'.", param=FIELD)
            if name == "$ref":
                yield self._target(inner)
            elif name in _NAMED and isinstance(inner, dict):
                yield from inner.values()
            elif name not in _VALUES | _KEPT_READY and isinstance(inner, dict | list):
                yield inner

    def _target(self, reference: object) -> object:
        """Return what a pointer into the schema leads to."""
        text = reference if isinstance(reference, str) else ""
        if text != "#" and not text.startswith("#/"):
            raise InvalidRequestError(
                f"'{FIELD}' refers to {str(reference)[:100]!r}: only pointers into itself are"
                " followed.",
                param=FIELD,
            )
        found: Any = self._root
        try:
            for step in text.split("/")[1:]:
                name = _ESCAPED.sub(lambda mark: _MEANT[mark[0]], step)
                found = found[int(name)] if isinstance(found, list) else found[name]
        except (KeyError, IndexError, TypeError, ValueError):
            raise InvalidRequestError(
                f"'{FIELD}' refers to {text[:100]!r}, which is not there.", param=FIELD
            ) from None
        return found


def _depth(value: object) -> int:
    level, depth = [value], 0
    while level:
        depth += 1
        level = [
            inner
            for one in level
            if isinstance(one, dict | list)
            for inner in (one.values() if isinstance(one, dict) else one)
        ]
    return depth
