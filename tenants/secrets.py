"""Keep secrets at rest: AES-256-GCM, a data key per record, wrapped by the master key.

What is bound into a secret (tenant, row, origin) must be named again to open it: ciphertext copied
to another row does not decrypt.
"""

import base64
import hashlib
import hmac
import os
from collections.abc import Sequence
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings

_NONCE, _KEY = 12, 32
_VERSION = b"\x01"


class SecretError(Exception):
    """A secret cannot be opened: wrong master key, or it was bound to something else."""


def master_keys() -> list[bytes]:
    """Return the keyring; the first key encrypts."""
    return [base64.urlsafe_b64decode(text) for text in settings.MOBIUS_MASTER_KEYS]


def seal(plain: bytes, *bound_to: object, keys: Sequence[bytes] | None = None) -> bytes:
    """Return `plain` encrypted and bound to the given words, in order."""
    bound = _bound(bound_to)
    data_key = os.urandom(_KEY)
    wrapped = _encrypt((keys or master_keys())[0], data_key, bound)
    return _VERSION + wrapped + _encrypt(data_key, plain, bound)


def unseal(sealed: bytes, *bound_to: object, keys: Sequence[bytes] | None = None) -> bytes:
    """Return what was sealed. Raises SecretError when key or binding differ."""
    bound = _bound(bound_to)
    wrapped_length = _NONCE + _KEY + 16
    sealed = bytes(sealed)
    wrapped, body = sealed[1 : 1 + wrapped_length], sealed[1 + wrapped_length :]
    for key in keys or master_keys():
        try:
            return _decrypt(_decrypt(key, wrapped, bound), body, bound)
        except InvalidTag:
            continue
    raise SecretError("the secret does not open with this master key in this place")


def rewrap(sealed: bytes, *bound_to: object) -> bytes:
    """Return the same secret under the first master key, with a new data key."""
    return seal(unseal(sealed, *bound_to), *bound_to)


def digest(pepper: bytes, secret: str) -> str:
    """Return the digest by which an api key is looked up: HMAC-SHA-256 in hex."""
    keyed = _keyed(pepper).copy()
    keyed.update(secret.encode())
    return keyed.hexdigest()


@lru_cache(maxsize=4)
def _keyed(pepper: bytes) -> hmac.HMAC:
    # Keying costs more than the digest itself, and would give up the interpreter lock each time.
    return hmac.new(pepper, digestmod=hashlib.sha256)


def fingerprint(secret: str) -> str:
    """Return a short public name of a secret, to tell two apart."""
    return hashlib.sha256(secret.encode()).hexdigest()[:12]


def _bound(words: Sequence[object]) -> bytes:
    return "\x1f".join(str(word) for word in words).encode()


def _encrypt(key: bytes, plain: bytes, bound: bytes) -> bytes:
    nonce = os.urandom(_NONCE)
    return nonce + AESGCM(key).encrypt(nonce, plain, bound)


def _decrypt(key: bytes, sealed: bytes, bound: bytes) -> bytes:
    return AESGCM(key).decrypt(sealed[:_NONCE], sealed[_NONCE:], bound)
