"""Read plain data into typed values and back; every fault is found and named by its path.

A shape is a msgspec Struct whose leaves are `Annotated[type, Scalar(...)]`. Unknown fields are
errors, null is the same as leaving a field out, and what equals its default is not written.
"""

import difflib
from collections.abc import Callable, Iterable, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, TypeGuard, TypeVar, Union, get_args, get_origin

from msgspec import NODEFAULT, Struct, structs
from typing_extensions import override

Shape = TypeVar("Shape", bound=Struct)
_UNIONS = (Union, UnionType)  # `Annotated[...] | None` is the first, `Struct | None` the second


class Problem(Struct, frozen=True):
    """What is wrong, and where: `tenants[0].budgets[1].limit`."""

    path: str
    text: str

    @override
    def __str__(self) -> str:
        return f"{self.path}: {self.text}" if self.path else self.text


class ConfigurationError(Exception):
    """A configuration that cannot be used; nothing of it was."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


class Scalar(Struct, frozen=True):
    """How a value is read, raising ValueError with a sentence, and written again."""

    read: Callable[[object], object]
    write: Callable[[Any], object] = lambda value: value


def read(shape: type[Shape], data: object) -> Shape:
    """Return the data as a value of that shape. Raises ConfigurationError with all its faults."""
    problems: list[Problem] = []
    value = _struct(shape, data, "", problems)
    if problems:
        raise ConfigurationError(problems)
    assert isinstance(value, shape)  # noqa: S101 - there is no other way without a problem
    return value


def plain(value: Struct) -> dict[str, object]:
    """Return what `read` makes the same value of, in its shortest form."""
    return {
        field.encode_name: _plain(field.type, content)
        for field in structs.fields(value)
        if (content := getattr(value, field.name)) != _default(field)
    }


def below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def closest(word: str, known: Iterable[str]) -> str:
    """Return "; did you mean x?" for the nearest known word, or nothing."""
    known = sorted(known)
    near = difflib.get_close_matches(word, known, 1) or [
        one for one in known if word and one.startswith(word)
    ]
    return f"; did you mean {near[0]}?" if near else ""


def _default(field: structs.FieldInfo) -> object:
    if field.default_factory is not NODEFAULT:
        return field.default_factory()
    return field.default


def _read(shape: Any, data: object, path: str, problems: list[Problem]) -> object:  # noqa: ANN401 - any type expression
    if get_origin(shape) in _UNIONS:
        if data is None:
            return None
        shape = _of_union(shape)
    if get_origin(shape) is Annotated:
        return _scalar(get_args(shape)[1], data, path, problems)
    if get_origin(shape) is tuple:
        return _list(get_args(shape)[0], data, path, problems)
    if get_origin(shape) is dict:
        return _mapping(get_args(shape)[1], data, path, problems)
    return _struct(shape, data, path, problems)


def _of_union(shape: Any) -> Any:  # noqa: ANN401 - any type expression
    return next(arm for arm in get_args(shape) if arm is not NoneType)


def _scalar(scalar: Scalar, data: object, path: str, problems: list[Problem]) -> object:
    try:
        return scalar.read(data)
    except ValueError as error:
        problems.append(Problem(path, str(error)))
        return None


def _list(item: Any, data: object, path: str, problems: list[Problem]) -> object:  # noqa: ANN401 - any type expression
    if not isinstance(data, list):
        problems.append(Problem(path, "a list is expected"))
        return None
    return tuple(
        _read(item, content, f"{path}[{place}]", problems) for place, content in enumerate(data)
    )


def _mapping(item: Any, data: object, path: str, problems: list[Problem]) -> object:  # noqa: ANN401 - any type expression
    if not _is_object(data, path, problems):
        return None
    return {name: _read(item, data[name], below(path, name), problems) for name in data}


def _struct(shape: Any, data: object, path: str, problems: list[Problem]) -> object:  # noqa: ANN401 - any type expression
    if not _is_object(data, path, problems):
        return None
    fields = {field.encode_name: field for field in structs.fields(shape)}
    for name in data.keys() - fields.keys():
        hint = closest(name, fields)
        problems.append(Problem(below(path, name), f"unknown field{hint}"))
    before = len(problems)
    given = {
        field.name: _read(field.type, data[name], below(path, name), problems)
        for name, field in fields.items()
        if name in data and (data[name] is not None or field.required)
    }
    for name, field in fields.items():
        if field.required and name not in data:
            problems.append(Problem(below(path, name), "this field is missing"))
    return shape(**given) if len(problems) == before else None


def _is_object(data: object, path: str, problems: list[Problem]) -> TypeGuard[dict[str, object]]:
    if not isinstance(data, dict):
        problems.append(Problem(path, "fields are expected, as in `name: value`"))
        return False
    if wrong := next((name for name in data if not isinstance(name, str)), None):
        problems.append(Problem(path, f"the field name {wrong!r} is not text; put it in quotes"))
        return False
    return True


def _plain(shape: Any, value: Any) -> object:  # noqa: ANN401 - any type expression
    if value is None:
        return None
    if get_origin(shape) in _UNIONS:
        shape = _of_union(shape)
    if get_origin(shape) is Annotated:
        return get_args(shape)[1].write(value)
    if get_origin(shape) is tuple:
        return [_plain(get_args(shape)[0], content) for content in value]
    if get_origin(shape) is dict:
        items: Mapping[str, object] = value
        return {name: _plain(get_args(shape)[1], content) for name, content in items.items()}
    return plain(value)
