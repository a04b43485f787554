"""Compare what a provider states with our ledger, and name the likely cause of what differs."""

import re
from collections.abc import Callable

from msgspec import Struct

TOLERANCE = 0.005

_DATE = re.compile(r"-(\d{8}|\d{4}-\d{2}-\d{2})$")
_NO_WORD = re.compile(r"[^a-z0-9]+")


class Ours(Struct, kw_only=True):
    """Our ledger of one model on one UTC day; `estimated` of its tokens we had to count."""

    requests: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    cost_nano: int = 0
    estimated: int = 0
    keys: int = 0

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens


class Theirs(Struct, kw_only=True):
    """What the provider states of it; None is what no file has told."""

    requests: int | None = None
    input_tokens: int | None = None
    cached_tokens: int | None = None
    output_tokens: int | None = None
    cost_nano: int | None = None
    keys: frozenset[str] = frozenset()

    @property
    def tokens(self) -> int | None:
        if self.input_tokens is None or self.output_tokens is None:
            return None
        return self.input_tokens + self.output_tokens


class Cause(Struct, frozen=True):
    """A likely cause: a name, and a sentence for who reads the page."""

    name: str
    text: str


AGREES = Cause("agrees", "Both say the same.")
OTHER_KEY = Cause(
    "other_key", "More keys than ours were billed: another program uses this account."
)
MISSING_HERE = Cause(
    "missing_here", "They count requests that our ledger does not have: look for another caller."
)
MISSING_THERE = Cause(
    "missing_there", "We have what they do not list: the day may be open, or a failure unbilled."
)
ESTIMATED = Cause(
    "estimated", "The difference is no more than what we counted where no usage was reported."
)
CACHED = Cause("cached_tokens", "The same tokens, of which another share was read from a cache.")
PRICE = Cause("price", "The same tokens at another price: compare the price list.")
COUNTING = Cause("counting", "As many requests, other token counts: hidden or tool tokens.")


def undated(model: str) -> str:
    """Return a model's name as both sides may be compared by: no date, no spaces, no dots."""
    return _NO_WORD.sub("-", _DATE.sub("", model.lower().strip())).strip("-")


def drift(ours: int, theirs: int | None) -> float | None:
    """Return how much more, as a share of ours, they state; None where that is no number."""
    if theirs is None or (ours == 0 and theirs != 0):
        return None
    return 0.0 if ours == theirs else (theirs - ours) / ours


def cause(ours: Ours, theirs: Theirs) -> Cause:
    """Return the first cause that explains the difference."""
    return next(found for found, holds in RULES if holds(ours, theirs))


def _same(one: int, other: int | None) -> bool:
    return other is None or abs(one - other) <= TOLERANCE * max(abs(one), abs(other))


def _agrees(ours: Ours, theirs: Theirs) -> bool:
    if theirs.tokens is None and theirs.cost_nano is None:
        return False
    return _same(ours.tokens, theirs.tokens) and _same(ours.cost_nano, theirs.cost_nano)


def _not_ours(ours: Ours, theirs: Theirs) -> bool:
    more = (theirs.tokens or 0) > ours.tokens or (theirs.cost_nano or 0) > ours.cost_nano
    return more and not _same(ours.tokens, theirs.tokens) and len(theirs.keys) > max(ours.keys, 1)


def _unlisted(ours: Ours, theirs: Theirs) -> bool:
    if theirs.tokens is None:
        return not theirs.cost_nano
    return theirs.tokens < ours.tokens and not _same(ours.tokens, theirs.tokens)


def _counted_by_us(ours: Ours, theirs: Theirs) -> bool:
    if ours.estimated == 0:
        return False
    if theirs.tokens is None:
        return theirs.cost_nano is not None
    gap = abs(theirs.tokens - ours.tokens)
    return gap <= ours.estimated and not _same(ours.tokens, theirs.tokens)


def _unknown_here(ours: Ours, theirs: Theirs) -> bool:
    if ours.requests == 0:
        return True
    if theirs.tokens is None or _same(ours.tokens, theirs.tokens):
        return False
    return theirs.requests is None or not _same(ours.requests, theirs.requests)


def _counted_otherwise(ours: Ours, theirs: Theirs) -> bool:
    return not _same(ours.tokens, theirs.tokens)


def _cached_otherwise(ours: Ours, theirs: Theirs) -> bool:
    if theirs.cached_tokens is None:
        return False
    return abs(theirs.cached_tokens - ours.cached_tokens) > TOLERANCE * max(1, ours.input_tokens)


RULES: tuple[tuple[Cause, Callable[[Ours, Theirs], bool]], ...] = (
    (AGREES, _agrees),
    (OTHER_KEY, _not_ours),
    (ESTIMATED, _counted_by_us),
    (MISSING_THERE, _unlisted),
    (MISSING_HERE, _unknown_here),
    (COUNTING, _counted_otherwise),
    (CACHED, _cached_otherwise),
    (PRICE, lambda _ours, _theirs: True),
)
