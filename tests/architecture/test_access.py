"""The table of who may call what is the list of what is served, and nothing else."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.admin import site
from django.urls import URLPattern, URLResolver, get_resolver

from llm_gateway.access import AUTHZ_MATRIX, Key, Public, may
from llm_gateway.edge import tools
from llm_gateway.edge.app import ENDPOINTS
from llm_gateway.edge.health import Operations
from mobius import asgi
from mobius.celery import app
from mobius.console_site import OPEN_TO_ALL

Route = tuple[str, str, str]
CATCH_ALL = "/api/v1/{rest}"  # answers 404 as a problem; it serves nothing
CONSOLE: Route = ("http", "*", "/admin/")
STATIC: Route = ("http", "GET", "/static/")  # whitenoise, before any route
NEVER_OPEN = {"view_on_site"}  # Django's own: no row of ours has a page elsewhere
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
    """Yield what a view answers; a plain function is a page that is read, unless it says more."""
    cls = getattr(view, "view_class", None) or getattr(view, "cls", None)
    if cls is None:
        yield getattr(view, "answers", "GET")
        return
    for method in cls.http_method_names:
        if method not in {"head", "options"} and hasattr(cls, method):
            yield method.upper()


def console_actions() -> Iterator[Route]:
    """Yield what the console does beside showing and changing rows: by its URLs, and in bulk."""
    usual = {"changelist", "add", "autocomplete", "history", "delete", "change"}
    own = {url.name for url in site.get_urls() if isinstance(url, URLPattern) and url.name}
    for name in sorted(own - OPEN_TO_ALL - NEVER_OPEN):
        yield "action", "POST", name
    for model, pages in site._registry.items():
        stem = f"{model._meta.app_label}_{model._meta.model_name}"
        bulk = {f"{stem}_{action}" for action in pages.actions or ()}
        urls = {url.name for url in pages.get_urls() if url.name}
        for name in sorted((bulk | urls) - {f"{stem}_{page}" for page in usual}):
            yield "action", "POST", name


def tasks() -> Iterator[Route]:
    app.loader.import_default_modules()
    for name in app.tasks:
        if not name.startswith("celery."):
            yield "task", "-", name


def served() -> set[Route]:
    websockets = {("ws", "-", f"/{route.pattern}") for route in asgi.websocket.routes}
    data_plane = {("http", one.method, one.route) for one in ENDPOINTS.values()}
    operations = {("http", "GET", path) for path in Operations.PATHS}
    mcp = ("http", "POST", tools.PATH)
    routes = {*django_routes(), *websockets, *data_plane, *operations, mcp, STATIC}
    return {*routes, *console_actions(), *tasks()}


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
        # whoever is not signed in yet, or no longer wants to be
        *("/sign-in/", "/sign-in/code/", "/sign-in/out/", "/sign-in/sso/"),
        *("/sign-in/sso/callback/", "/sign-in/invitation/{uidb64}/{token}/"),
        *("/sign-in/forgotten/", "/sign-in/reset/{uidb64}/{token}/"),
    }
