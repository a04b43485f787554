"""Answer every error under /api/v1/ as `application/problem+json` (RFC 9457)."""

import logging
from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

import msgspec
from django.db import Error
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from rest_framework.exceptions import APIException

from llm_gateway.adapters import native
from llm_gateway.errors import (
    GatewayError,
    InvalidRequestError,
    NotFoundError,
    RefusalError,
)
from llm_gateway.service.headers import of_error
from tenants.ids import new_id

CONTENT_TYPE = "application/problem+json"

log = logging.getLogger(__name__)


def problem(error: GatewayError, request_id: UUID) -> HttpResponse:
    """Return an error as the answer it becomes."""
    body = msgspec.json.encode(native.render_error(error, request_id=str(request_id)))
    response = HttpResponse(body, status=error.status, content_type=CONTENT_TYPE)
    set_headers(response, error.headers or of_error(error, request_id))
    return response


def set_headers(response: HttpResponseBase, headers: Iterable[tuple[bytes, bytes]]) -> None:
    for name, value in headers:
        response[name.decode()] = value.decode()


def problem_handler(error: Exception, context: Mapping[str, Any]) -> HttpResponse:
    """Be REST framework's exception handler."""
    request_id = getattr(context.get("view"), "request_id", None) or new_id()
    return problem(_told(error, request_id), request_id)


def not_found(request: HttpRequest, rest: str) -> HttpResponse:
    """Answer for every path under /api/v1/ that is none of ours."""
    del request
    return problem(NotFoundError(f"There is no endpoint /api/v1/{rest[:200]}."), new_id())


def _told(error: Exception, request_id: UUID) -> GatewayError:
    """Return what a caller is told: nothing of an error that nobody foresaw."""
    match error:
        case GatewayError():
            return error
        case Http404():
            return NotFoundError("There is no such object.")
        case APIException():
            return InvalidRequestError(str(error.detail))
        case Error():
            log.warning("Request %s: the database does not answer: %s", request_id, error)
            return RefusalError("The database cannot be read now.", retry_after_s=2)
        case _:
            log.error("Request %s failed", request_id, exc_info=error)
            return GatewayError("Something went wrong on our side.")
