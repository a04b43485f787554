"""Read what a request asks of something that a provider keeps: a path, and few words of a query."""

import re
from urllib.parse import parse_qsl, urlencode

from llm_gateway.errors import InvalidRequestError

BATCHES = "/v1/messages/batches/"
ROUTES = {
    f"{BATCHES}{{id}}": ("GET", "DELETE"),
    f"{BATCHES}{{id}}/cancel": ("POST",),
    f"{BATCHES}{{id}}/results": ("GET",),
    "/v1/batches": ("GET", "POST"),
    "/v1/batches/{id}": ("GET",),
    "/v1/batches/{id}/cancel": ("POST",),
    "/v1/files": ("GET", "POST"),
    "/v1/files/{id}": ("GET", "DELETE"),
    "/v1/files/{id}/content": ("GET",),
    "/v1/responses/{id}": ("GET", "DELETE"),
    "/v1/responses/{id}/cancel": ("POST",),
    "/v1/responses/{id}/input_items": ("GET",),
    "/v1/conversations": ("POST",),
    "/v1/conversations/{id}": ("GET", "POST", "DELETE"),
    "/v1/conversations/{id}/items": ("GET", "POST"),
    "/v1/conversations/{id}/items/{item}": ("GET", "DELETE"),
}
# What is asked of these themselves is no object that is kept already.
OPERATIONS = {
    ("GET", "/v1/batches"): "listed",
    ("GET", "/v1/files"): "listed",
    ("POST", "/v1/batches"): "batches",
    ("POST", "/v1/files"): "files",
}
_FILED = ("/v1/batches", "/v1/files")
_QUERY = frozenset({"after", "before", "include", "include[]", "limit", "order"})
_ID = r"[A-Za-z0-9_-]{1,128}"
_PATTERNS = {
    route: re.compile(route.replace("{id}", f"({_ID})").replace("{item}", _ID)) for route in ROUTES
}


def route_of(path: str) -> str | None:
    """Return the route of a path, None for one that is not about what is kept."""
    if not path.startswith(("/v1/responses/", "/v1/conversations", BATCHES, *_FILED)):
        return None
    return next((route for route, like in _PATTERNS.items() if like.fullmatch(path)), None)


def object_of(route: str, path: str) -> str | None:
    """Return the id of the object itself, None for one that is to be made."""
    found = _PATTERNS[route].fullmatch(path)
    return found[1] if found and found.re.groups else None


def adapter_of(route: str) -> str:
    """Return who speaks of what is kept under a route."""
    if route.startswith(_FILED):
        return "openai_batches"
    return "anthropic_batches" if route.startswith(BATCHES) else "openai_responses"


def operation_of(method: str, route: str) -> str:
    """Return what a request of a route is for."""
    return OPERATIONS.get((method, route), "kept")


def kind_of(route: str) -> str:
    """Return the kind of what is kept under a route, where there are several (`KeptObject`)."""
    if route.startswith("/v1/files"):
        return "file"
    return "batch" if route.startswith("/v1/batches") else ""


def words_of(query: bytes) -> dict[str, str]:
    """Return the words of a query. Raises InvalidRequestError for one that is there twice."""
    words = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    told = dict(words)
    if len(told) < len(words):
        raise InvalidRequestError("A word of the query is there twice.")
    return told


def upstream_path(path: str, query: bytes) -> str:
    """Return the path under a provider's base URL. Raises InvalidRequestError for another word."""
    words = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    for name, _ in words:
        if name not in _QUERY:
            raise InvalidRequestError(f"{name!r} cannot be asked for here.", param=name)
    # Of this provider the version stands in the path and not in the base URL.
    bare = path if path.startswith(BATCHES) else path.removeprefix("/v1")
    return f"{bare}?{urlencode(words)}" if words else bare
