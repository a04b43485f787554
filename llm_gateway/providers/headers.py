"""Build the headers of an outgoing call; a name that its protocol does not list is never sent."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from llm_gateway.errors import InvalidRequestError
from llm_gateway.providers.auth import is_header_value

# Counts the gateways a request went through, so that one that calls itself notices (faults.md §2).
HOP_HEADER = "x-mobius-hop"

_EVERY = frozenset({HOP_HEADER, "accept", "content-type"})
_OPENAI = frozenset({"openai-beta", "openai-organization", "openai-project"})
_WEBHOOK = frozenset({"webhook-id", "webhook-timestamp", "webhook-signature"})
_ANTHROPIC = frozenset({"anthropic-version", "anthropic-beta"})

# Protocol (an adapter's name, or ours of alerts) → what may be sent beside `_EVERY`.
ALLOWED: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "openai_batches": _EVERY | _OPENAI,
        "openai_chat": _EVERY | _OPENAI,
        "openai_completions": _EVERY | _OPENAI,
        "openai_responses": _EVERY | _OPENAI,
        "openai_embeddings": _EVERY | _OPENAI,
        "anthropic_batches": _EVERY | _ANTHROPIC,
        "anthropic_messages": _EVERY | _ANTHROPIC,
        "webhook": _EVERY | _WEBHOOK,
    }
)

# Framing is the client's, credentials are `auth`'s, the rest speaks of a caller we do not expose.
_NEVER = frozenset(
    {
        *("authorization", "proxy-authorization", "x-api-key", "api-key", "x-goog-api-key"),
        *("cookie", "host", "content-length", "transfer-encoding", "accept-encoding", "expect"),
        *("connection", "keep-alive", "proxy-connection", "te", "trailer", "upgrade"),
        *("forwarded", "via", "x-real-ip", "x-remote-user", HOP_HEADER),
    }
)


def allowed_for(protocol: str) -> frozenset[str]:
    return ALLOWED.get(protocol, _EVERY)


def check_default_header(name: str, value: str) -> None:
    """Raise InvalidRequestError unless an operator may add this header to every call."""
    lower = name.lower()
    if lower in _NEVER or lower.startswith("x-forwarded-") or not _is_name(lower):
        raise InvalidRequestError(f"The header {name!r} cannot be set.", param="default_headers")
    _check_value(name, value)


def build_headers(
    protocol: str, headers: Iterable[tuple[str, str]], base: Mapping[str, str]
) -> dict[str, str]:
    """Return `base` with the request's own headers; InvalidRequestError for an unlisted name.

    All names are in lower case, so that none is sent twice.
    """
    built = dict(base)
    allowed = allowed_for(protocol)
    for name, value in headers:
        lower = name.lower()
        if lower not in allowed:
            raise InvalidRequestError(f"The header {name!r} is not passed on.", param=name)
        _check_value(name, value)
        built[lower] = value
    return built


def _check_value(name: str, value: str) -> None:
    if not is_header_value(value):
        raise InvalidRequestError(f"The header {name!r} holds a forbidden character.", param=name)


def _is_name(lower: str) -> bool:
    return lower.isascii() and lower.replace("-", "").replace("_", "").isalnum()
