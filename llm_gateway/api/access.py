"""Let a request reach its view: by `AUTHZ_MATRIX` and the routed view, never by the raw path.

REST framework reads its default permission while it is being imported: no views of it here.
"""

import re
from typing import Any

from asgiref.sync import sync_to_async
from rest_framework.authentication import SessionAuthentication
from rest_framework.exceptions import PermissionDenied
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from typing_extensions import override

from llm_gateway.access import AUTHZ_MATRIX, Public, Staff, may, seated
from llm_gateway.errors import MethodNotAllowedError, PermissionDeniedError
from llm_gateway.service import process
from llm_gateway.service.credentials import authenticate
from llm_gateway.service.runtime import Runtime
from tenants.auth import brings_credential, load_caller_of_seat
from tenants.seats import CHOSEN, Seat, find_seat
from tenants.types import Caller

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
    """A key whose scopes fit the row of the matrix, or a session whose role does.

    The view is told who calls.
    """

    @override
    async def has_permission(self, request: Request, view: Any) -> bool:  # type: ignore[override] # adrf awaits it
        method, route = str(request.method), route_of(request)
        _check_method(method, route)
        http: dict[str, Any] = request.scope  # type: ignore[attr-defined] # of the ASGI request
        runtime, headers = await process.opened(), dict(http["headers"])
        seat = None if brings_credential(headers) else await _seat(request)
        if seat is not None:
            view.caller = await _seated_caller(runtime, request, seat, method, route)
            return True
        view.caller = await authenticate(runtime, http, headers)
        if not may("http", method, route, view.caller.scopes):
            raise PermissionDeniedError("This key may not call this endpoint.")
        return True


async def _seat(request: Request) -> Seat | None:
    # Not by `request.user`, where REST framework has put its own idea of nobody.
    user = await request.auser()  # of Django's request
    return await sync_to_async(find_seat)(user, request.session.get(CHOSEN))


async def _seated_caller(
    runtime: Runtime, request: Request, seat: Seat, method: str, route: str
) -> Caller:
    """Return whom a session speaks for. Raises PermissionDeniedError."""
    if not seated("http", method, route, seat.role, operator=seat.operator):
        raise PermissionDeniedError("Your role may not call this endpoint.")
    _check_meant(request, method)
    caller = await runtime.reader.read(lambda: load_caller_of_seat(seat))
    if caller is None:
        raise PermissionDeniedError(
            "Operators have no tenant of their own: use a key, or the console."
        )
    return caller


def _check_meant(request: Request, method: str) -> None:
    """Raise PermissionDeniedError for a change that no page of ours asked for.

    A session's cookie comes along with whatever page asks.
    """
    if method not in {"GET", "HEAD"}:
        try:
            SessionAuthentication().enforce_csrf(request)
        except PermissionDenied as forged:
            raise PermissionDeniedError(str(forged.detail)) from None


class Operators(BasePermission):
    """Who is signed in to the console, where the matrix says so; the view is told who it is."""

    @override
    async def has_permission(self, request: Request, view: Any) -> bool:  # type: ignore[override] # adrf awaits it
        method, route = str(request.method), route_of(request)
        _check_method(method, route)
        http: dict[str, Any] = request.scope  # type: ignore[attr-defined] # of the ASGI request
        # What brings a key is not asked for a second factor (`mobius.guard`): it is no session.
        seat = None if brings_credential(dict(http["headers"])) else await _seat(request)
        admitted = seat is not None and isinstance(AUTHZ_MATRIX.get(("http", method, route)), Staff)
        if (
            seat is None
            or not admitted
            or not seated("http", method, route, None, operator=seat.operator)
        ):
            raise PermissionDeniedError("This endpoint is for operators signed in to the console.")
        _check_meant(request, method)
        view.operator = seat.person
        return True


def _check_method(method: str, route: str) -> None:
    known = [m for kind, m, path in AUTHZ_MATRIX if (kind, path) == ("http", route)]
    if known and method not in known:
        raise MethodNotAllowedError(f"Use {' or '.join(known)} for {route}.")
