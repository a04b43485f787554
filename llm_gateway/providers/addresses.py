"""Judge where an outgoing call may go; what is not known to be a public address is refused.

Pure: names are not looked up here. A name is judged a second time by the addresses it resolves to.
"""

import re
from collections.abc import Collection
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from msgspec import Struct
from yarl import URL

IPAddress = IPv4Address | IPv6Address

_MAX_LENGTH = 2048
_DEFAULT_PORTS = {"https": 443, "http": 80}
# Everything of RFC 3986's path that needs no second look; no query, no fragment, no backslash.
_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#]*)(?P<path>/.*)?")
_PATH = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@/-]*")
_HOST_AND_PORT = re.compile(r"(?P<host>\[[^\[\]]*\]|[^:\[\]]*)(?::(?P<port>[0-9]{1,5}))?")
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMERIC_LABEL = re.compile(r"[0-9]+|0x[0-9a-f]*")
_BYTE = r"(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_FOUR_DECIMALS = re.compile(rf"{_BYTE}(\.{_BYTE}){{3}}")

# IANA's special-purpose registries. Written out: `ip_address.is_global` changed between patch
# releases of Python 3.11, and it lets multicast pass.
_NOT_PUBLIC_4 = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier NAT
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
# Only global unicast is public, less the parts of it that carry an IPv4 address or are reserved.
_GLOBAL_UNICAST_6 = IPv6Network("2000::/3")
_NOT_PUBLIC_6 = tuple(
    IPv6Network(text)
    for text in (
        "2001::/23",  # Teredo, ORCHID, benchmarking and their like
        "2001:db8::/32",
        "2002::/16",  # 6to4
        "3fff::/20",
    )
)
# What `allow_private_network` opens. IPv4 inside IPv6 is in no list: it has a plainer spelling.
_PRIVATE = tuple(
    (IPv6Network if ":" in text else IPv4Network)(text)
    for text in (
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "::1/128",
        "fc00::/7",
        "fe80::/10",
    )
)
# They hand the machine's own credentials to whoever asks, so no flag opens them.
_METADATA = tuple(
    (IPv6Network if ":" in text else IPv4Network)(text)
    for text in (
        "169.254.169.0/24",  # AWS, Azure, Google, DigitalOcean, Oracle, OpenStack
        "169.254.170.0/24",  # AWS container credentials
        "169.254.0.23/32",  # Tencent
        "100.100.100.200/32",  # Alibaba
        "168.63.129.16/32",  # Azure's host agent
        "192.0.0.192/32",  # Oracle
        "fd00:ec2::/32",  # AWS
        "fd20:ce::254/128",  # Google
    )
)
_METADATA_NAMES = frozenset({"metadata", "metadata.google.internal", "instance-data"})
_LOOPBACK_NAMES = ("localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback")


class AddressError(ValueError):
    """A URL or address that must not be called; the text says why and is fit for its owner."""


class BaseUrl(Struct, frozen=True, kw_only=True):
    """A base URL in its one canonical form; `address` is set where the host is a literal."""

    scheme: str
    host: str
    port: int
    path: str
    address: IPv4Address | IPv6Address | None = None

    @property
    def origin(self) -> str:
        """Scheme, host and port, always all three: what a secret is bound to."""
        return f"{self.scheme}://{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """The URL without a trailing slash and without a default port."""
        port = "" if self.port == _DEFAULT_PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{self.host}{port}{self.path}"


def is_metadata(ip: IPAddress) -> bool:
    return any(ip in network for network in _METADATA)


def is_public(ip: IPAddress) -> bool:
    """Say whether the address is globally routable and nobody's metadata service."""
    if is_metadata(ip):
        return False
    if isinstance(ip, IPv4Address):
        return not any(ip in network for network in _NOT_PUBLIC_4)
    if ip.scope_id is not None or ip not in _GLOBAL_UNICAST_6:
        return False
    return not any(ip in network for network in _NOT_PUBLIC_6)


def is_allowed(ip: IPAddress, *, allow_private: bool) -> bool:
    """Say whether a connection to the address may be opened."""
    if not allow_private or is_metadata(ip):
        return is_public(ip)
    return is_public(ip) or any(ip in network for network in _PRIVATE)


def check_address(text: str, *, allow_private: bool) -> None:
    """Raise AddressError unless the resolved address may be connected to."""
    try:
        ip = ip_address(text)
    except ValueError:
        raise AddressError("the name resolved to something that is no IP address") from None
    if not is_allowed(ip, allow_private=allow_private):
        raise AddressError(_refusal(ip))


def parse_base_url(text: str) -> BaseUrl:
    """Return the canonical form of an http or https URL, or raise AddressError naming the fault."""
    if len(text) > _MAX_LENGTH:
        raise AddressError(f"the URL is longer than {_MAX_LENGTH} characters")
    if not text.isprintable() or any(c.isspace() or c == "\\" for c in text):
        raise AddressError("the URL holds a space, a backslash or a control character")
    match = _URL.fullmatch(text)
    if match is None:
        raise AddressError(_shape_fault(text))
    scheme = match["scheme"].lower()
    if scheme not in _DEFAULT_PORTS:
        raise AddressError(f"the scheme must be https or http, not {scheme}")
    host, port = _split_authority(match["authority"])
    name, address = _parse_host(host)
    return BaseUrl(
        scheme=scheme,
        host=name,
        port=_DEFAULT_PORTS[scheme] if port is None else port,
        path=_parse_path(match["path"] or ""),
        address=address,
    )


def check_base_url(
    text: str, *, allow_private: bool = False, allowed_origins: Collection[str] = ()
) -> BaseUrl:
    """Return the canonical base URL, or raise AddressError where it may not be called.

    Plain http and ports other than 443 need `allow_private` or the origin in `allowed_origins`;
    both are the operator's to give.
    """
    base = parse_base_url(text)
    if base.host in _METADATA_NAMES:
        raise AddressError(f"{base.host} is a cloud metadata service")
    if not allow_private:
        _check_public(base, allowed_origins)
    if base.address is not None and not is_allowed(base.address, allow_private=allow_private):
        raise AddressError(_refusal(base.address))
    return base


def _check_public(base: BaseUrl, allowed_origins: Collection[str]) -> None:
    if base.host.endswith(".localhost") or base.host in _LOOPBACK_NAMES:
        raise AddressError(f"{base.host} is this machine; it needs allow_private_network")
    if base.origin in allowed_origins:
        return
    if base.scheme != "https":
        raise AddressError("the URL must start with https://")
    if base.port != _DEFAULT_PORTS["https"]:
        raise AddressError(f"port {base.port} is not allowed here: only 443 is")


def _refusal(ip: IPAddress) -> str:
    if is_metadata(ip):
        return f"{ip} is a cloud metadata service"
    return f"{ip} is not a public address; it would need allow_private_network"


def _shape_fault(text: str) -> str:
    for sign, what in (("?", "a query"), ("#", "a fragment")):
        if sign in text:
            return f"the URL must not have {what}"
    return "the URL must look like https://host/path"


def _split_authority(authority: str) -> tuple[str, int | None]:
    if "@" in authority:
        raise AddressError("the URL must not carry a user name or password")
    if "%" in authority:
        raise AddressError("the host must not hold '%' (an IPv6 zone or an escape)")
    match = _HOST_AND_PORT.fullmatch(authority)
    if match is None or not match["host"]:
        raise AddressError("the URL has no valid host and port")
    if match["port"] is None:
        if authority.endswith(":"):
            raise AddressError("the URL has an empty port")
        return match["host"], None
    port = int(match["port"])
    if not 0 < port < 1 << 16:
        raise AddressError(f"{port} is no port")
    return match["host"], port


def _parse_host(host: str) -> tuple[str, IPAddress | None]:
    if host.startswith("["):
        try:
            six = IPv6Address(host[1:-1])
        except ValueError:
            raise AddressError("the host is no IPv6 address") from None
        return f"[{six}]", six
    name = _to_ascii(host).removesuffix(".")
    # The rule of browsers: a last label that is a number makes the whole host an IPv4 address.
    if _NUMERIC_LABEL.fullmatch(name.rpartition(".")[2]):
        return _parse_ipv4(name)
    labels = name.split(".")
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):  # noqa: PLR2004 - RFC 1035's limit
        raise AddressError("the host is no valid name")
    return name, None


def _parse_ipv4(name: str) -> tuple[str, IPAddress]:
    if not _FOUR_DECIMALS.fullmatch(name):
        raise AddressError("write an IPv4 address as four decimal numbers")
    return name, IPv4Address(name)


def _to_ascii(host: str) -> str:
    if host.isascii():
        return host.lower()
    try:
        ascii_host = URL.build(scheme="https", host=host).raw_host or ""
    except ValueError:
        raise AddressError("the host is no valid international name") from None
    return ascii_host.lower()


def _parse_path(path: str) -> str:
    if not _PATH.fullmatch(path):
        raise AddressError(
            _shape_fault(path) if {"?", "#"} & set(path) else "the path is not plain"
        )
    if {".", ".."} & set(path.split("/")):
        raise AddressError("the path must not hold '.' or '..'")
    return path.rstrip("/")
