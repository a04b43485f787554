"""What has to go is found wherever it stands, what only looks alike stays, and no text is slow."""

import string
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.guardrails.pii import CARD, EMAIL, IBAN, PHONE, SOCIAL
from llm_gateway.guardrails.redaction import redact
from llm_gateway.guardrails.secrets import SECRET

FOUND = [
    ("sk-proj-4f9Kd82mQ0aZ71xYbC3n", SECRET),
    ("sk-ant-api03-4f9Kd82mQ0aZ71xYbC3n", SECRET),
    ("mob_4f9Kd82mQ0aZ71xYbC3nQ0aZ71xYbC3n", SECRET),
    ("AKIAIOSFODNN7EXAMPLE", SECRET),
    ("ghp_4f9Kd82mQ0aZ71xYbC3n4f9Kd82mQ0aZ71xY", SECRET),
    ("xoxb-1234567890-abcdefghij", SECRET),
    ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmN", SECRET),
    ("-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIB\nAAKCAQEA\n-----END RSA PRIVATE KEY-----", SECRET),
    ("-----BEGIN PRIVATE KEY-----\nMIIEpAIBAAKCAQEA and no end", SECRET),
    ("Bearer 4f9Kd82mQ0aZ71xY", f"Bearer {SECRET}"),
    ("password: hunter2!", f"password: {SECRET}"),
    ('"client_secret": "4f9Kd82mQ0"', f'"client_secret": "{SECRET}"'),
    ("API_KEY=4f9Kd82mQ0", f"API_KEY={SECRET}"),
    ("https://bob:pa55word@db.test/x", f"https://bob:{SECRET}@db.test/x"),
    ("jane.doe+work@mail.example.co.uk", EMAIL),
    ("jürgen@müller.example", EMAIL),
    ("4111 1111 1111 1111", CARD),
    ("4111-1111-1111-1111", CARD),
    ("378282246310005", CARD),
    ("3782 822463 10005", CARD),
    ("DE89 3704 0044 0532 0130 00", IBAN),
    ("gb82west12345698765432", IBAN),
    ("123-45-6789", SOCIAL),
    ("+49 30 1234567", PHONE),
    ("+14155552671", PHONE),
    ("(415) 555-2671", PHONE),
    ("415-555-2671", PHONE),
    ("030/1234567", PHONE),
]
LEFT = [
    "4111 1111 1111 1112",  # its check digit is wrong
    "GB83 WEST 1234 5698 7654 32",
    "2026-11-22 at 01:16:35, 1763773000 seconds",
    "version 3.11.10, 192.168.100.200, 3.14159265358979, 0.4539148803436467",
    "The token was spent; a secret is safe. Basic things @ home.",
    "42 apples for 1,234,567.89 dollars",
    "me@localhost",
]


@pytest.mark.parametrize(("text", "instead"), FOUND, ids=[text[:24] for text, _ in FOUND])
def test_what_has_to_go_is_found_anywhere_in_a_text(text: str, instead: str) -> None:
    for before, after in (("", ""), ("see ", " now"), ("(", ")"), ("\n", "\n"), ("ends: ", ".")):
        # What may hold any sign goes with a sign that touches it.
        assert redact(before + text + after) in {before + instead + after, before + instead}


def test_several_in_one_text_all_go() -> None:
    text = " and ".join(text for text, _ in FOUND if "no end" not in text)
    told = redact(text)
    for secret, _ in FOUND:
        assert secret not in told
    assert redact("card 4111 1111 1111 1111 12/26 123") == f"card {CARD} 12/26 123"


@pytest.mark.parametrize("text", LEFT)
def test_what_only_looks_alike_stays(text: str) -> None:
    assert redact(text) == text


@given(st.text(), st.sampled_from(FOUND), st.text())
def test_no_neighbour_hides_a_secret_behind_a_blank(
    before: str, found: tuple[str, str], after: str
) -> None:
    text, _ = found
    assert text not in redact(f"{before} \n {text} \n {after}")


@given(st.text(string.ascii_letters + " ,;!?\n"))
def test_prose_without_numbers_and_signs_stays(text: str) -> None:
    told = redact(text)
    assert told == text or SECRET in told  # letters alone may still be a key's


EVIL = ["a", "a.", "a@", "@", "1", "1 ", "4111 ", "DE89 ", "aa11 bb22 ", "eyJaaaaaaaa-", "://a:"]
EVIL += ["-----BEGIN PRIVATE KEY-----", "-----BEGIN ", "token=", "token = ", "+1", "(12)", "?a-"]
EVIL += ["Bearer ", "a@b.", "a@b-", "0 ", "sk-a ", "é", "123-45-", "data:", "-"]
LONG, LONGER = 16_000, 64_000


def test_time_grows_with_the_length_of_a_text_alone() -> None:
    """Four times the text takes four times as long; a square would take sixteen times."""
    slow = {unit: growth for unit in EVIL if (growth := _growth(unit)) > 9}
    assert slow == {}


def _growth(unit: str) -> float:
    times = []
    for size in (LONG, LONGER):
        text = (unit * (size // len(unit) + 1))[:size]
        times.append(min(_seconds(text) for _ in range(2)))
    # Below a millisecond nothing is measured.
    return times[1] / max(times[0], 0.001)


def _seconds(text: str) -> float:
    began = time.process_time()
    redact(text)
    return time.process_time() - began
