"""Errors of the OpenAI dialect: ours rendered, the provider's read."""

from collections.abc import Mapping
from typing import Any

import msgspec

from llm_gateway.adapters import sse
from llm_gateway.adapters.openai_chat.wire import complaint
from llm_gateway.adapters.upstream_errors import Complaint, upstream_error
from llm_gateway.errors import GatewayError

_TYPES = {
    402: "insufficient_quota",
    403: "permission_error",
    429: "rate_limit_error",
}
_SERVER = 500


def render_error(error: GatewayError, *, request_id: str) -> dict[str, Any]:
    """Return the body of an error, with `attempts` where the error knows them."""
    fallback = "server_error" if error.status >= _SERVER else "invalid_request_error"
    body = {
        "message": error.message,
        "type": _TYPES.get(error.status, fallback),
        "param": error.param,
        "code": error.code,
        "request_id": request_id,
    }
    if "attempts" in error.detail:
        body["attempts"] = error.detail["attempts"]
    return {"error": body}


def render_stream_error(error: GatewayError, *, request_id: str, after: bytes = b"") -> bytes:
    """Return the event that tells of an error inside a running stream."""
    del after  # events have no numbers
    return sse.unnamed(msgspec.json.encode(render_error(error, request_id=request_id)))


def parse_error(status: int, headers: Mapping[str, str], body: bytes) -> GatewayError:
    """Return a provider's error as ours, by its status first."""
    return upstream_error(status, headers, body, _read)


def _read(body: bytes) -> Complaint:
    try:
        answer = msgspec.json.decode(body)
    except ValueError:
        return Complaint()
    return complaint(answer.get("error")) if isinstance(answer, dict) else Complaint()
