"""Sign a request as Amazon's services want it: Signature Version 4, pure, with the time given.

Source: docs.aws.amazon.com, "Signature Version 4 for API requests"; all services but S3 escape the
path a second time.
"""

import hashlib
import hmac
import re
from datetime import datetime
from urllib.parse import quote

from msgspec import Struct

_ALGORITHM = "AWS4-HMAC-SHA256"
_REGION = re.compile(r"\.([a-z]{2,4}(?:-[a-z]+)+-\d)\.(?:vpce\.)?(?:amazonaws|api\.aws)")
_PARTS = 3  # of a credential: access key, secret key, session token


class KeyPair(Struct, frozen=True):
    """Credentials of an account; `session` comes with temporary ones."""

    access: str
    secret: str
    session: str = ""


class Signable(Struct, frozen=True, kw_only=True):
    """What of a request is signed: `path` is as it stands in the request line, without a query."""

    method: str
    host: str
    path: str
    body: bytes


def key_pair(secret: str) -> KeyPair | None:
    """Return what `ACCESS:SECRET` or `ACCESS:SECRET:SESSION` says; None for any other secret."""
    parts = secret.split(":", _PARTS - 1)
    return KeyPair(*parts) if len(parts) > 1 and all(parts) else None


def signed_headers(
    request: Signable, key: KeyPair, *, service: str, region: str, now: datetime
) -> dict[str, str]:
    """Return the headers that sign the request; `now` is in UTC."""
    time = now.strftime("%Y%m%dT%H%M%SZ")
    date = time[:8]
    headers = {"host": request.host, "x-amz-date": time}
    if key.session:
        headers["x-amz-security-token"] = key.session
    names = ";".join(sorted(headers))
    canonical = "\n".join(
        (
            request.method,
            quote(request.path, safe="/-_.~"),
            "",
            *(f"{name}:{headers[name]}" for name in sorted(headers)),
            "",
            names,
            hashlib.sha256(request.body).hexdigest(),
        )
    )
    scope = f"{date}/{region}/{service}/aws4_request"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    signing_key = _signing_key(key.secret, date, region, service)
    signature = hmac.digest(
        signing_key, f"{_ALGORITHM}\n{time}\n{scope}\n{digest}".encode(), "sha256"
    ).hex()
    del headers["host"]  # the request line's own
    return {
        **headers,
        "authorization": f"{_ALGORITHM} Credential={key.access}/{scope}, "
        f"SignedHeaders={names}, Signature={signature}",
    }


def region_of(host: str) -> str | None:
    """Return the region that an address of Amazon's names."""
    found = _REGION.search(host)
    return found[1] if found else None


def _signing_key(secret: str, *scope: str) -> bytes:
    """Return the key of a day, a region and a service."""
    made = f"AWS4{secret}".encode()
    for part in (*scope, "aws4_request"):
        made = hmac.digest(made, part.encode(), "sha256")
    return made
