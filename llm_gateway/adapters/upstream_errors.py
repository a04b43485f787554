"""Turn a provider's error into ours, by its status first (faults.md §2).

Only a rejection shows the caller the provider's own text, bounded and without what looks like a
credential: the others speak of our keys and our names.
"""

import re
from collections.abc import Callable, Mapping

from msgspec import Struct

from llm_gateway.adapters.retry_after import retry_after_s
from llm_gateway.errors import (
    ContentPolicyError,
    CredentialError,
    GatewayError,
    MissingModelError,
    PromptTooLongError,
    RejectedError,
    ServerFaultError,
    ThrottledError,
    UnavailableError,
    UnexpectedStatusError,
    UpstreamError,
)

MAX_MESSAGE = 2000
_SECRET = re.compile(
    r"\b(?:sk|pk|rk|mob|org|proj|gsk|xai|hf|key|r8|AIza)[-_]?[A-Za-z0-9*][-_A-Za-z0-9*.]{7,}"
)
_STATUS_CODES = {413: "request_too_large"}
_SERVER_FAULT = 500


class Complaint(Struct, frozen=True, kw_only=True):
    """What a provider's error body says, in no provider's words."""

    message: str = ""
    param: str | None = None
    context_length: bool = False
    content_policy: bool = False
    wait_s: float | None = None


_KINDS: dict[int, tuple[type[UpstreamError], str]] = {
    401: (CredentialError, "The provider did not accept the gateway's credential."),
    403: (CredentialError, "The provider did not accept the gateway's credential."),
    404: (MissingModelError, "The provider does not know the model the gateway asked for."),
    429: (ThrottledError, "The provider is limiting the rate of requests."),
    503: (UnavailableError, "The provider is not available."),
    529: (UnavailableError, "The provider is not available."),
}


def upstream_error(
    status: int, headers: Mapping[str, str], body: bytes, read: Callable[[bytes], Complaint]
) -> GatewayError:
    """Return our error for an answer that is none; `read` understands the dialect's error body."""
    lowered = {name.lower(): value for name, value in headers.items()}
    return by_status(status, read(body), retry_after_s(lowered))


def by_status(status: int, complaint: Complaint, wait_s: float | None = None) -> GatewayError:
    """Return our error for a status, sent as such or named inside a stream."""
    if status in {400, 413, 422}:
        return _rejected(status, complaint)
    if status in _KINDS:
        kind, message = _KINDS[status]
        wait_s = complaint.wait_s if wait_s is None else wait_s
        return kind(message, upstream_status=status, retry_after_s=wait_s)
    if status >= _SERVER_FAULT:
        return ServerFaultError("The provider failed.", upstream_status=status)
    return UnexpectedStatusError(
        f"The provider answered with status {status}.", upstream_status=status
    )


def _rejected(status: int, complaint: Complaint) -> RejectedError:
    kind: type[RejectedError] = RejectedError
    code = _STATUS_CODES.get(status, "invalid_request_error")
    if complaint.context_length:
        kind, code = PromptTooLongError, "context_length_exceeded"
    elif complaint.content_policy:
        kind, code = ContentPolicyError, "content_policy_violation"
    message = redacted(complaint.message) or "The provider refused the request."
    return kind(message, status=status, code=code, param=complaint.param)


def redacted(text: str) -> str:
    """Return a provider's text, bounded, with whatever looks like a credential masked."""
    return _SECRET.sub("[redacted]", text[:MAX_MESSAGE])
