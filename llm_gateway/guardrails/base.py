"""What a guardrail is made of: it finds places in a text, and says up to where they are sure."""

import re
from collections.abc import Iterable
from typing import Protocol

from msgspec import Struct


class Found(Struct, frozen=True):
    """A place in a text, half-open; `instead` is what stands there once it is taken out."""

    start: int
    end: int
    instead: str


class Recogniser(Protocol):
    """Finds what one kind of guardrail looks for. Time grows with the length of a text alone."""

    def find(self, text: str) -> Iterable[Found]: ...
    def settled(self, text: str) -> int:
        """Return up to where nothing that follows the text can change what is found in it."""
        ...


def united(found: Iterable[Found]) -> list[Found]:
    """Return places in order, each that overlaps another one as one with it."""
    apart: list[Found] = []
    for one in sorted(found, key=lambda place: (place.start, -place.end)):
        if apart and one.start < apart[-1].end:
            last = apart.pop()
            apart.append(Found(last.start, max(last.end, one.end), last.instead))
        else:
            apart.append(one)
    return apart


def without(text: str, found: Iterable[Found]) -> str:
    """Return the text with what is to stand instead of each place."""
    kept, at = [], 0
    for one in united(found):
        kept += [text[at : one.start], one.instead]
        at = one.end
    return "".join([*kept, text[at:]]) if kept else text


def run_before(text: str, characters: re.Pattern[str], most: int) -> int:
    """Return where the run of such characters begins that the text ends with."""
    met = characters.match(text[: -most - 1 : -1])
    return len(text) - (met.end() if met else 0)
