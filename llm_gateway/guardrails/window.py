"""Look at one text as it comes: what no further piece can change goes on, the rest is held back.

A match is cut off nowhere: it is seen whole before any of it goes out.
"""

from collections.abc import Callable, Iterable, Sequence

from llm_gateway.errors import ContentBlockedError
from llm_gateway.guardrails.base import Found, Recogniser, without

# What stands before a place may decide what it is.
_BEFORE = 128
# A match longer than this is cut: no key or number is.
_LONGEST_HELD = 32_768


class Looker:
    """One guardrail of a tenant on one side, and how often it has found something there."""

    __slots__ = ("action", "kind", "matches", "name", "recogniser", "side")

    def __init__(
        self, name: str, kind: str, action: str, side: str, recogniser: Recogniser
    ) -> None:
        self.name, self.kind, self.action, self.side = name, kind, action, side
        self.recogniser = recogniser
        self.matches = 0

    def found(self, places: Sequence[Found]) -> Sequence[Found]:
        """Count places; return those that are to be rewritten. Raises ContentBlockedError."""
        self.matches += len(places)
        if places and self.action == "block":
            where = "request" if self.side == "request" else "answer"
            raise ContentBlockedError(
                f"The guardrail {self.name!r} does not let this {where} through.",
                detail={"guardrail": self.name, "on": self.side},
            )
        return places if self.action == "redact" else ()


def looked_at(text: str, lookers: Iterable[Looker]) -> str:
    """Return a whole text without what is redacted in it. Raises ContentBlockedError."""
    places: list[Found] = []
    for one in lookers:
        places += one.found(list(one.recogniser.find(text)))
    return without(text, places)


class Window:
    """One text in pieces."""

    def __init__(self, lookers: Sequence[Looker]) -> None:
        self._lookers = lookers
        self._before = self._held = ""
        self._worth = 0  # a look, from this length on: all of a long match is not seen each time
        self.changed = False

    def feed(self, piece: str) -> str:
        """Return what may go on. Raises ContentBlockedError."""
        self._held += piece
        if len(self._held) < self._worth:
            return ""
        said = self._go_on(self._settled)
        self._worth = len(self._held) + len(self._held) // 8 + 1
        return said

    def end(self) -> str:
        """Return what was held back: the text is over. Raises ContentBlockedError."""
        return self._go_on(len)

    def _settled(self, text: str) -> int:
        surely = min(one.recogniser.settled(text) for one in self._lookers)
        return max(surely, len(text) - _LONGEST_HELD)

    def _go_on(self, sure: Callable[[str], int]) -> str:
        text, first = self._before + self._held, len(self._before)
        until = sure(text)
        if until <= first:
            return ""
        found = [
            [one for one in each.recogniser.find(text) if one.end > first] for each in self._lookers
        ]
        for one in sorted((one for each in found for one in each), key=lambda place: -place.end):
            # One that goes on behind this place is not over; what is held for ever, is cut.
            if one.start < until < one.end and len(text) - one.start < _LONGEST_HELD:
                until = max(one.start, first)
        places: list[Found] = []
        for each, there in zip(self._lookers, found, strict=True):
            places += each.found([_from(one, first) for one in there if one.start < until])
        until = max([until, *(one.end for one in places)])
        said = without(text[:until], places)[first:]
        self.changed |= bool(places)
        self._before, self._held = text[:until][-_BEFORE:], text[until:]
        return said


def _from(one: Found, first: int) -> Found:
    return one if one.start >= first else Found(first, one.end, one.instead)
