"""Name what a call goes to; an Endpoint that exists has been judged and may be called."""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct
from msgspec.structs import force_setattr

from llm_gateway.providers.addresses import AddressError, check_base_url, parse_base_url
from llm_gateway.providers.auth import AUTH_STYLES
from llm_gateway.providers.catalog import CATALOG
from llm_gateway.providers.headers import check_default_header

# The base URL of the provider that is played in the process and needs no socket.
MOCK_URL = "mock:"


class Endpoint(Struct, frozen=True, kw_only=True):
    """A provider's address and how it is called; `base_url` is made canonical.

    Raises AddressError or InvalidRequestError when it must not be called. `protocol` is the name of
    the adapter whose headers may be sent. `options` are those of its kind: the mock's, a region.
    """

    provider_id: int
    base_url: str
    protocol: str
    auth: str
    key_optional: bool = False  # a server of one's own may need none
    allow_private_network: bool = False
    allowed_origins: frozenset[str] = frozenset()  # the operator's: plain http or another port
    max_concurrent_requests: int = 100
    kept_alive: int = 100  # idle connections of one credential: fewer are opened anew at every peak
    default_headers: tuple[tuple[str, str], ...] = ()
    options: Mapping[str, Any] = {}
    origin: str = ""  # scheme://host:port, always worked out here

    def __post_init__(self) -> None:
        if self.auth not in AUTH_STYLES:
            raise ValueError(f"{self.auth!r} is no way to authenticate")
        for name, value in self.default_headers:
            check_default_header(name, value)
        lower = tuple((name.lower(), value) for name, value in self.default_headers)
        force_setattr(self, "default_headers", lower)
        if self.base_url == MOCK_URL:
            force_setattr(self, "origin", MOCK_URL)
            return
        base = check_base_url(
            self.base_url,
            allow_private=self.allow_private_network,
            allowed_origins=self.allowed_origins,
        )
        force_setattr(self, "base_url", base.url)
        force_setattr(self, "origin", base.origin)


def origin_of(base_url: str) -> str:
    """Return the origin of a base URL. Raises AddressError for one that is none."""
    return MOCK_URL if base_url == MOCK_URL else parse_base_url(base_url).origin


def check_reachable(kind: str, base_url: str, *, allow_private: bool) -> None:
    """Raise AddressError unless a provider of this kind may be called at this base URL.

    An empty one is the catalogue's.
    """
    row = CATALOG[kind]
    if not base_url and row.needs_base_url:
        raise AddressError(f"a provider of kind {kind} needs a base URL")
    address = base_url or row.base_url
    if address != MOCK_URL:
        check_base_url(address, allow_private=allow_private)
