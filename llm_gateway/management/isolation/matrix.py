"""Make the requests that ask one tenant for what another has: from the table of who may call what.

A route that nobody can fill in an id or a body for is an error, not a gap.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal
from urllib.parse import quote, urlencode

from django.contrib.admin import site
from django.urls import reverse
from msgspec import Struct

from llm_gateway.access import AUTHZ_MATRIX, Public, SignedIn, Who
from llm_gateway.management.isolation.tenancy import Town

Ids = Mapping[str, str]
Json = dict[str, Any]
Position = Literal["path", "query", "body", "header", "message", "page"]

CONSOLE, SOCKET, TOOLS = "/admin/", "/ws/v1/llm", "/mcp"
# What is the same for everybody: files, what describes the API, how the process is.
SAME_FOR_ALL = {"/static/", "/api/v1/schema", "/api/v1/docs", "/healthz", "/readyz"}
_PARAMETER = re.compile(r"\{\w+\}")
_REFERENCE = re.compile(r'"\{([a-z ]+)\}"')


class UnlistedError(Exception):
    """There is a route with a place for an id, or for a body, that is not known here."""


class Question(Struct, frozen=True, kw_only=True):
    """One request for another tenant's; `sent` are the ids in it.

    `twin` is the path with ids that nothing is called by, which are `absent`: it has to be
    answered alike.
    """

    method: str
    route: str
    path: str
    position: Position
    sent: tuple[str, ...]
    headers: Mapping[str, str] = {}
    body: str | None = None
    twin: str | None = None
    absent: tuple[str, ...] = ()


# Queries that some list or report might be narrowed by, with whose id; what no list knows is asked
# at once.
QUERIES: tuple[Mapping[str, str], ...] = (
    {"tenant": "tenant name", "tenant_id": "tenant", "project": "projects", "key_id": "keys"},
    {"model": "models"},
    {"provider": "provider name"},
    {"cursor": "requests"},
    {"after": "files"},
)
# Headers that some other gateway would believe; the first is one of ours.
HEADERS = {
    "x-mobius-provider": "provider name",
    "x-mobius-run": "requests",
    "x-mobius-tenant": "tenant name",
    "x-tenant-id": "tenant",
    "x-remote-user": "email",
    "x-forwarded-user": "email",
}

_MESSAGES = [{"role": "user", "content": "hi"}]
_CHAT: Json = {"model": "{models}", "max_tokens": 8, "messages": _MESSAGES}
_EMBED: Json = {"model": "{models}", "input": ["hi"]}
_GEMINI: Json = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
_SEVERAL: Json = {"models": ["{models}", "{near models}"], "messages": _MESSAGES}
_RESPONSE: Json = {"model": "{models}", "input": "hi"}
_TOOL: Json = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}

# What is said to a route, with the other tenant's things where `{…}` names one; `{own model}` is
# the asker's. Routes that take no body have none.
BODIES: Mapping[tuple[str, str], tuple[Json, ...]] = {
    ("POST", "/v1/chat/completions"): (_CHAT, _CHAT | {"model": "{near models}"}),
    ("POST", "/v1/completions"): ({"model": "{models}", "prompt": "hi"},),
    ("POST", "/v1/responses"): (
        _RESPONSE,
        _RESPONSE | {"model": "{own model}", "previous_response_id": "{responses}"},
        _RESPONSE | {"model": "{own model}", "conversation": "{responses}"},
    ),
    ("POST", "/v1/responses/{id}/cancel"): (),
    ("POST", "/v1/conversations"): (),
    ("POST", "/v1/conversations/{id}"): ({"metadata": {}},),
    ("POST", "/v1/conversations/{id}/items"): ({"items": []},),
    ("POST", "/v1/files"): (),
    ("POST", "/v1/batches"): (
        {
            "input_file_id": "{files}",
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
        },
    ),
    ("POST", "/v1/batches/{id}/cancel"): (),
    ("POST", "/v1/embeddings"): (_EMBED,),
    ("POST", "/v1/moderations"): ({"model": "{models}", "input": "hi"},),
    ("POST", "/v1/rerank"): ({"model": "{models}", "query": "hi", "documents": ["hi"]},),
    ("POST", "/v1/messages"): (_CHAT,),
    ("POST", "/v1/messages/count_tokens"): (_CHAT,),
    ("POST", "/v1/messages/batches"): ({"requests": [{"custom_id": "a", "params": _CHAT}]},),
    ("POST", "/v1/messages/batches/{id}/cancel"): (),
    **{
        ("POST", f"/{version}/models/{{model}}:{name}"): (body,)
        for version in ("v1", "v1beta")
        for name, body in (
            ("generateContent", _GEMINI),
            ("streamGenerateContent", _GEMINI),
            ("countTokens", _GEMINI),
            ("embedContent", {"content": {"parts": [{"text": "hi"}]}}),
            ("batchEmbedContents", {"requests": [{"content": {"parts": [{"text": "hi"}]}}]}),
        )
    },
    ("POST", "/api/v1/llm/complete"): (
        _CHAT,
        {"model": "{own model}", "messages": _MESSAGES, "conversation": "{conversations}"},
        {"model": "{own model}", "prompt_template": {"name": "{prompts}"}},
    ),
    ("POST", "/api/v1/llm/stream"): (_CHAT,),
    ("POST", "/api/v1/llm/race"): (_SEVERAL,),
    ("POST", "/api/v1/llm/parallel"): (_SEVERAL,),
    ("POST", "/api/v1/llm/embed"): ({"model": "{models}", "texts": ["hi"]},),
    ("POST", "/api/v1/llm/count_tokens"): ({"model": "{models}", "messages": _MESSAGES},),
    ("POST", "/api/v1/llm/optimize_prompt"): (
        {"model": "{models}", "prompt": "hi there", "target_tokens": 1},
    ),
    ("POST", "/api/v1/llm/explain"): (_CHAT, _CHAT | {"model": "{near models}"}),
    ("POST", "/api/v1/prompts"): ({"name": "x", "messages": _MESSAGES, "tenant": "{tenant name}"},),
    ("PUT", "/api/v1/prompts/{name}"): ({"messages": _MESSAGES},),
    ("POST", "/api/v1/conversations"): ({"title": "x", "tenant": "{tenant name}"},),
    ("PATCH", "/api/v1/conversations/{id}"): ({"title": "x"},),
    ("POST", "/api/v1/keys"): (
        {"name": "x", "project": "{projects}"},
        {"name": "x", "project": "{near projects}"},
        {"name": "x", "tenant": "{tenant name}"},
    ),
    ("POST", "/api/v1/keys/{name}/rotate"): (),
    ("POST", "/api/v1/projects"): ({"name": "x", "tenant": "{tenant name}"},),
    ("POST", "/api/v1/members"): ({"email": "x@example.test", "tenant": "{tenant name}"},),
    ("POST", "/api/v1/budgets"): (
        {"name": "x", "limit": "1", "project": "{projects}"},
        {"name": "x", "limit": "1", "key": "{key name}"},
        {"name": "x", "limit": "1", "key": "{own key}", "model": "{models}"},
        {"name": "x", "limit": "1", "key": "{own key}", "model": "{near models}"},
    ),
    ("POST", "/api/v1/limits"): (
        {"concurrency": 1, "project": "{projects}"},
        {"concurrency": 1, "key": "{key name}"},
    ),
    ("PATCH", "/api/v1/keys/{name}"): ({"name": "x"},),
    ("PATCH", "/api/v1/projects/{name}"): ({"name": "x"},),
    ("PATCH", "/api/v1/members/{name}"): ({"role": "viewer"},),
    ("PATCH", "/api/v1/budgets/{name}"): ({"limit": "2"},),
    ("PATCH", "/api/v1/limits/{name}"): ({"concurrency": 2},),
    ("POST", "/api/v1/guardrails"): (
        {"name": "x", "kind": "secrets", "tenant": "{tenant name}"},
        {"name": "x", "kind": "secrets", "tenant_id": "{tenant}"},
    ),
    ("PATCH", "/api/v1/guardrails/{name}"): ({"action": "redact"},),
    ("POST", "/api/v1/providers"): (
        {"name": "x", "kind": "mock", "tenant": "{tenant name}"},
        {"name": "x", "kind": "mock", "tenant_id": "{tenant}"},
    ),
    ("PATCH", "/api/v1/providers/{name}"): ({"base_url": "https://example.test"},),
    ("POST", "/api/v1/circuits/{deployment}"): ({"action": "force_open"},),
    # What is read comes first: later its own log names what it asked for.
    ("POST", TOOLS): (
        _TOOL | {"params": {"name": "list_models", "arguments": {}}},
        _TOOL | {"params": {"name": "usage", "arguments": {}}},
        _TOOL
        | {"params": {"name": "complete", "arguments": {"prompt": "hi", "model": "{models}"}}},
        _TOOL | {"params": {"name": "embed", "arguments": {"texts": ["hi"], "model": "{models}"}}},
    ),
    ("POST", "/portal/tenant/"): ({"tenant": "{tenant}"},),
    ("POST", "/portal/advice/follow/"): (
        {"kind": "cache_answers", "tenant": "{tenant}"},
        {"kind": "unused_key", "subject": "{key name}", "tenant": "{tenant name}"},
        {"event": "{tenant}", "tenant": "{tenant name}"},
    ),
    ("POST", "/portal/raises/"): (
        {"budget": "{budgets}", "amount": "1", "until": "2099-01-01T00:00", "reason": "x"},
    ),
    ("POST", "/portal/keys/{name}/renew/"): ({},),
    ("POST", "/sign-in/invitation/{uidb64}/{token}/"): ({},),
    ("POST", "/sign-in/reset/{uidb64}/{token}/"): ({},),
}
_FORM = "application/x-www-form-urlencoded"
_FORMS = ("/portal/", "/sign-in/")
_TAKES_BODY = {"POST", "PUT", "PATCH"}


def questions(theirs: Town, own: Town, nobody: Ids) -> Iterator[Question]:
    """Yield every request for what is theirs, in every place that an id has.

    Raises UnlistedError.
    """
    ids = {**theirs.ids, **{f"near {name}": value[:-1] for name, value in theirs.ids.items()}}
    ids |= {"own model": own.ids["models"], "own key": own.ids["key name"]}
    for (kind, method, route), who in sorted(AUTHZ_MATRIX.items(), key=lambda row: row[0]):
        if kind == "http" and route == CONSOLE:
            yield from _pages(theirs)
        elif kind == "http" and route not in SAME_FOR_ALL:
            yield from _of(method, route, who, ids, nobody)
        elif kind == "ws":
            yield Question(
                method="-",
                route=route,
                path=route,
                position="message",
                sent=(ids["models"], ids["keys"]),
                body=json.dumps(filled(_CHAT, ids)),
                headers={"key_id": ids["keys"]},
            )


def _of(method: str, route: str, who: Who, ids: Ids, nobody: Ids) -> Iterator[Question]:
    placed = tuple(_PARAMETER.finditer(route))
    # What anybody may call about nobody, or about themselves alone, has no place for an id.
    if isinstance(who, Public | SignedIn) and method != "GET" and not placed:
        return
    bodies = bodies_of(method, route)
    if placed:
        yield from _by_path(method, route, bodies, ids, nobody)
        return
    for body in bodies:
        told = filled(body, ids)
        yield Question(
            method=method,
            route=route,
            path=route,
            position="body",
            sent=tuple(ids[name] for name in named_in(body)),
            **_said(route, told),
        )
    if method == "GET":
        # About nobody, or about themselves alone, there is no list to narrow.
        for query in QUERIES[:1] if isinstance(who, Public | SignedIn) else QUERIES:
            given = {word: ids[name] for word, name in query.items()}
            yield Question(
                method=method,
                route=route,
                path=f"{route}?{urlencode(given)}",
                position="query",
                sent=tuple(given.values()),
            )
        headers = {header: ids[name] for header, name in HEADERS.items()}
        yield Question(
            method=method,
            route=route,
            path=route,
            position="header",
            sent=tuple(headers.values()),
            headers=headers,
        )


def _by_path(
    method: str, route: str, bodies: tuple[Json, ...], ids: Ids, nobody: Ids
) -> Iterator[Question]:
    for body in bodies or (None,):
        yield Question(
            method=method,
            route=route,
            path=path_of(route, ids),
            position="path",
            sent=tuple(ids[name] for name in _names(route)),
            twin=path_of(route, nobody),
            absent=tuple(nobody[name] for name in _names(route)),
            **({} if body is None else _said(route, body)),
        )


def bodies_of(method: str, route: str) -> tuple[Json, ...]:
    """Return what is said to a route, nothing where it takes nothing. Raises UnlistedError."""
    if method not in _TAKES_BODY:
        return ()
    if (method, route) not in BODIES:
        raise UnlistedError(f"{method} {route}: nobody has said what is sent there")
    return BODIES[method, route]


def path_of(route: str, ids: Ids) -> str:
    """Return the path of a route with ids in it. Raises UnlistedError."""
    names = iter(_names(route))
    try:
        return _PARAMETER.sub(lambda _: quote(ids[next(names)], safe=""), route)
    except KeyError as error:
        raise UnlistedError(f"{route}: nothing is known to stand after {error}") from None


def _names(route: str) -> list[str]:
    """Return what each parameter of a route is an id of: the part of the path before it."""
    return [
        route[: found.start()].rstrip("/").rpartition("/")[2]
        for found in _PARAMETER.finditer(route)
    ]


def _said(route: str, body: Json) -> dict[str, Any]:
    if route.startswith(_FORMS):
        return {"body": urlencode(body), "headers": {"content-type": _FORM}}
    headers = {"content-type": "application/json"}
    if route == TOOLS:
        headers["accept"] = "application/json, text/event-stream"
    return {"body": json.dumps(body), "headers": headers}


def filled(body: Json, ids: Ids) -> Json:
    """Return a body with ids where it names them."""
    text = _REFERENCE.sub(lambda found: json.dumps(ids[found[1]]), json.dumps(body))
    told: Json = json.loads(text)
    return told


def named_in(body: Json) -> list[str]:
    return [name for name in _REFERENCE.findall(json.dumps(body)) if not name.startswith("own ")]


def _pages(theirs: Town) -> Iterator[Question]:
    """Yield what the console shows of another tenant's rows."""
    for model in site._registry:  # noqa: SLF001 - the list of its pages
        stem = f"admin:{model._meta.app_label}_{model._meta.model_name}"  # noqa: SLF001 - likewise
        tenant, row = theirs.ids["tenant"], theirs.pages.get(model.__name__)
        yield _page("GET", f"{reverse(f'{stem}_changelist')}?tenant={tenant}", tenant)
        if row is not None:
            yield _page("GET", reverse(f"{stem}_change", args=[row]), str(row))
            yield _page("POST", reverse(f"{stem}_delete", args=[row]), str(row))
    for page in ("money", "money-advice"):
        for name in ("tenant", "tenant name"):
            asked = f"{reverse(f'admin:{page}')}?tenant={theirs.ids[name]}"
            yield _page("GET", asked, theirs.ids[name], **{"hx-request": "true"})


def _page(method: str, path: str, sent: str, **headers: str) -> Question:
    return Question(
        method=method,
        route=CONSOLE,
        path=path,
        position="page",
        sent=(sent,),
        body="post=yes" if method == "POST" else None,
        headers={"content-type": _FORM, **headers},
    )
