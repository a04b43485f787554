"""The table of who may call what is the list of what is served, and nothing else."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.admin import site
from django.test import RequestFactory
from django.urls import URLPattern, URLResolver, get_resolver

from llm_gateway.access import AUTHZ_MATRIX, Key, Public, Staff, may
from llm_gateway.edge.app import ENDPOINTS
from llm_gateway.edge.health import Operations
from mobius import asgi

Route = tuple[str, str, str]
CATCH_ALL = "/api/v1/{rest}"  # answers 404 as a problem; it serves nothing
CONSOLE: Route = ("http", "*", "/admin/")
STATIC: Route = ("http", "GET", "/static/")  # whitenoise, before any route
_PARAMETER = re.compile(r"<(?:\w+:)?(\w+)>")


def django_routes() -> Iterator[Route]:
    yield from _below(get_resolver().url_patterns, "/")


def _below(patterns: list[Any], prefix: str) -> Iterator[Route]:
    for pattern in patterns:
        route = prefix + _PARAMETER.sub(r"{\1}", str(pattern.pattern))
        if isinstance(pattern, URLResolver) and route == "/admin/":
            yield CONSOLE
        elif isinstance(pattern, URLResolver):
            yield from _below(pattern.url_patterns, route)
        elif isinstance(pattern, URLPattern) and route != CATCH_ALL:
            for method in _methods(pattern.callback):
                yield "http", method, route


def _methods(view: Any) -> Iterator[str]:
    """Yield what a view answers; a plain function is a page that is read."""
    cls = getattr(view, "view_class", None) or getattr(view, "cls", None)
    if cls is None:
        yield "GET"
        return
    for method in cls.http_method_names:
        if method not in {"head", "options"} and hasattr(cls, method):
            yield method.upper()


def served() -> set[Route]:
    websockets = {("ws", "-", f"/{route.pattern}") for route in asgi.websocket.routes}
    data_plane = {("http", one.method, one.route) for one in ENDPOINTS.values()}
    operations = {("http", "GET", path) for path in Operations.PATHS}
    return {*django_routes(), *websockets, *data_plane, *operations, STATIC}


def test_every_served_route_is_listed_and_every_listed_one_served() -> None:
    assert served() == set(AUTHZ_MATRIX)


def test_what_is_not_listed_is_refused() -> None:
    everything = frozenset({"inference", "usage", "manage"})
    assert not may("http", "DELETE", "/v1/models", everything)
    assert not may("http", "POST", "/v1/unheard-of", everything)
    assert not may("http", "GET", "/admin/", everything)


@pytest.mark.parametrize("route", sorted(AUTHZ_MATRIX))
def test_a_key_without_scopes_may_call_what_is_public_alone(route: Route) -> None:
    assert may(*route, frozenset()) == isinstance(AUTHZ_MATRIX[route], Public)


@pytest.mark.parametrize("route", sorted(AUTHZ_MATRIX))
def test_a_scope_opens_its_own_routes_alone(route: Route) -> None:
    row = AUTHZ_MATRIX[route]
    if not isinstance(row, Key):
        return
    others = frozenset({"inference", "usage", "manage"}) - {row.scope}
    assert may(*route, frozenset({row.scope}))
    assert not may(*route, others)


def test_public_routes_are_these_few() -> None:
    public = {route for (_, _, route), who in AUTHZ_MATRIX.items() if isinstance(who, Public)}
    assert public == {
        *("/", "/static/", "/healthz", "/readyz", "/metrics"),
        *("/api/v1/schema", "/api/v1/docs"),
    }


def test_the_console_is_for_operators_alone(rf: RequestFactory) -> None:
    class Person:
        def __init__(self, active: bool, staff: bool, superuser: bool) -> None:
            self.is_active, self.is_staff, self.is_superuser = active, staff, superuser

    assert isinstance(AUTHZ_MATRIX[CONSOLE], Staff)
    request: Any = rf.get("/admin/")
    for person, admitted in (
        (Person(True, True, True), True),
        (Person(True, True, False), False),
        (Person(True, False, True), False),
        (Person(False, True, True), False),
    ):
        request.user = person
        assert site.has_permission(request) is admitted
