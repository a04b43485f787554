"""Parse a caller's JSON once, strictly: what is authorised is what is sent on.

Duplicate keys, NaN, infinities, invalid UTF-8 and monstrous shapes are refused (security.md §6).
"""

import math
import re
from typing import Any

import jiter

from llm_gateway.errors import InvalidRequestError

MAX_DEPTH, MAX_KEYS, MAX_VALUES, MAX_DIGITS = 64, 10_000, 1_000_000, 40

# Cheap signs that a body may break a bound which costs a walk to check.
_ODD_NUMBER = re.compile(rb"\d[eE]\+?\d{2}|\d{41}")


def parse_body(body: bytes) -> dict[str, Any]:
    """Return the object a body holds. Raises InvalidRequestError."""
    if not body:
        raise InvalidRequestError("The body is empty; send a JSON object.")
    try:
        value = jiter.from_json(body, catch_duplicate_keys=True, allow_inf_nan=False)
    except ValueError as error:
        raise InvalidRequestError(f"The body is not valid JSON: {error}.") from None
    if not isinstance(value, dict):
        raise InvalidRequestError("The body has to be a JSON object.")
    if _may_break_a_bound(body):
        _check(value)
    return value


def _may_break_a_bound(body: bytes) -> bool:
    nested = body.count(b"[") + body.count(b"{")
    return nested > MAX_DEPTH or body.count(b":") > MAX_KEYS or bool(_ODD_NUMBER.search(body))


def _check(root: object) -> None:
    """Walk without recursion: depth, keys, values and numbers stay within their bounds."""
    level, depth, values = [root], 0, 0
    while level:
        depth += 1
        values += len(level)
        if depth > MAX_DEPTH:
            raise InvalidRequestError(f"The body is nested deeper than {MAX_DEPTH} levels.")
        if values > MAX_VALUES:
            raise InvalidRequestError(f"The body holds more than {MAX_VALUES} values.")
        level = [child for value in level for child in _children(value)]


def _children(value: object) -> list[object]:
    if isinstance(value, dict):
        if len(value) > MAX_KEYS:
            raise InvalidRequestError(f"An object of the body has more than {MAX_KEYS} keys.")
        return list(value.values())
    if isinstance(value, list):
        return value
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidRequestError("A number of the body is too large.")
    if isinstance(value, int) and abs(value) >= 10**MAX_DIGITS:
        raise InvalidRequestError(f"A number of the body has more than {MAX_DIGITS} digits.")
    return []
