"""Count what an answer used: reported tokens, an int from 0 to 2**53 and nothing else, or bytes."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

MAX_COUNT = 1 << 53
RAW_KEPT = 500  # characters of an invalid usage that are kept for the alarm


def count(value: object, default: int = 0) -> int:
    """Return a count, `default` for null. Raises ValueError for what is no count (money.md §3)."""
    if value is None:
        return default
    if type(value) is not int or not 0 <= value <= MAX_COUNT:
        raise ValueError("not a count of tokens")
    return value


def count_in(usage: Mapping[str, Any], details: str, name: str) -> int:
    """Return the count `name` inside the object `details`, 0 where either is missing."""
    inner = usage.get(details)
    return count(inner.get(name)) if isinstance(inner, dict) else 0


def shares(total: int, weights: Sequence[int]) -> list[int]:
    """Return `total` split by weights in whole numbers that sum to it: by largest remainder."""
    whole = sum(weights)
    if not whole:
        weights, whole = [1] * len(weights), len(weights)
    split = [total * weight // whole for weight in weights]
    by_rest = sorted(range(len(weights)), key=lambda i: -(total * weights[i] % whole))
    for index in by_rest[: total - sum(split)]:
        split[index] += 1
    return split


def text_bytes(value: object) -> int:
    """Return the bytes of all text inside a JSON value: an upper bound of its tokens."""
    if isinstance(value, str):
        return len(value) if value.isascii() else len(value.encode())
    if value is None:
        return 0
    return sum(len(text.encode()) for text in texts(value))


def texts(value: object) -> Iterator[str]:
    """Yield every text inside a JSON value but for ids and types."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, item in value.items():
            if name not in {"id", "type"}:
                yield from texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)


def text_or_none(value: object) -> str | None:
    return value if isinstance(value, str) else None
