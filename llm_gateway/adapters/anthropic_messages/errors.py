"""Errors of the Anthropic dialect: ours rendered, the provider's read."""

from collections.abc import Mapping
from typing import Any

import msgspec

from llm_gateway.adapters import sse
from llm_gateway.adapters.anthropic_messages.wire import complaint
from llm_gateway.adapters.upstream_errors import Complaint, upstream_error
from llm_gateway.errors import GatewayError, UnexpressibleError

_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}
# A 503 for which waiting for capacity is not the cure.
_TYPES_BY_CODE = {"ledger_unavailable": "api_error", "auth_unavailable": "api_error"}
# Told in these words, Anthropic's SDK goes on by itself without a thread that the server holds.
_DETAILS = {"thread": {"error_code": "thread_unsupported_request", "unsupported": ["thread"]}}
_SERVER = 500


def render_error(error: GatewayError, *, request_id: str) -> dict[str, Any]:
    """Return the body of an error; `code` and `param` are ours, clients may ignore them."""
    fallback = "api_error" if error.status >= _SERVER else "invalid_request_error"
    kind = _TYPES_BY_CODE.get(error.code) or _TYPES.get(error.status, fallback)
    body: dict[str, Any] = {
        "type": kind,
        "message": error.message,
        "code": error.code,
        "param": error.param,
    }
    if isinstance(error, UnexpressibleError) and error.param in _DETAILS:
        body["details"] = _DETAILS[error.param]
    if "attempts" in error.detail:
        body["attempts"] = error.detail["attempts"]
    return {"type": "error", "error": body, "request_id": request_id}


def render_stream_error(error: GatewayError, *, request_id: str, after: bytes = b"") -> bytes:
    """Return the event that tells of an error inside a running stream."""
    del after  # events have no numbers
    return sse.event("error", msgspec.json.encode(render_error(error, request_id=request_id)))


def parse_error(status: int, headers: Mapping[str, str], body: bytes) -> GatewayError:
    """Return a provider's error as ours, by its status first."""
    return upstream_error(status, headers, body, _read)


def _read(body: bytes) -> Complaint:
    try:
        answer = msgspec.json.decode(body)
    except ValueError:
        return Complaint()
    return complaint(answer.get("error")) if isinstance(answer, dict) else Complaint()
