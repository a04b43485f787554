"""A tenant's own patterns find what they say, and none of them keeps others waiting."""

import time
from random import Random

import pytest

from llm_gateway.guardrails.patterns import Patterns, Words, check_patterns, check_words

SIZE, AT_MOST_S = 100_000, 0.05
# What takes other engines for ever, and what is slow in this one too.
EVIL = [
    r"(a+)+$",
    r"(a|a)*b",
    r"(a|aa)+$",
    r"(.*)*x",
    r"(a*)*b",
    r"a.*b|a",
    r"(x+x+)+y",
    r"([a-zA-Z]+)*$",
    r"(\w+\s?)*$",
    r".*.*.*.*.*=",
    r"(?i)(?:a|b|ab)*c",
    r"(a?){100}a{100}",
    r"(?:a{1,100}){1,9}b",
    r"a{0,1000}b",
    r".{1000}b",
    r"(?:.?){500}b",
    r"a[^b]{900}c",
    r"(?:a|b)*a(?:a|b){40}c",
    r"\w*a\w{100}!",
    r".",
]
TEXTS = ["a" * SIZE, "a" * (SIZE - 1) + "!", "ab" * (SIZE // 2), "word " * (SIZE // 5)]
TEXTS.append("".join(Random(1).choices("ab", k=SIZE)))


@pytest.mark.promise("S18")
@pytest.mark.timed
@pytest.mark.parametrize("evil", EVIL)
def test_an_evil_pattern_is_refused_or_fast(evil: str) -> None:
    try:
        check_patterns([evil])
    except ValueError:
        return
    finder = Patterns("evil", [evil])
    for text in TEXTS:
        assert min(took_s(finder, text) for _ in range(3)) <= AT_MOST_S


def took_s(finder: Patterns, text: str) -> float:
    began = time.perf_counter()
    for _ in finder.find(text):
        pass
    return time.perf_counter() - began


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("(", "RE2"),
        (r"(a)\1", "RE2"),
        ("(?=a)", "RE2"),
        ("", "1 to 500"),
        ("a" * 501, "1 to 500"),
        ("a*", "nothing at all"),
    ],
)
def test_what_cannot_be_a_pattern_is_said(pattern: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        check_patterns([pattern])


def test_too_many_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 20"):
        check_patterns(["a"] * 21)
    with pytest.raises(ValueError, match="at most 500"):
        check_words(["a"] * 501)
    with pytest.raises(ValueError, match="blanks"):
        check_words([" a"])


def found(finder: Patterns | Words, text: str) -> list[str]:
    return [text[one.start : one.end] for one in finder.find(text)]


def test_a_match_is_found_over_pieces_and_in_any_script() -> None:
    finder = Patterns("n", [r"K-\d{4}", r"(?i)straße \d+"])
    for before in (0, 4093, 4096, 8191):
        text = "ü" * before + "K-1234 Straße 17" + "é" * 5000
        assert found(finder, text) == ["K-1234", "Straße 17"]


def test_words_stand_apart_in_any_case() -> None:
    finder = Words("n", ["falcon", "blue falcon", "ärger"])
    text = "A Blue Falcon, falconry, FALCON. Ärger? Ärgerlich; blue  falcon"
    assert found(finder, text) == ["Blue Falcon", "FALCON", "Ärger", "falcon"]


def test_where_all_is_found_all_goes() -> None:
    places = list(Patterns("n", ["[a-z]"]).find("abc " * 3000))
    assert places[-1].end == 12_000
    assert len(places) < 500
