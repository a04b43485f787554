"""Decide who may call what: one table that the code and the tests both read; no row means no.

Keys of the table are (kind, method, route); routes are written as they are routed.
"""

from typing import Literal

from msgspec import Struct

KeyScope = Literal["inference", "usage", "manage"]


class Public(Struct, frozen=True):
    """Anybody: no data of a tenant behind it."""


class Key(Struct, frozen=True):
    """An api key with this scope."""

    scope: KeyScope


class Staff(Struct, frozen=True):
    """A signed-in operator of the whole installation."""


Who = Public | Key | Staff

INFERENCE, USAGE = Key("inference"), Key("usage")

AUTHZ_MATRIX: dict[tuple[str, str, str], Who] = {
    ("http", "POST", "/v1/chat/completions"): INFERENCE,
    ("http", "POST", "/v1/embeddings"): INFERENCE,
    ("http", "POST", "/v1/messages"): INFERENCE,
    ("http", "POST", "/v1/messages/count_tokens"): INFERENCE,
    ("http", "GET", "/v1/models"): INFERENCE,
    ("http", "GET", "/v1/models/{id}"): INFERENCE,
    ("ws", "-", "/ws/v1/llm"): INFERENCE,
    ("http", "POST", "/api/v1/llm/complete"): INFERENCE,
    ("http", "POST", "/api/v1/llm/stream"): INFERENCE,
    ("http", "POST", "/api/v1/llm/embed"): INFERENCE,
    ("http", "GET", "/api/v1/llm/models"): INFERENCE,
    ("http", "GET", "/api/v1/llm/metrics"): USAGE,
    ("http", "GET", "/api/v1/me"): USAGE,
    ("http", "GET", "/api/v1/usage"): USAGE,
    ("http", "GET", "/api/v1/usage.csv"): USAGE,
    ("http", "GET", "/api/v1/usage.focus.csv"): USAGE,
    ("http", "GET", "/api/v1/forecast"): USAGE,
    ("http", "GET", "/api/v1/recommendations"): USAGE,
    ("http", "GET", "/api/v1/requests"): USAGE,
    ("http", "GET", "/api/v1/requests/{id}"): USAGE,
    ("http", "GET", "/api/v1/schema"): Public(),
    ("http", "GET", "/api/v1/docs"): Public(),
    ("http", "GET", "/healthz"): Public(),
    ("http", "GET", "/readyz"): Public(),
    ("http", "GET", "/metrics"): Public(),
    ("http", "GET", "/"): Public(),
    ("http", "*", "/admin/"): Staff(),
    ("http", "GET", "/static/"): Public(),
}


def may(kind: str, method: str, route: str, scopes: frozenset[str]) -> bool:
    """Say whether a key with these scopes may call a route; what is not listed is refused."""
    match AUTHZ_MATRIX.get((kind, method, route)):
        case Public():
            return True
        case Key(scope):
            return scope in scopes
        case _:
            return False
