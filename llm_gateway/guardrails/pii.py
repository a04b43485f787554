"""Find what identifies people: e-mail addresses, account and card numbers, phone numbers.

Numbers with check digits are told by these. As in `secrets`, no text takes longer than its length.
"""

import re
from collections.abc import Callable, Iterator, Sequence

from llm_gateway.guardrails.base import Found, run_before

EMAIL, IBAN, CARD = "[email]", "[iban]", "[card]"
SOCIAL, PHONE = "[social security number]", "[phone]"

_SEPARATOR = r"[ .\-/]"
_EMAIL = re.compile(r"(?<![\w.%+-])[\w.%+-]+@(?:[\w-]+\.)+[\w-]{2,}")
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b", re.IGNORECASE)
_DIGITS = re.compile(r"(?<!\d)(?<!\d\.)\d{4,19}(?:[ -]\d{1,19})*")
_SOCIAL = re.compile(r"(?<![\d-])\d{3}-\d{2}-\d{4}(?![\d-])")
_PHONE = re.compile(
    rf"""(?<![\w+.]) (?:
        \+\d (?:[ .\-/()]{{0,2}}\d){{7,14}}
      | \(\d{{2,5}}\) {_SEPARATOR}{{0,2}} \d (?:{_SEPARATOR}?\d){{4,10}}
      | 0\d (?:{_SEPARATOR}?\d){{7,11}}
      | (?:1[ .\-])? \d{{3}} [ .\-] \d{{3}} [ .\-] \d{{4}}
    ) (?![\d])""",
    re.VERBOSE,
)
_GROUP = re.compile(r"\d+")
_CARD_DIGITS = range(13, 20)
_MOST_GROUPS = 6  # that a card's number is written in
_IBAN_LENGTHS = range(15, 35)
# Of an address, whose parts can be long; and of the longest number, blanks and all.
_ADDRESSED, _LONGEST_ADDRESS = re.compile(r"[\w.%+@-]*"), 320
_LONGEST_NUMBER = 64


def _emails(text: str) -> Iterator[Found]:
    if "@" in text:
        yield from (Found(*one.span(), EMAIL) for one in _EMAIL.finditer(text))


def _ibans(text: str) -> Iterator[Found]:
    """Yield of each that looks like one the longest beginning whose check digits are right."""
    for one in _IBAN.finditer(text):
        said = one[0]
        for end in range(len(said), 0, -1):
            compact = said[:end].replace(" ", "")
            if said[end - 1] != " " and len(compact) in _IBAN_LENGTHS and _checks(compact):
                yield Found(one.start(), one.start() + end, IBAN)
                break


def _checks(iban: str) -> bool:
    moved = iban[4:] + iban[:4]
    return moved.isascii() and int("".join(str(int(one, 36)) for one in moved)) % 97 == 1


def _cards(text: str) -> Iterator[Found]:
    """Yield card numbers, which are whole groups of a run of groups of digits."""
    for run in _DIGITS.finditer(text):
        groups, first = list(_GROUP.finditer(text, run.start(), run.end())), 0
        while first < len(groups):
            last = _card_from(groups, first)
            if last is not None:
                yield Found(groups[first].start(), groups[last].end(), CARD)
                first = last
            first += 1


def _card_from(groups: list[re.Match[str]], first: int) -> int | None:
    """Return the last group of a card's number that begins with this one."""
    digits = ""
    for place in range(first, min(first + _MOST_GROUPS, len(groups))):
        digits += groups[place][0]
        if len(digits) in _CARD_DIGITS and _luhn(digits):
            return place
    return None


def _luhn(digits: str) -> bool:
    if digits[0] not in "23456":
        return False
    doubled = (sum(divmod(2 * int(one), 10)) for one in digits[-2::-2])
    return (sum(doubled) + sum(int(one) for one in digits[-1::-2])) % 10 == 0


def _socials(text: str) -> Iterator[Found]:
    return (Found(*one.span(), SOCIAL) for one in _SOCIAL.finditer(text))


def _phones(text: str) -> Iterator[Found]:
    return (Found(*one.span(), PHONE) for one in _PHONE.finditer(text))


# The order is that of what they are taken for where several would do.
_FINDERS: dict[str, Callable[[str], Iterator[Found]]] = {
    "email": _emails,
    "iban": _ibans,
    "card": _cards,
    "ssn": _socials,
    "phone": _phones,
}
ENTITIES = tuple(_FINDERS)


class Pii:
    """E-mail addresses, IBANs, cards, US social security and phone numbers, or some of these."""

    def __init__(self, entities: Sequence[str] = ()) -> None:
        self._finders = [_FINDERS[name] for name in ENTITIES if name in (entities or ENTITIES)]

    def find(self, text: str) -> Iterator[Found]:
        for finder in self._finders:
            found = list(finder(text))
            yield from found
            # The digits of a card may look like a telephone's too.
            text = _covered(text, found) if found else text

    def settled(self, text: str) -> int:
        address = run_before(text, _ADDRESSED, _LONGEST_ADDRESS)
        return max(0, min(address, len(text) - _LONGEST_NUMBER))


def _covered(text: str, found: Sequence[Found]) -> str:
    """Return a text as long as this one in which nothing is found at these places."""
    kept, at = [], 0
    for one in found:
        kept += [text[at : one.start], "\0" * (one.end - one.start)]
        at = one.end
    return "".join([*kept, text[at:]])
