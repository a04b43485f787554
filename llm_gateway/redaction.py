"""Take out of a text what is nobody else's business: secrets, addresses, numbers of people.

Every pattern begins only where a run of its characters does and repeats within bounds or over
characters that its next part cannot be, so that time grows with the length of a text alone.
"""

import re
from collections.abc import Callable

from tenants.masking import SHAPES

_SEPARATOR = r"[ .\-/]"
_PEM = re.compile(
    r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----(?:[^-]|-(?!----))*"
    r"(?:-----END [A-Z ]{0,40}PRIVATE KEY-----)?"
)
_TOKEN = re.compile(
    r"""(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"""  # a JWT
)
_NAMED = re.compile(
    r"""((?:api|access|secret|private)[_-]?key|passw(?:or)?d|passphrase|secret|token)
        (["']?[ ]{0,4}[:=][ ]{0,4}["']?) [^\s"',;]{6,}""",
    re.VERBOSE | re.IGNORECASE,
)
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

SECRET, EMAIL, IBAN = "[secret]", "[email]", "[iban]"
CARD, SOCIAL, PHONE = "[card]", "[social security number]", "[phone]"
_CARD_DIGITS = range(13, 20)
_MOST_GROUPS = 6  # that a card's number is written in
_IBAN_LENGTHS = range(15, 35)


def redact(text: str) -> str:
    """Return `text` with a word in brackets for each secret, address or number found in it.

    Keys, tokens, passwords that are named, e-mail addresses, IBANs and card numbers whose check
    digits are right, US social security numbers, phone numbers.
    """
    for needed, pattern, instead in _STEPS:
        if needed is None or needed in text:
            text = pattern.sub(instead, text)
    return text


def _iban(found: re.Match[str]) -> str:
    """Return the match without its IBAN: the longest beginning whose check digits are right."""
    text = found[0]
    for end in range(len(text), 0, -1):
        compact = text[:end].replace(" ", "")
        if text[end - 1] != " " and len(compact) in _IBAN_LENGTHS and _checks(compact):
            return IBAN + text[end:]
    return text


def _checks(iban: str) -> bool:
    moved = iban[4:] + iban[:4]
    return moved.isascii() and int("".join(str(int(one, 36)) for one in moved)) % 97 == 1


def _cards(found: re.Match[str]) -> str:
    """Return a run of groups of digits without the card numbers, which are whole groups of it."""
    text, groups = found[0], list(_GROUP.finditer(found[0]))
    kept, at, first = [], 0, 0
    while first < len(groups):
        last = _card_from(groups, first)
        if last is not None:
            kept += [text[at : groups[first].start()], CARD]
            at, first = groups[last].end(), last
        first += 1
    return "".join([*kept, text[at:]])


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


Instead = str | Callable[[re.Match[str]], str]

# A text without the second word needs no look: most hold no address and no key.
_STEPS: tuple[tuple[str | None, re.Pattern[str], Instead], ...] = (
    ("PRIVATE KEY", _PEM, SECRET),
    ("eyJ", _TOKEN, SECRET),
    (None, SHAPES, lambda found: (found["keep"] or found["url"] or found["query"] or "") + SECRET),
    (None, _NAMED, rf"\1\2{SECRET}"),
    ("@", _EMAIL, EMAIL),
    (None, _IBAN, _iban),
    (None, _DIGITS, _cards),
    (None, _SOCIAL, SOCIAL),
    (None, _PHONE, PHONE),
)
