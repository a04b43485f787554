"""Find keys, tokens and passwords: by their own shape, or by what they are called.

Every pattern begins only where a run of its characters does and repeats within bounds or over
characters that its next part cannot be, so that time grows with the length of a text alone.
"""

import re
from collections.abc import Iterator

from llm_gateway.guardrails.base import Found, run_before
from tenants.masking import SHAPES

SECRET = "[secret]"  # noqa: S105 - what stands instead of one

_PEM = re.compile(
    r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----(?:[^-]|-(?!----))*"
    r"(?:-----END [A-Z ]{0,40}PRIVATE KEY-----)?"
)
_TOKEN = re.compile(
    r"""(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"""  # a JWT
)
_CALLED = r"(?:(?:api|access|secret|private)[_-]?key|passw(?:or)?d|passphrase|secret|token)"
_NAMED = re.compile(
    rf"""({_CALLED}["']?[ ]{{0,4}}[:=][ ]{{0,4}}["']?) [^\s"',;]{{6,}}""",
    re.VERBOSE | re.IGNORECASE,
)
_NAME = re.compile(rf"{_CALLED}\Z", re.IGNORECASE)
# A key of many lines goes on after a blank; what a name or a first line is made of is shorter.
_PRINTED = re.compile(r"[!-~]*")
_LONGEST_RUN, _BLANKS_WITHIN = 4096, 80


class Secrets:
    """Keys, tokens, passwords that are named, private keys."""

    def find(self, text: str) -> Iterator[Found]:
        # A text without the word needs no look: most hold no key.
        if "PRIVATE KEY" in text:
            yield from (_place(one) for one in _PEM.finditer(text))
        if "eyJ" in text:
            yield from (_place(one) for one in _TOKEN.finditer(text))
        for one in SHAPES.finditer(text):
            yield _place(one, one["keep"] or one["url"] or one["query"] or "")
        yield from (_place(one, one[1]) for one in _NAMED.finditer(text))

    def settled(self, text: str) -> int:
        return max(0, run_before(text, _PRINTED, _LONGEST_RUN) - _BLANKS_WITHIN)


def names_secret(name: str) -> bool:
    """Say whether what is called so is a secret: `api_key`, `db_password`."""
    return _NAME.search(name) is not None


def _place(one: re.Match[str], kept: str = "") -> Found:
    return Found(one.start() + len(kept), one.end(), SECRET)
