"""Shorten one text without changing what it asks: space, repetition, then what says least.

Fenced code is never touched. A paragraph is what stands between empty lines.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable

_FENCE = re.compile(r"(^```.*?^```[^\n]*$)", re.MULTILINE | re.DOTALL)
_INNER_SPACE = re.compile(r"(?<=\S)[ \t]{2,}")
_BLANK = re.compile(r"\n{3,}")
_WORD = re.compile(r"\w+")
# What instructs or asks is kept however often its words were seen.
_INSTRUCTS = re.compile(
    r"\?|\b(must|never|always|only|should|answer|return|respond|write|do not|don't|please)\b",
    re.IGNORECASE,
)
LEAST_REPEATED = 24  # characters: shorter lines repeat by chance


def squeezed(text: str) -> str:
    """Return a text without space at the ends of lines, double spaces and rows of empty lines."""
    return "".join(part if fenced else _squeezed(part) for part, fenced in _parts(text)).strip("\n")


def without_repeats(text: str, known: set[str]) -> str:
    """Return a text without paragraphs and sentences that are known; what it says is known then."""
    kept = []
    for part, fenced in _parts(text):
        kept.append(part if fenced else _without_repeats(part, known))
    return re.sub(r"\n{3,}", "\n\n", "".join(kept)).strip("\n")


def shortened(text: str, excess: int, size: Callable[[str], int]) -> str:
    """Return a text without the paragraphs that add least, until they sum to `excess` in size.

    The first and the last paragraph stay, and whatever instructs or asks.
    """
    paragraphs = text.split("\n\n")
    novelty = _novelty(paragraphs)
    gone: set[int] = set()
    for place in sorted(_may_go(paragraphs), key=novelty.__getitem__):
        if excess <= 0:
            break
        excess -= size(paragraphs[place])
        gone.add(place)
    return "\n\n".join(one for place, one in enumerate(paragraphs) if place not in gone)


def _parts(text: str) -> Iterable[tuple[str, bool]]:
    """Yield pieces of a text, each with whether it is fenced code."""
    for number, part in enumerate(_FENCE.split(text)):
        yield part, bool(number % 2)


def _squeezed(text: str) -> str:
    lines = (_INNER_SPACE.sub(" ", line.rstrip()) for line in text.split("\n"))
    return _BLANK.sub("\n\n", "\n".join(lines))


def _without_repeats(text: str, known: set[str]) -> str:
    return "\n\n".join(
        "\n".join(_new_lines(paragraph, known))
        for paragraph in text.split("\n\n")
        if _is_new(paragraph, known)
    )


def _new_lines(paragraph: str, known: set[str]) -> Iterable[str]:
    lines = paragraph.split("\n")
    if len(lines) == 1:  # a paragraph of one line was judged as a whole
        return lines
    return [line for line in lines if _is_new(line, known)]


def _is_new(said: str, known: set[str]) -> bool:
    """Say whether something was not said before, however it was spaced or capitalised."""
    name = " ".join(said.lower().split())
    if len(name) < LEAST_REPEATED:
        return True
    if name in known:
        return False
    known.add(name)
    return True


def _may_go(paragraphs: list[str]) -> list[int]:
    return [
        place
        for place in range(1, len(paragraphs) - 1)
        if not _INSTRUCTS.search(paragraphs[place]) and "```" not in paragraphs[place]
    ]


def _novelty(paragraphs: list[str]) -> list[float]:
    """Return for each paragraph the share of its words that no other has."""
    said = [set(_WORD.findall(paragraph.lower())) for paragraph in paragraphs]
    times = Counter(word for words in said for word in words)
    return [sum(times[word] == 1 for word in words) / max(1, len(words)) for words in said]
