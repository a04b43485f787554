"""A text in pieces is looked at as if it came whole: nothing of a match is let out before it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.errors import ContentBlockedError
from llm_gateway.guardrails.guard import guard_of
from llm_gateway.guardrails.window import Looker, Window, looked_at
from tenants.types import GuardrailRule

RULES = (
    GuardrailRule(name="secrets", kind="secrets", action="redact"),
    GuardrailRule(name="pii", kind="pii", action="redact"),
    GuardrailRule(name="plans", kind="pattern", action="redact", patterns=(r"plan-\d{1,6}",)),
    GuardrailRule(name="names", kind="words", action="redact", words=("blue falcon",)),
)
SAID = [
    "The key is sk-proj-4f9Kd82mQ0aZ71xYbC3n, keep it.",
    "token eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIi" * 60 + ".dozjgNryP4J3jVmN then more words",
    "-----BEGIN RSA PRIVATE KEY-----\n" + "MIIEpAIB\n" * 50 + "-----END RSA PRIVATE KEY----- over",
    "Card 4111 1111 1111 1111, IBAN DE89 3704 0044 0532 0130 00, call +49 30 1234567 today.",
    "Write to jane.doe+work@mail.example.co.uk about plan-123456 and the Blue Falcon's nest.",
    "password: hunter2!x and https://bob:pa55word@db.test/x?key=abcdef",
    "Nothing to see here, move on: version 3.11.10 and 42 apples.",
]
SENSITIVE = ["sk-proj-4f9Kd82mQ0", "eyJzdWIieyJzdWIi", "MIIEpAIB", "4111 1111", "3704 0044"]
SENSITIVE += ["jane.doe", "123456", "Blue", "hunter2", "pa55word", "30 12345"]


def lookers(rules: tuple[GuardrailRule, ...] = RULES) -> list[Looker]:
    return guard_of(rules).lookers("answer")


def in_pieces(text: str, sizes: list[int]) -> list[str]:
    pieces, at = [], 0
    for size in sizes:
        pieces.append(text[at : at + size])
        at += size
    return [*pieces, text[at:]]


@given(st.permutations(SAID), st.lists(st.integers(1, 60), max_size=80))
def test_pieces_make_no_difference(said: list[str], sizes: list[int]) -> None:
    text = "\n\n".join(said)
    window = Window(lookers())
    told = [*(window.feed(piece) for piece in in_pieces(text, sizes)), window.end()]
    assert "".join(told) == looked_at(text, lookers())
    assert not [one for one in SENSITIVE if one in "".join(told)]


def test_what_is_let_out_at_any_time_holds_no_half_of_a_match() -> None:
    text = " ".join(SAID)
    window, out = Window(lookers()), ""
    for sign in text:
        out += window.feed(sign)
        assert not [one for one in SENSITIVE if one[:6] in out and "[" not in one]


def test_plain_text_goes_on_while_it_comes() -> None:
    window = Window(lookers())
    words = "Nothing to see here, move on. " * 40
    out = "".join(window.feed(piece) for piece in in_pieces(words, [4] * 300))
    assert len(words) - 300 < len(out) < len(words)


def test_a_block_is_said_before_any_of_the_match_is_out() -> None:
    rules = (GuardrailRule(name="cards", kind="pii", action="block", entities=("card",)),)
    there = lookers(rules)
    window, out = Window(there), ""
    text = "Mail me@x.test. " * 20 + "Card 4111 1111 1111 1111"
    for sign in text:
        out += window.feed(sign)
    with pytest.raises(ContentBlockedError, match="'cards'") as refused:
        window.feed(" is mine. " + "And so on. " * 40)
    assert "4111" not in out
    assert out.startswith("Mail me@x.test. ")
    assert "4111" not in str(refused.value)
    assert there[0].matches == 1


def test_a_flag_counts_and_changes_nothing() -> None:
    rules = (GuardrailRule(name="n", kind="secrets", action="flag"),)
    there = lookers(rules)
    text = SAID[0] + SAID[5]
    assert looked_at(text, there) == text
    assert there[0].matches == 4


def test_numbers_that_stay_open_for_ever_are_held_to_a_bound() -> None:
    window = Window(lookers())
    text = "password=" + "x" * 200_000
    out = "".join(window.feed(text[at : at + 500]) for at in range(0, len(text), 500))
    assert "password=[secret]" in out + window.end()
