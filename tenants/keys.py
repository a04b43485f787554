"""Make api keys and the digests they are looked up by; the value itself is shown once, never kept.

`issue` and `rotate` change the row in memory only: whoever called them saves.
"""

import secrets
from datetime import datetime, timedelta

from django.db import connection
from django.db.models import Q

from tenants.install import install_secret
from tenants.models import ApiKey
from tenants.secrets import digest

PREFIX = "mob_"
RANDOM_BYTES = 32  # 43 characters in base64url
SHORTEST = 20
LONGEST = 512
LONGEST_GRACE_S = 7 * 24 * 3600
ISSUED = ("digest", "prefix", "old_digest", "old_until", "updated_at")  # what `issue` changes
_SHOWN = 8

_pepper: bytes | None = None


class KeyValueError(ValueError):
    """A given key value is not one that can be used."""


def generate() -> str:
    """Return a new random key."""
    return PREFIX + secrets.token_urlsafe(RANDOM_BYTES)


def check_value(text: str) -> None:
    """Raise KeyValueError unless the text can be a key; the message does not repeat it."""
    if len(text) < SHORTEST:
        raise KeyValueError(f"a key needs {SHORTEST} or more characters")
    if len(text) > LONGEST:
        raise KeyValueError(f"a key has at most {LONGEST} characters")
    if not text.isascii() or not text.isprintable() or " " in text:
        raise KeyValueError("a key holds only visible ASCII characters")
    if _repeats(text):
        raise KeyValueError("a key is not one character or one word repeated")


def issue(api_key: ApiKey, value: str | None = None) -> str:
    """Give the key a value, a random one unless it is given, and return it; no other is good then.

    Raises KeyValueError.
    """
    if value is None:
        value = generate()
    check_value(value)
    api_key.digest = key_digest(value)
    # A value given by the operator may be guessable from its beginning: less of it is shown.
    api_key.prefix = value[: _SHOWN if value.startswith(PREFIX) else len(PREFIX)]
    api_key.old_digest = api_key.old_until = None
    return value


def rotate(api_key: ApiKey, *, grace_s: int, now: datetime) -> str:
    """Give the key a new value and return it; the one before stays good for `grace_s` seconds.

    One before it, still in its own grace, ends.
    """
    before = api_key.digest
    value = issue(api_key)
    if grace_s:
        api_key.old_digest, api_key.old_until = before, now + timedelta(seconds=grace_s)
    return value


def with_digest(digest: str) -> Q:
    """Return which key has this digest, as its value's or as that of the value before."""
    return Q(digest=digest) | Q(old_digest=digest)


def key_digest(value: str) -> str:
    """Return what a key is looked up by. The first call of a process reads the database."""
    return digest(pepper(), value)


def installation() -> str:
    """Return a short name of this installation alone: its part of a Redis that others may share."""
    return key_digest("installation")[:12]


def pepper() -> bytes:
    """Return the installation's pepper, kept by the process once it is known to be committed."""
    global _pepper  # noqa: PLW0603 - one value for the life of the process
    if _pepper is not None:
        return _pepper
    value = install_secret("pepper")
    # Made inside a transaction that is rolled back later, it would differ from the next one.
    if not connection.in_atomic_block:
        _pepper = value
    return value


def _repeats(text: str) -> bool:
    """Say whether the text is a shorter one over and over, the last time maybe cut."""
    return any(text.startswith(text[period:]) for period in range(1, len(text) // 2 + 1))
