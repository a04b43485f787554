"""Exchange single values inside JSON bytes; every other byte stays as it came.

Values are skipped by the C decoder, so the cost is by the number of keys, not by their size. A key
is found at the level asked for, never inside a string or a deeper object.
"""

import re
from collections.abc import Iterator

import msgspec

_KEY = re.compile(rb'[\s{,]*("((?:[^"\\]|\\.)*)")\s*:\s*')
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_key_text = msgspec.json.Decoder(str)


class Member(msgspec.Struct, frozen=True):
    """Where one member of an object stands: its key's quote, its value's first and last byte."""

    key: str
    start: int
    value: int
    end: int


def members(data: bytes) -> list[Member]:
    """Return the members of the object that `data` is.

    Raises ValueError for anything but an object, and for one with a key twice: which of two counts
    differs between parsers.
    """
    found = list(_walk(data))
    tail = data[found[-1].end :] if found else data.strip()[1:]
    if tail.strip() != b"}":
        raise ValueError("a key stands twice")
    return found


def substitute(data: bytes, path: tuple[str, ...], value: bytes) -> bytes:
    """Return `data` with the value at `path` exchanged; unchanged where the path leads nowhere."""
    for member in members(data):
        if member.key == path[0]:
            inner = data[member.value : member.end]
            new = value if len(path) == 1 else substitute(inner, path[1:], value)
            return data[: member.value] + new + data[member.end :]
    return data


def without(data: bytes, key: str) -> bytes:
    """Return `data` without its member `key` and one comma."""
    found = members(data)
    for number, member in enumerate(found):
        if member.key != key:
            continue
        if number:
            return data[: found[number - 1].end] + data[member.end :]
        after = found[1].start if len(found) > 1 else member.end
        return data[: member.start] + data[after:]
    return data


def _walk(data: bytes) -> Iterator[Member]:
    position = 0
    for key, raw in _members.decode(data).items():
        match = _KEY.match(data, position)
        if match is None or (match[2] != key.encode() and _key_text.decode(match[1]) != key):
            raise ValueError("a key stands twice")
        value = match.end()
        position = value + memoryview(raw).nbytes
        yield Member(key, match.start(1), value, position)
