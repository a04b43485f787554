"""Shorten a conversation to a number of tokens: space first, then repetition, then old turns.

Instructions and the last turn stay as they are. A tool's call and its results go together or stay
together, so what is left is a conversation that a provider takes.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

from msgspec import Struct

from llm_gateway.prompts.condense import shortened, squeezed, without_repeats

Wire = dict[str, Any]
Counting = Callable[[Wire], int]
Kind = Literal["whitespace", "repetition", "content", "history"]

INSTRUCTIONS = frozenset({"system", "developer"})
# What a tool said is data: its spaces and its repetitions may mean something.
REWORDED = frozenset({"user", "assistant"})
EMPTY: Wire = {"role": "user", "content": ""}
EXCERPT = 80


class Removed(Struct, frozen=True, kw_only=True):
    """What went: of which message of the original, how many tokens, and how it began."""

    kind: Kind
    message: int
    role: str
    tokens: int
    excerpt: str = ""


class Optimised(Struct, frozen=True, kw_only=True):
    """A shorter conversation. `reached` says whether the target was: what must stay, stays."""

    messages: list[Wire]
    before: int
    after: int
    target: int
    removed: tuple[Removed, ...] = ()

    @property
    def reached(self) -> bool:
        return self.after <= self.target


class _Work:
    """The conversation on its way down; a place that is None has gone."""

    def __init__(self, messages: Sequence[Wire], target: int, count: Counting) -> None:
        self.count, self.target = count, target
        self.messages: list[Wire | None] = list(messages)
        self.sizes = [count(message) for message in messages]
        self.removed: list[Removed] = []

    @property
    def done(self) -> bool:
        return sum(self.sizes) <= self.target

    def size_of(self, text: str) -> int:
        return self.count({"role": "user", "content": text}) - self.count(EMPTY)

    def change(self, place: int, kind: Kind, change: Callable[[str], str]) -> None:
        """Have the texts of a message changed where that makes it shorter."""
        message = self.messages[place]
        if message is None:
            return
        changed = _with_texts(message, change)
        size = self.count(changed)
        if size < self.sizes[place]:
            self._note(place, kind, self.sizes[place] - size, message)
            self.messages[place], self.sizes[place] = changed, size

    def drop(self, place: int) -> None:
        message = self.messages[place]
        if message is not None:
            self._note(place, "history", self.sizes[place], message)
            self.messages[place], self.sizes[place] = None, 0

    def _note(self, place: int, kind: Kind, tokens: int, message: Wire) -> None:
        text = next(iter(_texts(message)), "")
        self.removed.append(
            Removed(
                kind=kind,
                message=place,
                role=str(message.get("role")),
                tokens=tokens,
                excerpt=" ".join(text.split())[:EXCERPT],
            )
        )


def optimise(messages: Sequence[Wire], target: int, count: Counting) -> Optimised:
    """Return a conversation of at most `target` tokens where that can be; `count` says how many."""
    work = _Work(messages, target, count)
    before, kept = sum(work.sizes), _kept(messages)
    loose = [
        place
        for place, message in enumerate(messages)
        if place not in kept and message.get("role") in REWORDED
    ]
    _squeeze(work, loose)
    _unrepeat(work, loose, kept)
    for turn in _turns(messages, kept):
        if work.done:
            break
        for place in turn:
            work.drop(place)
    return _result(work, before)


def optimise_text(text: str, target: int, count: Counting) -> Optimised:
    """Return one prompt of at most `target` tokens where that can be: its parts may go, too."""
    work = _Work([{"role": "user", "content": text}], target, count)
    before = sum(work.sizes)
    _squeeze(work, [0])
    _unrepeat(work, [0], set())
    size = 0
    while not work.done and work.sizes[0] != size:
        size = work.sizes[0]
        work.change(0, "content", lambda said: shortened(said, size - target, work.size_of))  # noqa: B023 - called at once
    return _result(work, before)


def trimmed(messages: Sequence[Wire], target: int, count: Counting) -> list[Wire]:
    """Return a conversation without its oldest turns, as many as are too many for `target`."""
    work = _Work(messages, target, count)
    for turn in _turns(messages, _kept(messages)):
        if work.done:
            break
        for place in turn:
            work.drop(place)
    return [message for message in work.messages if message is not None]


def _squeeze(work: _Work, places: Sequence[int]) -> None:
    for place in places:
        if not work.done:
            work.change(place, "whitespace", squeezed)


def _unrepeat(work: _Work, places: Sequence[int], kept: set[int]) -> None:
    """Leave out what is said again later, or in what stays anyway."""
    known: set[str] = set()
    for place in kept:
        message = work.messages[place]
        for text in _texts(message) if message else ():
            without_repeats(text, known)
    for place in reversed(places):
        if not work.done:
            work.change(place, "repetition", lambda text: without_repeats(text, known))


def _result(work: _Work, before: int) -> Optimised:
    return Optimised(
        messages=[message for message in work.messages if message is not None],
        before=before,
        after=sum(work.sizes),
        target=work.target,
        removed=tuple(work.removed),
    )


def _kept(messages: Sequence[Wire]) -> set[int]:
    """Return the places of instructions and of the last turn."""
    users = [place for place, message in enumerate(messages) if message.get("role") == "user"]
    last = users[-1] if users else 0
    instructions = {
        place for place, message in enumerate(messages) if message.get("role") in INSTRUCTIONS
    }
    return instructions | set(range(last, len(messages)))


def _turns(messages: Sequence[Wire], kept: set[int]) -> list[list[int]]:
    """Return the turns that may go, oldest first: what a user said and all that came of it."""
    turns: list[list[int]] = []
    for place, message in enumerate(messages):
        if place in kept:
            continue
        if not turns or message.get("role") == "user":
            turns.append([])
        turns[-1].append(place)
    return turns


def _texts(message: Wire) -> list[str]:
    content = message.get("content")
    if isinstance(content, str):
        return [content]
    parts = content if isinstance(content, list) else []
    return [part["text"] for part in parts if _is_text(part)]


def _with_texts(message: Wire, change: Callable[[str], str]) -> Wire:
    content = message.get("content")
    if isinstance(content, str):
        return {**message, "content": change(content) or content}
    if not isinstance(content, list):
        return message
    parts = [
        {**part, "text": change(part["text"]) or part["text"]} if _is_text(part) else part
        for part in content
    ]
    return {**message, "content": parts}


def _is_text(part: object) -> bool:
    return isinstance(part, dict) and isinstance(part.get("text"), str)
