"""Put a provider's secret into the one header it belongs to, and only for the origin it has.

Amazon's keys are not sent: they sign.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType

from llm_gateway.errors import Certainty, CredentialError
from llm_gateway.providers.sigv4 import Signable, key_pair, region_of, signed_headers

# What a field value may hold; obs-text is left out, since peers disagree about its meaning.
_VALUE = re.compile(r"[\x21-\x7e]([\x20-\x7e\t]*[\x21-\x7e])?")

# A pair of keys signs each request; any other secret is a bearer's.
SIGNED = "aws-sigv4"

# Style → header name and what stands before the secret.
AUTH_STYLES: Mapping[str, tuple[str, str] | None] = MappingProxyType(
    {
        "bearer": ("Authorization", "Bearer "),
        "x-api-key": ("x-api-key", ""),
        "api-key": ("api-key", ""),
        "x-goog-api-key": ("x-goog-api-key", ""),
        SIGNED: ("Authorization", "Bearer "),
        "none": None,
    }
)


@dataclass(frozen=True, slots=True)
class Credential:
    """A provider key, decrypted: `origin` (scheme://host:port) is the one it was saved for."""

    id: int
    secret: str = field(repr=False)
    origin: str


def is_header_value(text: str) -> bool:
    """Say whether the text can be a header's value: visible ASCII, blanks only inside."""
    return _VALUE.fullmatch(text) is not None


def auth_headers(
    style: str, credential: Credential | None, *, origin: str
) -> tuple[tuple[str, str], ...]:
    """Return the headers that show the credential to `origin`; CredentialError where none may.

    Nothing was sent yet when it raises.
    """
    placement = AUTH_STYLES[style]
    if placement is None:
        return ()
    if credential is None:
        raise _not_sent("The provider has no key.")
    if credential.origin != origin:
        raise _not_sent("The provider's key was saved for another address; enter it again.")
    if not is_header_value(credential.secret):
        raise _not_sent("The provider's key holds a character that no header can carry.")
    if style == SIGNED and key_pair(credential.secret) is not None:
        return ()
    name, prefix = placement
    return ((name, prefix + credential.secret),)


def signature(
    request: Signable, credential: Credential | None, *, region: str | None, now: datetime
) -> dict[str, str]:
    """Return the headers that sign a request for Bedrock; none where the secret is a bearer's.

    Raises CredentialError where nobody says the region.
    """
    pair = key_pair(credential.secret) if credential else None
    if pair is None:
        return {}
    named = region or region_of(request.host)
    if named is None:
        raise _not_sent("The provider's address names no region: set options.region.")
    return signed_headers(request, pair, service="bedrock", region=named, now=now)


def _not_sent(message: str) -> CredentialError:
    error = CredentialError(message)
    error.certainty = Certainty.NOT_SENT
    return error
