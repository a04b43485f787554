"""Parse a caller's JSON once, strictly: what is authorised is what is sent on.

Duplicate keys, NaN, infinities, invalid UTF-8 and monstrous shapes are refused (security.md §6).
"""

import math
from collections.abc import Iterator
from itertools import repeat
from typing import Any

import jiter
import msgspec

from llm_gateway.errors import InvalidRequestError
from llm_gateway.service.inbound import Inbound
from llm_gateway.types import Call

MAX_DEPTH, MAX_KEYS, MAX_VALUES, MAX_DIGITS = 64, 10_000, 1_000_000, 40

# A list or an object, and the field of the body that it is in.
Placed = tuple[str, dict[str, Any] | list[Any]]

# Each is an object of its own once it is parsed, of a hundred bytes and more; keys are texts too.
MAX_CONTAINERS, MAX_TEXTS = 100_000, 200_000
# Cheap signs that a body may break a bound which costs a walk to check: digits are all alike.
_ALIKE = bytes.maketrans(b"123456789E", b"000000000e")
_LONG_NUMBER, _EXPONENTS = b"0" * (MAX_DIGITS + 1), (b"0e00", b"0e+00")


def call_of(inbound: Inbound) -> Call:
    """Return what a request asks, in the words of its door. Raises InvalidRequestError."""
    body = inbound.body
    if isinstance(body, bytes):
        parsed, size = parse_body(body), len(body)
    else:
        parsed, size = body, len(msgspec.json.encode(body))
    call: Call = inbound.door.parse_call(parsed, size=size, **inbound.named)
    return call


def parse_body(body: bytes) -> dict[str, Any]:
    """Return the object a body holds. Raises InvalidRequestError."""
    if not body:
        raise InvalidRequestError("The body is empty; send a JSON object.")
    nested = body.count(b"[") + body.count(b"{")
    quotes, commas = body.count(b'"'), body.count(b",")
    if nested > MAX_CONTAINERS or quotes > 2 * MAX_TEXTS or commas >= MAX_VALUES:
        _check_before(body)
    try:
        value = jiter.from_json(body, catch_duplicate_keys=True, allow_inf_nan=False)
    except ValueError as error:
        raise InvalidRequestError(f"The body is not valid JSON: {error}.") from None
    if not isinstance(value, dict):
        raise InvalidRequestError("The body has to be a JSON object.")
    if nested > MAX_DEPTH or body.count(b":") > MAX_KEYS or _has_odd_number(body):
        _check(value)
    return value


def _check_before(body: bytes) -> None:
    """Count what stands outside of strings, before memory is taken for it."""
    # Without the escaped ones every second quote ends a text.
    plain = body.replace(rb"\\", b"").replace(rb"\"", b"")
    if plain.count(b'"') > 2 * MAX_TEXTS:
        raise InvalidRequestError(f"The body holds more than {MAX_TEXTS} texts and keys.")
    bare = b"".join(plain.split(b'"')[::2])
    if bare.count(b",") >= MAX_VALUES:
        raise InvalidRequestError(f"The body holds more than {MAX_VALUES} values.")
    if bare.count(b"[") + bare.count(b"{") > MAX_CONTAINERS:
        raise InvalidRequestError(f"The body holds more than {MAX_CONTAINERS} lists and objects.")


def _has_odd_number(body: bytes) -> bool:
    alike = body.translate(_ALIKE)
    return _LONG_NUMBER in alike or any(sign in alike for sign in _EXPONENTS)


def _check(root: dict[str, Any]) -> None:
    """Walk without recursion: depth, keys, values and numbers stay within their bounds."""
    level: list[Placed] = [("", root)]
    depth, values = 0, 1
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise InvalidRequestError(f"The body is nested deeper than {MAX_DEPTH} levels.")
        values += sum(len(value) for _, value in level)
        if values > MAX_VALUES:
            raise InvalidRequestError(f"The body holds more than {MAX_VALUES} values.")
        level = [child for field, value in level for child in _containers(field, value)]


def _containers(field: str, value: dict[str, Any] | list[Any]) -> Iterator[Placed]:
    """Yield the lists and objects in a value. Raises InvalidRequestError for an odd number."""
    if len(value) > MAX_KEYS and isinstance(value, dict):
        raise InvalidRequestError(f"An object of the body has more than {MAX_KEYS} keys.")
    members = value.items() if isinstance(value, dict) else zip(repeat(field), value)
    for name, child in members:
        if isinstance(child, dict | list):
            yield field or name, child
        elif isinstance(child, float):
            _check_finite(field or name, child)
        elif isinstance(child, int):
            _check_digits(field or name, child)


def _check_finite(field: str, value: float) -> None:
    if not math.isfinite(value):
        raise InvalidRequestError(f"A number in '{field[:80]}' is too large.", param=field)


def _check_digits(field: str, value: int) -> None:
    if abs(value) >= 10**MAX_DIGITS:
        raise InvalidRequestError(
            f"A number in '{field[:80]}' has more than {MAX_DIGITS} digits.", param=field
        )
