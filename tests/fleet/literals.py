"""Sixty numbers nobody should send, as they stand in JSON, and what the honest of them mean."""

from typing import NamedTuple

MOST = 2**53  # tokens that are still a count


class Literal(NamedTuple):
    """`text` as it stands in JSON. `counts`: what a count of tokens that stands so is, if it is."""

    text: str
    counts: int | None = None
    json: bool = True  # whether a strict reader takes it for JSON at all


COUNTS = [Literal(str(n), n) for n in (0, 1, 7, 2**31, 2**32 + 1, MOST - 1, MOST)]
TOO_LARGE = [Literal(str(n)) for n in (MOST + 1, 2**63 - 1, 2**63, 2**64, 10**18, 10**30, 10**60)]
NEGATIVE = [Literal(text) for text in ("-1", "-7", "-2147483649", str(-(2**63)), str(-(10**30)))]
FRACTIONS = [
    Literal(text)
    for text in ("0.5", "-0.5", "1.0", "-0.0", "7.999999999", "1e3", "1E+2", "1e-400", "9.9e15")
]
BEYOND = [Literal(text) for text in ("1e400", "-1e400", "1e308")]
NO_JSON = [
    Literal(text, json=False)
    for text in ("NaN", "-NaN", "Infinity", "-Infinity", "nan", "inf", "0x10", "+5", "01", "1_000")
]
TEXTS = [
    Literal(f'"{text}"')
    for text in (
        "12",
        "0",
        "-5",
        "",
        " ",
        "1e3",
        "NaN",
        "Infinity",
        "0x10",
        "1,000",
        "١٢",
        "twelve",
    )
]
SHAPES = [Literal(text) for text in ("null", "true", "false", "[]", "[5]", "{}", '{"n": 5}')]

HOSTILE = [*COUNTS, *TOO_LARGE, *NEGATIVE, *FRACTIONS, *BEYOND, *NO_JSON, *TEXTS, *SHAPES]
assert len(HOSTILE) == 60, len(HOSTILE)
