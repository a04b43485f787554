"""Errors of the Gemini dialect: ours rendered as Google's servers do, the provider's read."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from llm_gateway.adapters import sse
from llm_gateway.adapters.gemini import wire
from llm_gateway.adapters.upstream_errors import Complaint, upstream_error
from llm_gateway.errors import GatewayError

_TYPES = "type.googleapis.com/"
_STATUSES = {
    401: "UNAUTHENTICATED", 402: "RESOURCE_EXHAUSTED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND",
    405: "UNIMPLEMENTED", 408: "DEADLINE_EXCEEDED", 409: "ABORTED", 429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL", 504: "DEADLINE_EXCEEDED", 508: "FAILED_PRECONDITION",
}  # fmt: skip
_STATUSES_BY_CODE = {"model_not_priced": "FAILED_PRECONDITION"}
_SERVER = 500


def render_error(error: GatewayError, *, request_id: str) -> dict[str, Any]:
    """Return the body of an error; code, parameter and wait are details of Google's own kinds.

    `attempts`, where the error knows them, are ours: clients may ignore them.
    """
    fallback = "UNAVAILABLE" if error.status >= _SERVER else "INVALID_ARGUMENT"
    status = _STATUSES_BY_CODE.get(error.code) or _STATUSES.get(error.status, fallback)
    body: dict[str, Any] = {
        "code": error.status,
        "message": error.message,
        "status": status,
        "details": list(_details(error, request_id)),
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
    return upstream_error(wire.status_of(_error(body), status), headers, body, _read)


def _details(error: GatewayError, request_id: str) -> Iterator[dict[str, Any]]:
    about = {"code": error.code, "request_id": request_id}
    if error.param is not None:
        about["param"] = error.param
    yield _detail(
        "google.rpc.ErrorInfo", reason=error.code.upper(), domain="mobius", metadata=about
    )
    if error.param is not None:
        violation = {"field": error.param, "description": error.message}
        yield _detail("google.rpc.BadRequest", fieldViolations=[violation])
    if error.retry_after_s is not None:
        yield _detail(
            "google.rpc.RetryInfo", retryDelay=f"{max(1, math.ceil(error.retry_after_s))}s"
        )
    yield _detail("google.rpc.RequestInfo", requestId=request_id)


def _detail(kind: str, **fields: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    return {"@type": _TYPES + kind, **fields}


def _read(body: bytes) -> Complaint:
    return wire.complaint(_error(body))


def _error(body: bytes) -> Any:  # noqa: ANN401 - JSON
    """Return the error object of a body; a stream's is the only one of a list."""
    try:
        answer = msgspec.json.decode(body)
    except ValueError:
        return None
    if isinstance(answer, list) and len(answer) == 1:
        answer = answer[0]
    return answer.get("error") if isinstance(answer, dict) else None
