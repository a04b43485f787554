"""Name what a call goes to; an Endpoint that exists has been judged and may be called."""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct
from msgspec.structs import force_setattr

from llm_gateway.providers.addresses import check_base_url
from llm_gateway.providers.auth import AUTH_STYLES
from llm_gateway.providers.headers import check_default_header

# The base URL of the provider that is played in the process and needs no socket.
MOCK_URL = "mock:"


class Endpoint(Struct, frozen=True, kw_only=True):
    """A provider's address and how it is called; `base_url` is made canonical.

    Raises AddressError or InvalidRequestError when it must not be called. `protocol` is the name of
    the adapter whose headers may be sent. `options` are the mock's.
    """

    provider_id: int
    base_url: str
    protocol: str
    auth: str
    allow_private_network: bool = False
    allowed_origins: frozenset[str] = frozenset()  # the operator's: plain http or another port
    max_concurrent_requests: int = 100
    pool_size: int = 100  # connections of one credential
    kept_alive: int = 20  # of them, while idle
    default_headers: tuple[tuple[str, str], ...] = ()
    options: Mapping[str, Any] = {}
    origin: str = ""  # scheme://host:port, always worked out here

    def __post_init__(self) -> None:
        if self.auth not in AUTH_STYLES:
            raise ValueError(f"{self.auth!r} is no way to authenticate")
        for name, value in self.default_headers:
            check_default_header(name, value)
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
