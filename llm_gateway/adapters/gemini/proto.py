"""Read JSON the way Google's servers do: names in either spelling, one object for a list of it.

Only objects with a place in the protocol are read so; what a caller's own schema, arguments and
results hold is never renamed.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Self

from typing_extensions import override

from llm_gateway.adapters.fields import Fields
from llm_gateway.errors import InvalidRequestError

_AFTER_UNDERSCORE = re.compile(r"_([a-z0-9])")


def camel(name: str) -> str:
    """Return a field's name as the protocol spells it: `top_p` is `topP`."""
    return _AFTER_UNDERSCORE.sub(lambda match: match[1].upper(), name)


def spelled(holder: Mapping[str, Any], name: str) -> str:
    """Return `name` as it is spelled in `holder`, in the protocol's own way where it is not there.

    Raises InvalidRequestError for a field that is there in both spellings: which counts differs.
    """
    found = [key for key in holder if key == name or ("_" in key and camel(key) == name)]
    if len(found) > 1:
        raise InvalidRequestError(f"'{name}' is given twice, as '{found[1]}' too.", param=name)
    return found[0] if found else name


def member(holder: object, name: str) -> Any:  # noqa: ANN401 - JSON: the caller looks at its type
    """Return a field of what may be an object, None where there is none."""
    return holder.get(spelled(holder, name)) if isinstance(holder, dict) else None


def items(value: object) -> list[Any]:
    """Return a list; a single object counts as a list of it."""
    if isinstance(value, dict):
        return [value]
    return value if isinstance(value, list) else []


class ProtoFields(Fields):
    """One object of the protocol; its fields are asked for, and named, in camel case."""

    __slots__ = ()

    def __init__(self, value: object, path: str = "") -> None:
        super().__init__(value, path)
        for name in [name for name in self._left if "_" in name]:
            if camel(name) in self._left:
                raise InvalidRequestError(
                    f"'{self.at(camel(name))}' is given twice, as '{name}' too.",
                    param=self.at(camel(name)),
                )
            self._left[camel(name)] = self._left.pop(name)

    @override
    def objects(self, name: str) -> Iterator[Self]:
        if isinstance(self._left.get(name), dict):
            self._left[name] = [self._left[name]]
        return super().objects(name)
