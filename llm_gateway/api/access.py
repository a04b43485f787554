"""Let a request reach its view: by `AUTHZ_MATRIX` and the routed view, never by the raw path.

REST framework reads its default permission while it is being imported: no views of it here.
"""

import re
from typing import Any

from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from typing_extensions import override

from llm_gateway.access import AUTHZ_MATRIX, Public, may
from llm_gateway.errors import MethodNotAllowedError, PermissionDeniedError
from llm_gateway.service import process
from llm_gateway.service.credentials import authenticate

_PARAMETER = re.compile(r"<(?:\w+:)?(\w+)>")


def route_of(request: Request) -> str:
    """Return the routed view's path as the matrix writes it: /api/v1/requests/{id}."""
    match = request.resolver_match
    return "/" + _PARAMETER.sub(r"{\1}", match.route) if match else ""


class Denied(BasePermission):
    """The default: a view that says nothing is closed."""

    @override
    def has_permission(self, request: Request, view: Any) -> bool:
        raise PermissionDeniedError("This endpoint is closed.")


class Open(BasePermission):
    """Anybody, where the matrix says so."""

    @override
    def has_permission(self, request: Request, view: Any) -> bool:
        row = AUTHZ_MATRIX.get(("http", str(request.method), route_of(request)))
        if not isinstance(row, Public):
            raise PermissionDeniedError("This endpoint is closed.")
        return True


class Keyed(BasePermission):
    """A key whose scopes fit the row of the matrix; the view is told who calls."""

    @override
    async def has_permission(self, request: Request, view: Any) -> bool:  # type: ignore[override] # adrf awaits it
        method, route = str(request.method), route_of(request)
        _check_method(method, route)
        http: dict[str, Any] = request.scope  # type: ignore[attr-defined] # of the ASGI request
        runtime = await process.opened()
        view.caller = await authenticate(runtime, http, dict(http["headers"]))
        if not may("http", method, route, view.caller.scopes):
            raise PermissionDeniedError("This key may not call this endpoint.")
        return True


def _check_method(method: str, route: str) -> None:
    known = [m for kind, m, path in AUTHZ_MATRIX if (kind, path) == ("http", route)]
    if known and method not in known:
        raise MethodNotAllowedError(f"Use {' or '.join(known)} for {route}.")
