"""Judge a request's head before anything else looks at it; one form of it alone goes on.

What two programs could read differently is refused, and the connection closes behind it.
"""

import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain

from django.conf import settings
from django.http.request import split_domain_port, validate_host

from llm_gateway.edge.http import HTTPScope
from llm_gateway.errors import HeadTooLargeError, MalformedRequestError, UrlTooLongError

MOST_HEADERS, LONGEST_HEADERS, LONGEST_HEADER = 100, 32 * 1024, 16 * 1024
LONGEST_PATH, LONGEST_QUERY = 2048, 8192

Header = tuple[bytes, bytes]

# An empty or a dotted segment, what no path holds, and what an escape that is no UTF-8 became.
_ODD_PATH = re.compile(r"//|/\.{1,2}(?:/|\Z)|[\x00-\x1f\x7f\\\ufffd]")
_VERSIONS = frozenset({"1.1", "1.0"})
# Of two that differ each reader takes another one.
_ONCE = frozenset(
    {
        *(b"host", b"origin", b"content-type", b"content-length", b"content-encoding"),
        *(b"transfer-encoding", b"idempotency-key", b"anthropic-version"),
        *(b"authorization", b"x-api-key", b"api-key", b"x-goog-api-key"),
    }
)
_OURS = b"x-mobius-"
# Lists, which may come in several lines.
_LISTS = frozenset({b"anthropic-beta", b"openai-beta"})


def judged_head(scope: HTTPScope) -> dict[bytes, bytes]:
    """Return the headers of a request, once they and its URL are as they may be.

    A list of several lines becomes one, in the scope too. Raises HeadTooLargeError, UrlTooLongError
    or MalformedRequestError.
    """
    headers: list[Header] = scope["headers"]
    _check_size(headers)
    _check_url(scope["path"], scope["raw_path"], scope["query_string"])
    if scope["http_version"] not in _VERSIONS:
        raise MalformedRequestError("Speak HTTP/1.1.")
    given = dict(headers)
    if len(given) < len(headers):
        scope["headers"] = joined(headers)
        given = dict(scope["headers"])
    if given.get(b"transfer-encoding", b"chunked").lower() != b"chunked":
        raise MalformedRequestError("Send the body with a length, or chunked and nothing else.")
    _check_host(given.get(b"host"), scope["http_version"])
    return given


def joined(headers: Sequence[Header]) -> list[Header]:
    """Return the headers with each list in one line. Raises MalformedRequestError for others."""
    counts = Counter(name for name, _ in headers)
    for name, count in counts.items():
        if count > 1 and (name in _ONCE or name.startswith(_OURS)):
            raise MalformedRequestError(f"The header {name.decode()} is there twice.")
    lists = {
        name: b", ".join(value for other, value in headers if other == name)
        for name in _LISTS & counts.keys()
    }
    return [*(each for each in headers if each[0] not in lists), *lists.items()]


def _check_size(headers: Sequence[Header]) -> None:
    if len(headers) > MOST_HEADERS:
        raise HeadTooLargeError(f"There are more than {MOST_HEADERS} headers.")
    size = sum(map(len, chain.from_iterable(headers)))
    if size > LONGEST_HEADERS:
        raise HeadTooLargeError(f"The headers are over {LONGEST_HEADERS // 1024} KiB.")
    if size > LONGEST_HEADER and max(len(value) for _, value in headers) > LONGEST_HEADER:
        raise HeadTooLargeError(f"A header is over {LONGEST_HEADER // 1024} KiB.")


def _check_url(path: str, raw_path: bytes, query: bytes) -> None:
    if len(raw_path) > LONGEST_PATH:
        raise UrlTooLongError(f"The path is over {LONGEST_PATH // 1024} KiB.")
    if len(query) > LONGEST_QUERY:
        raise UrlTooLongError(f"The query is over {LONGEST_QUERY // 1024} KiB.")
    # No database keeps it, and no name has it.
    if b"%00" in query or b"\0" in query:
        raise MalformedRequestError("The query holds a character that is no text.")
    if not path.startswith("/") or _ODD_PATH.search(path):
        raise MalformedRequestError("The path is not in its plain form.")


def _check_host(host: bytes | None, version: str) -> None:
    if host is None:
        if version != "1.0":
            raise MalformedRequestError("There is no Host header.")
    elif not is_known(host):
        raise MalformedRequestError("This host is not served here: see ALLOWED_HOSTS.")


@lru_cache(maxsize=256)
def is_known(host: bytes) -> bool:
    """Say whether a Host header is well formed and names this gateway."""
    domain, _port = split_domain_port(host.decode("latin-1"))
    return bool(domain) and validate_host(domain, settings.ALLOWED_HOSTS)
