"""Say what a request asks for, in words of neither dialect and without the adapters' help.

A request and what it became in the other dialect have to say the same. Items of a turn are tuples;
those of one turn stand in a fixed order of kinds, since one dialect knows no other.
"""

from collections.abc import Iterable, Sequence
from typing import Any

Body = dict[str, Any]
Item = tuple[Any, ...]
_RANK = {"result": 0, "thinking": 1, "redacted": 1, "text": 2, "image": 2, "file": 2, "call": 3}


def merged(turns: Iterable[tuple[str, list[Item]]]) -> list[tuple[str, list[Item]]]:
    """Return the turns with neighbours of one speaker put together and empty texts left out."""
    kept: list[tuple[str, list[Item]]] = []
    for speaker, items in turns:
        filled = [item for item in items if item != ("text", "")]
        if kept and kept[-1][0] == speaker:
            kept[-1][1].extend(filled)
        elif filled:
            kept.append((speaker, filled))
    return [(speaker, sorted(items, key=lambda item: _RANK[item[0]])) for speaker, items in kept]


def tool(name: str, description: str | None, schema: Body | None, strict: object) -> Item:
    bare = schema in (None, {}, {"type": "object", "properties": {}})
    return (name, description, {} if bare else {"type": "object", **(schema or {})}, bool(strict))


def inline(url: str) -> Sequence[str]:
    """Return media type and data of a data URL, else the URL alone."""
    if not url.startswith("data:"):
        return (url,)
    head, _, data = url.removeprefix("data:").partition(",")
    return (head.removesuffix(";base64"), data)


def only(body: Body, known: Iterable[str]) -> None:
    """Fail for a field that the table has no line for: it could be dropped and nobody saw."""
    assert set(body) <= set(known), set(body) - set(known)
