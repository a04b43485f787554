"""Find what a tenant says by patterns or words of its own, in time that grows with a text alone.

RE2 has no pattern that takes for ever, but slow ones: how long is tried before one is taken.
A pattern is sure to be found where its match is at most `LONGEST` characters long.
"""

import re
import time
from collections.abc import Iterator, Sequence
from random import Random

import re2

from llm_gateway.guardrails.base import Found

LONGEST = 256
MOST_PATTERNS, LONGEST_PATTERN = 20, 500
MOST_WORDS, LONGEST_WORD = 500, 100
# What is looked at at once; where so much is found in it, all that follows in it goes too: each
# search may have to see it to its end.
_PIECE, _MOST_FOUND = 4096, 64
_MOST_INSTRUCTIONS = 4000
# For a text of 8 KiB that was made to be slow; 50 ms for 100 KB.
_TRIED, _SLOWEST_S, _MOST_LETTERS = 8192, 0.004, 6


class Patterns:
    """RE2 patterns; what one of them matches is replaced by the guardrail's name."""

    def __init__(self, name: str, patterns: Sequence[str]) -> None:
        self._instead = f"[{name}]"
        self._patterns = [_compiled(one) for one in patterns]

    def find(self, text: str) -> Iterator[Found]:
        text = text.encode(errors="replace").decode()  # half of a pair is no character for RE2
        for pattern in self._patterns:
            for start, end in _places(pattern, text):
                yield Found(start, end, self._instead)

    def settled(self, text: str) -> int:
        return max(0, len(text) - LONGEST)


class Words:
    """Words and phrases, in upper and lower case alike, that stand apart from others."""

    def __init__(self, name: str, words: Sequence[str]) -> None:
        self._instead = f"[{name}]"
        longest_first = sorted(words, key=len, reverse=True)
        self._pattern = _compiled("(?i)" + "|".join(map(re2.escape, longest_first)))
        self._reach = max(map(len, words), default=0) + 1

    def find(self, text: str) -> Iterator[Found]:
        text = text.encode(errors="replace").decode()
        for start, end in _places(self._pattern, text):
            if not (_joined(text, start) or _joined(text, end)):
                yield Found(start, end, self._instead)

    def settled(self, text: str) -> int:
        return max(0, len(text) - self._reach)


def check_patterns(patterns: Sequence[str]) -> None:
    """Raise ValueError saying what is wrong with the first pattern that cannot be taken."""
    if len(patterns) > MOST_PATTERNS:
        raise ValueError(f"at most {MOST_PATTERNS} patterns may be given")
    for one in patterns:
        if not 0 < len(one) <= LONGEST_PATTERN:
            raise ValueError(f"a pattern has 1 to {LONGEST_PATTERN} characters")
        try:
            compiled = _compiled(one)
        except re2.error as error:
            raise ValueError(f"{one!r} is no RE2 pattern: {_reason(error)}") from None
        if compiled.search("") is not None:
            raise ValueError(f"{one!r} matches nothing at all, and so is found everywhere")
        if compiled.programsize > _MOST_INSTRUCTIONS or _is_slow(one):
            raise ValueError(f"{one!r} takes too long on some texts: repeat less in it")


def check_words(words: Sequence[str]) -> None:
    """Raise ValueError saying what is wrong with the first word that cannot be taken."""
    if len(words) > MOST_WORDS:
        raise ValueError(f"at most {MOST_WORDS} words may be given")
    for one in words:
        if not 0 < len(one) <= LONGEST_WORD or one != one.strip():
            raise ValueError(f"a word has 1 to {LONGEST_WORD} characters and no blanks around it")


def _compiled(pattern: str) -> "re2._Regexp":
    options = re2.Options()
    options.never_capture = True
    options.log_errors = False
    return re2.compile(pattern, options)


def _reason(error: Exception) -> str:
    told = error.args[0] if error.args else ""
    return told.decode(errors="replace") if isinstance(told, bytes) else str(told)


def _places(pattern: "re2._Regexp", text: str) -> Iterator[tuple[int, int]]:
    """Yield where a pattern matches, piece by piece; a match may go over into the next piece."""
    at = 0
    while at < len(text):
        begin, until = max(0, at - LONGEST), at + _PIECE
        seen = text[begin : until + LONGEST]
        next_at = until
        for count, match in enumerate(pattern.finditer(seen, at - begin), 1):
            start, end = begin + match.start(), begin + match.end()
            if start >= until:
                break
            if count > _MOST_FOUND:
                yield start, min(until, len(text))
                break
            if end > start:
                yield start, end
                next_at = max(until, end)
        at = next_at


def _joined(text: str, at: int) -> bool:
    """Say whether two letters or digits meet at a place: a word goes on there."""
    return 0 < at < len(text) and text[at - 1].isalnum() and text[at].isalnum()


def _is_slow(pattern: str) -> bool:
    """Try it on texts of its own letters: of each alone, of all, of all but one."""
    compiled, rng = _compiled(pattern), Random(pattern)  # noqa: S311 - the same texts each time
    letters = [*dict.fromkeys(re.sub(r"\W|\d", "", pattern) + "ab")][:_MOST_LETTERS]
    mixes = [letters, *([one for one in letters if one != left] for left in letters)]
    # A text it has seen is fast: each is another one.
    return any(
        min(_took_s(compiled, "".join(rng.choices(mix, k=_TRIED))) for _ in range(3)) > _SLOWEST_S
        for mix in (*letters, *mixes)
    )


def _took_s(pattern: "re2._Regexp", text: str) -> float:
    began = time.thread_time()  # whatever else the machine does meanwhile
    for _ in _places(pattern, text):
        pass
    return time.thread_time() - began
