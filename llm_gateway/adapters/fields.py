"""Read a caller's JSON object field by field; what nobody asked for is kept, never lost.

That a field is either carried or refused by name follows from this: `close` hands over the rest.
"""

from collections.abc import Iterator
from typing import Any, Self

from llm_gateway.errors import InvalidRequestError


class Fields:
    """One object and its place in the body; each field is taken once, null counts as absent."""

    __slots__ = ("_left", "_path")

    def __init__(self, value: object, path: str = "") -> None:
        self._path = path
        if not isinstance(value, dict):
            raise wrong(path, "an object")
        self._left = {key: item for key, item in value.items() if item is not None}

    def at(self, name: str) -> str:
        """Return the full path of a field."""
        return f"{self._path}.{name}" if self._path else name

    def take(self, name: str) -> Any:  # noqa: ANN401  JSON: the caller of this looks at its type
        return self._left.pop(name, None)

    def text(self, name: str) -> str | None:
        value = self.take(name)
        if value is not None and not isinstance(value, str):
            raise wrong(self.at(name), "a string")
        return value

    def required(self, name: str) -> str:
        value = self.text(name)
        if value is None:
            raise InvalidRequestError(f"'{self.at(name)}' is missing.", param=self.at(name))
        return value

    def flag(self, name: str) -> bool | None:
        value = self.take(name)
        if value is not None and not isinstance(value, bool):
            raise wrong(self.at(name), "true or false")
        return value

    def integer(self, name: str) -> int | None:
        value = self.take(name)
        if value is not None and type(value) is not int:
            raise wrong(self.at(name), "an integer")
        return value

    def number(self, name: str) -> float | None:
        value = self.take(name)
        if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
            return value
        raise wrong(self.at(name), "a number")

    def mapping(self, name: str) -> dict[str, Any] | None:
        value = self.take(name)
        if value is not None and not isinstance(value, dict):
            raise wrong(self.at(name), "an object")
        return value

    def inner(self, name: str) -> Self | None:
        """Return the object `name`, to be closed by who reads it."""
        value = self.take(name)
        return None if value is None else type(self)(value, self.at(name))

    def array(self, name: str) -> list[Any]:
        value = self.take(name)
        if value is not None and not isinstance(value, list):
            raise wrong(self.at(name), "a list")
        return value or []

    def objects(self, name: str) -> Iterator[Self]:
        """Yield each object of the list `name`, to be closed by who reads it."""
        for index, value in enumerate(self.array(name)):
            yield type(self)(value, f"{self.at(name)}[{index}]")

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a list of strings; one string counts as a list of it."""
        value = self.take(name)
        if isinstance(value, str):
            return (value,)
        if value is not None and not (
            isinstance(value, list) and all(isinstance(item, str) for item in value)
        ):
            raise wrong(self.at(name), "a string or a list of strings")
        return tuple(value or ())

    def drop(self, name: str, *defaults: object) -> None:
        """Pass over a field whose value says what would happen without it."""
        if any(_same(self._left.get(name), default) for default in defaults):
            del self._left[name]

    def close(self, extras: dict[str, Any]) -> None:
        """Hand over what was not taken, by its full path."""
        for name, value in self._left.items():
            extras[self.at(name)] = value


def other_names(body: dict[str, Any], **names: str) -> dict[str, str]:
    """Return of these fields the other name, where the caller used that one."""
    return {
        name: other
        for name, other in names.items()
        if body.get(name) is None and body.get(other) is not None
    }


def wrong(param: str, wanted: str) -> InvalidRequestError:
    """Return the error for a value of the wrong type."""
    return InvalidRequestError(f"'{param}' must be {wanted}.", param=param)


def _same(value: object, default: object) -> bool:
    return value == default and isinstance(value, bool) == isinstance(default, bool)
