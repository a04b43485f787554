"""Ask the identity provider: where it is asked what, its keys, and what a code stands for.

A client of our own beside the sign-in library's: it goes to the issuer and where that points,
follows no redirect and no proxy of the environment, and reads no more than a bound.
"""

import json
import threading
import time
from collections.abc import Mapping
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import httpx2
import jwt
from django.conf import settings
from msgspec import Struct

MOST_BYTES, ANSWER_S, WHOLE_S = 256 * 1024, 5.0, 10.0
# An unknown key may be a new one; whoever makes names up does not make us ask more often.
KEYS_AGAIN_S = 60.0


class IssuerError(Exception):
    """The provider does not answer, or not as it should: nobody can be signed in by it now."""


class RefusedError(Exception):
    """The provider's answer does not prove who somebody is; the text is for the log."""


class Addresses(Struct, frozen=True):
    """Where the provider is asked what, by its discovery document."""

    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str


class Issuer:
    """One provider, as one process knows it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._plain = url.startswith("http://")
        self._lock = threading.Lock()
        self._addresses: Addresses | None = None
        self._keys: dict[str | None, jwt.PyJWK] = {}
        self._keys_read_at = -KEYS_AGAIN_S

    def addresses(self) -> Addresses:
        """Return them, read once. Raises IssuerError."""
        with self._lock:
            if self._addresses is None:
                found = self._ask("GET", f"{self.url.rstrip('/')}/.well-known/openid-configuration")
                self._addresses = self._checked(found)
            return self._addresses

    def key(self, name: str | None) -> jwt.PyJWK | None:
        """Return the provider's key of that name, the only one for no name. Raises IssuerError."""
        where = self.addresses().jwks_uri
        with self._lock:
            now = time.monotonic()
            if name not in self._keys and now - self._keys_read_at >= KEYS_AGAIN_S:
                self._keys, self._keys_read_at = _keys_of(self._ask("GET", where)), now
            return self._keys.get(name)

    def redeem(self, form: Mapping[str, str]) -> dict[str, Any]:
        """Return what the provider gives for a code. Raises IssuerError, RefusedError."""
        return self._ask("POST", self.addresses().token_endpoint, data=form)

    def about(self, access_token: str) -> dict[str, Any]:
        """Return what the provider tells beside its token; {} where it tells nothing."""
        where = self.addresses().userinfo_endpoint
        headers = {"Authorization": f"Bearer {access_token}"}
        return self._ask("GET", where, headers=headers) if where else {}

    def _checked(self, found: dict[str, Any]) -> Addresses:
        if found.get("issuer") != self.url:
            raise IssuerError(f"The document of {self.url} is of another issuer.")
        given = {name: str(found.get(name) or "") for name in Addresses.__struct_fields__}
        for name, value in given.items():
            if not (value or name == "userinfo_endpoint") or not self._may_ask(value):
                raise IssuerError(f"The provider's {name} is no address to ask.")
        return Addresses(**given)

    def _may_ask(self, address: str) -> bool:
        return not address or urlsplit(address).scheme in {"https", *(["http"] * self._plain)}

    def _ask(self, method: str, address: str, **options: Any) -> dict[str, Any]:  # noqa: ANN401
        try:
            with (
                httpx2.Client(trust_env=False, follow_redirects=False, timeout=ANSWER_S) as client,
                client.stream(method, address, **options) as answer,
            ):
                body = _bounded(answer)
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise IssuerError(f"The provider cannot be asked: {type(error).__name__}.") from None
        if answer.status_code == httpx2.codes.BAD_REQUEST:
            raise RefusedError("The provider answered 400.")
        if answer.status_code != httpx2.codes.OK:
            raise IssuerError(f"The provider answered {answer.status_code}.")
        return _object(body)


@cache
def issuer() -> Issuer:
    """Return the provider of the settings."""
    assert settings.OIDC is not None  # noqa: S101 - the views ask first
    return Issuer(settings.OIDC.issuer)


def _bounded(answer: httpx2.Response) -> bytes:
    until, body = time.monotonic() + WHOLE_S, bytearray()
    for part in answer.iter_bytes():
        body += part
        if len(body) > MOST_BYTES or time.monotonic() > until:
            raise IssuerError("The provider's answer is too long.")
    return bytes(body)


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise IssuerError("The provider's answer is no JSON object.")
    return found


def _keys_of(found: dict[str, Any]) -> dict[str | None, jwt.PyJWK]:
    try:
        keys = jwt.PyJWKSet.from_dict(found).keys
    except (jwt.PyJWTError, AttributeError, TypeError):
        raise IssuerError("The provider's keys cannot be read.") from None
    named: dict[str | None, jwt.PyJWK] = {key.key_id: key for key in keys}
    if len(keys) == 1:
        named[None] = keys[0]
    return named
