"""Nobody makes themselves more: every field, role and endpoint of API and console.

Fields, pages and actions are read from the registries: one that nobody listed is red. Each attempt
is one that its caller may not make; afterwards no row of any table may be another.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import pytest
from django.contrib.admin import site as console
from django.urls import NoReverseMatch, reverse
from msgspec import structs

from llm_gateway.access import AUTHZ_MATRIX, Staff
from llm_gateway.configuration.kinds import KINDS
from tenants.models import Budget
from tenants.rights import FIELD_MATRIX, ROLES, ROW_MATRIX, Role, field_of, reaches, rows_of
from tests.harness.books import Books
from tests.harness.canary import canary
from tests.harness.config import budget, configuration, key, openai_provider, tenant
from tests.harness.database import SqliteDatabases
from tests.harness.gateway import GatewayProcess, installed
from tests.harness.people import Browser, make_members, make_operator, operator_of
from tests.integration.typed import Form
from tests.legs import Figure
from tests.upstream.client import Upstream

pytestmark = pytest.mark.promise("S5")

Body = dict[str, Any]
SCOPES = ["inference", "manage", "usage"]  # as a form saves them
FULL, PART = canary("api-key-boss"), canary("api-key-part")
HELD, NARROW = canary("api-key-held"), canary("api-key-narrow")
KEYS = {"full": FULL, "part": PART, "held": HELD, "narrow": NARROW}
TOKEN = "t" * 32
# Who may change nothing by the API.
SHUT_OUT = {"viewer", "member", "narrow"}

# What each field of the API would be for somebody who wants more. One that is missing is red.
MORE: Mapping[str, Body] = {
    "keys": {
        "name": "more",
        "project": "chat",
        "models": None,
        "scopes": SCOPES,
        "expires": "2099-01-01T00:00:00Z",
    },
    "projects": {"name": "more"},
    "members": {"email": "more@acme.test", "role": "owner"},
    "budgets": {
        "name": "more",
        "limit": "99",
        "period": "year",
        "soft": [0.1],
        "hard": False,
        "mode": "clamp",
        "model": "beta",
        "per": "user",
        "project": "chat",
        "key": "boss",
    },
    "limits": {
        "requests_per_minute": 9999,
        "tokens_per_minute": 9999,
        "concurrency": 9999,
        "project": "chat",
        "key": "boss",
    },
    "guardrails": {
        "name": "more",
        "kind": "words",
        "action": "flag",
        "on": "answer",
        "entities": ["card"],
        "patterns": ["more"],
        "words": ["more"],
    },
    "providers": {
        "name": "more",
        "kind": "mock",
        "base_url": "https://more.test",
        "key": "x" * 20,
        "enabled": False,
        "timeouts": {},
        "max_concurrent_requests": 9,
        "on_disconnect": "finish",
        "retry": {},
        "circuit_breaker": {},
        "health_check": {},
        "options": {"allow_private_network": True},
    },
}
# What says for itself whose it is, when made by who may make some.
BEYOND: Mapping[str, tuple[Body, ...]] = {
    "keys": (),
    "projects": (),
    "members": tuple({"email": "x@acme.test", "role": role} for role in ("owner", "admin")),
    "budgets": ({"name": "whole-too", "limit": "99"},),
    "limits": ({"concurrency": 99},),
    "guardrails": (),
    "providers": ({"name": "near", "kind": "mock", "options": {"allow_private_network": True}},),
}
OWNED = ("Budget", "RateLimit", "Guardrail", "Project", "Member", "ApiKey")
# Fields of rows that a role may make or change, and that are for operators all the same.
OPERATORS = {
    *((model, "tenant") for model in OWNED),
    *((model, "id") for model in (*OWNED, "Tenant")),
    *(("Member", "user"), ("ApiKey", "revoked_at")),
}
# What is written by whatever is asked, and gives nobody anything.
VOLATILE = {
    *("django_session", "tenants_auditevent", "tenants_signinattempt", "tenants_configversion"),
    *("llm_gateway_configurationstate", "llm_gateway_runningnow", "llm_gateway_requestlog"),
    *("llm_gateway_usagehour", "ledger_check", "ledger_writer", "sqlite_sequence"),
    "django_admin_log",  # that a form was saved, also where nothing is another by it
}
# What the actions are sent, each of which reads its own of it.
WANTED: Body = {"post": "yes", "password1": "x" * 20, "kind": "cache_answers"}
TIMES = {"updated_at", "last_used_at", "last_login"}


class Try(NamedTuple):
    """One attempt; a `form` is sent as a browser sends it."""

    who: str
    method: str
    path: str
    body: Body | None = None
    form: bool = False


@pytest.fixture(scope="module")
def installation(
    sqlite_databases: SqliteDatabases,
    upstream_process: Upstream,
    tmp_path_factory: pytest.TempPathFactory,
    output: Path,
) -> Iterator[GatewayProcess]:
    projects = [{"name": name, "budgets": [budget("1", name="own")]} for name in ("search", "chat")]
    acme = tenant(
        budgets=[budget("9", name="whole")],
        rate_limits={"concurrency": 50},
        guardrails=[{"kind": "secrets", "action": "flag"}],
        projects=projects,
        members=[{"email": f"{role}@acme.test", "role": role} for role in ROLES],
        providers=[openai_provider(upstream_process.base_url, "inside")],
        keys=[
            key("boss", FULL, scopes=SCOPES),
            key("part", PART, scopes=["inference", "manage"], project="search"),
            key("held", HELD, scopes=SCOPES, models=["alpha"]),
            key("narrow", NARROW, scopes=["inference", "usage"]),
        ],
    )
    with installed(sqlite_databases, tmp_path_factory.mktemp("home"), output) as gateway:
        gateway.apply(configuration(upstream_process.base_url, tenants=[acme, tenant("globex")]))
        make_operator(gateway)
        make_members(gateway)
        yield gateway


@pytest.fixture
def gateway(installation: GatewayProcess) -> GatewayProcess:
    return installation if installation.serving else installation.serve()


@pytest.fixture(scope="module")
def cookies(installation: GatewayProcess) -> dict[str, str]:
    """Return the sessions of everybody who signs in."""
    gateway = installation if installation.serving else installation.serve()
    found = {"operator": operator_of(gateway).session or ""}
    for role in ROLES:
        browser = Browser(gateway.url)
        assert browser.password(f"{role}@acme.test").status_code == 302
        found[role] = browser.session or ""
        browser.client.close()
    return found


class Doors:
    """Everybody's way in, over one connection."""

    def __init__(self, gateway: GatewayProcess, cookies: Mapping[str, str]) -> None:
        self._client = httpx2.Client(base_url=gateway.url, timeout=20, verify=False)
        self._cookies = cookies

    def ask(self, one: Try) -> httpx2.Response:
        headers = self._headers(one.who)
        if one.form:
            return self._client.request(one.method, one.path, headers=headers, data=one.body)
        return self._client.request(one.method, one.path, headers=headers, json=one.body)

    def form(self, who: str, path: str) -> Form | None:
        """Return the form of a page, None for who gets none."""
        answer = self.ask(Try(who, "GET", path))
        found = Form(answer.text) if answer.status_code == 200 else None
        return found if found is not None and found.sent else None

    def _headers(self, who: str) -> dict[str, str]:
        if who in KEYS:
            return {"authorization": f"Bearer {KEYS[who]}"}
        cookie = f"sessionid={self._cookies[who]}; csrftoken={TOKEN}"
        return {"cookie": cookie, "x-csrftoken": TOKEN}


def stored(gateway: GatewayProcess) -> dict[str, list[str]]:
    """Return every row that says what somebody may do, or have."""
    books = Books(gateway)
    return {
        table: sorted(
            json.dumps({n: v for n, v in row.items() if n not in TIMES}, default=str)
            for row in books.rows(table)
        )
        for table in books.tables()
        if table not in VOLATILE
    }


def promoted(gateway: GatewayProcess, doors: Doors, tries: list[Try]) -> list[str]:
    """Make the attempts; return each that was taken, and each row that is another afterwards."""
    before = stored(gateway)
    told = [(one, doors.ask(one)) for one in tries]
    found = [f"{one}: {answer.status_code}" for one, answer in told if answer.is_server_error]
    after = stored(gateway)
    for table, rows in before.items():
        found += [f"{table}: {row}" for row in set(rows) ^ set(after[table])]
    return found


# --- the API ---------------------------------------------------------------------------------


def rows_by_kind(gateway: GatewayProcess) -> dict[str, list[dict[str, Any]]]:
    """Return what acme has of each kind, with the name that each has in a path."""
    books = Books(gateway)
    acme = next(row["id"] for row in books.rows("tenants_tenant") if row["name"] == "acme")
    found = {}
    for name, kind in KINDS.items():
        rows = books.rows(kind.model._meta.db_table)
        field = "id" if kind.field == "pk" else kind.field
        found[name] = [
            row | {"place": f"/api/v1/{name}/{row[field]}"}
            for row in rows
            if row["tenant_id"] == acme
        ]
    return found


def is_shut(who: str, kind: str, row: Mapping[str, Any], search: int) -> bool:
    """Say whether nothing of this row is this caller's to change by the API."""
    if who in SHUT_OUT:
        return True
    if kind == "members":
        return who == "part" or row["role"] in {"owner", "admin"}
    if kind in {"budgets", "limits"}:
        whole = row["project_id"] is None and row["api_key_id"] is None
        return whole or (who == "part" and row["project_id"] != search)
    if who == "part":
        return kind != "keys" or row["project_id"] != search
    return who == "held" and kind == "keys" and row["name"] != "held"


def asked_of_the_api(gateway: GatewayProcess) -> Iterator[Try]:
    known = rows_by_kind(gateway)
    search = next(row["id"] for row in known["projects"] if row["name"] == "search")
    for who, kind in product((*KEYS, *ROLES), known):
        yield from _made(who, kind)
        yield from _smuggled(who, kind, known[kind][0]["place"])
        for row in known[kind]:
            if is_shut(who, kind, row, search):
                yield from _changed(who, kind, row["place"])


def _changed(who: str, kind: str, place: str) -> Iterator[Try]:
    for field, value in MORE[kind].items():
        if who == "held" and field == "models":
            continue  # what it has itself it may take from others
        yield Try(who, "PATCH", place, {field: value})
    if who != "held" or kind != "keys":
        yield Try(who, "DELETE", place)
        if kind == "keys":
            yield Try(who, "POST", f"{place}/rotate", {})


def _made(who: str, kind: str) -> Iterator[Try]:
    place = f"/api/v1/{kind}"
    if who in SHUT_OUT:
        yield from (Try(who, "POST", place, {field: value}) for field, value in MORE[kind].items())
        yield Try(who, "POST", place, MORE[kind])
    elif not (who == "part" and kind in {"budgets", "limits"}):  # its own project is meant
        yield from (Try(who, "POST", place, body) for body in BEYOND[kind])
    if who == "part" and kind == "keys":
        yield Try(who, "POST", place, {"name": "x", "scopes": SCOPES})
        yield Try(who, "POST", place, {"name": "x", "scopes": ["inference"], "project": "chat"})
    if who == "held" and kind == "keys":
        yield from (Try(who, "POST", place, {"name": "x", "models": m}) for m in (None, ["beta"]))


def _smuggled(who: str, kind: str, place: str) -> Iterator[Try]:
    """Yield every column that the API has no word for; one try where nobody gets that far."""
    columns = KINDS[kind].model._meta.concrete_fields
    names = {name for one in columns for name in (one.name, one.attname)} - set(MORE[kind])
    yield Try(who, "PATCH", place, dict.fromkeys(sorted(names), 1))
    if who not in SHUT_OUT:
        yield from (Try(who, "PATCH", place, {name: 1}) for name in sorted(names))


def test_the_api_makes_nobody_more(
    gateway: GatewayProcess, cookies: dict[str, str], figure: Figure
) -> None:
    tries = list(asked_of_the_api(gateway))
    found = promoted(gateway, Doors(gateway, cookies), tries)
    figure(f"unauthorised changes by the API, of {len(tries)}", len(found), "0")
    assert found == []


def test_every_field_of_the_api_has_its_attempt() -> None:
    for name, kind in KINDS.items():
        assert {field.encode_name for field in structs.fields(kind.shape)} == set(MORE[name]), name


# --- the console -----------------------------------------------------------------------------


def asked_of_the_console(
    gateway: GatewayProcess, doors: Doors, models: Iterable[Any]
) -> Iterator[Try]:
    """Yield for each page of each model what a role may not send it, and every field with it."""
    books = Books(gateway)
    for model in models:
        name, meta = model.__name__, model._meta
        stem = f"admin:{meta.app_label}_{meta.model_name}"
        # Of what nobody changes one row says it all.
        keys = [row[meta.pk.column] for row in books.rows(meta.db_table)]
        keys = keys[-4:] if rows_of(name).change else keys[-1:]
        everything = _filled(doors, f"{stem}_add")
        for role in ROLES:
            if not reaches(role, rows_of(name).make):
                yield Try(role, "POST", reverse(f"{stem}_add"), everything, form=True)
            yield from _in_bulk(role, model, reverse(f"{stem}_changelist"), keys)
        for role, pk in product(ROLES, keys):
            yield from _beyond(doors, role, model, reverse(f"{stem}_change", args=[pk]), books)
            if not reaches(role, rows_of(name).remove):
                path = reverse(f"{stem}_delete", args=[pk])
                yield Try(role, "POST", path, {"post": "yes"}, form=True)


def _filled(doors: Doors, name: str) -> Body:
    """Return what an operator's empty form sends, with something in every field."""
    form = doors.form("operator", reverse(name))
    sent = {} if form is None else {n: v or ["more"] for n, v in form.sent.items()}
    offered = {} if form is None else {n: v[-1:] for n, v in form.offered.items()}
    return {**{n: v if v != [""] else ["more"] for n, v in sent.items()}, **offered}


def _beyond(doors: Doors, role: Role, model: Any, path: str, books: Books) -> Iterator[Try]:
    """Yield a role's own form as it is, with each field that is not the role's to write."""
    reach = reaches(role, rows_of(model.__name__).change)
    own = doors.form(role, path) if reach else None
    more = {
        field.name: _another(field, books)
        for field in model._meta.concrete_fields
        if own is None or not reaches(role, field_of(model.__name__, field.name).write)
    }
    more |= {"_method": "PUT", "is_superuser": "on"}
    sent: Body = {} if own is None else {n: v for n, v in own.sent.items() if n not in more}
    yield Try(role, "POST", path, {**sent, **more}, form=True)
    if own is not None:
        for field, value in more.items():
            yield Try(role, "POST", path, {**own.sent, field: value}, form=True)


def _another(field: Any, books: Books) -> Any:
    """Return what a column might hold instead."""
    if field.related_model is not None:
        rows = books.rows(field.related_model._meta.db_table)
        return [row["id"] for row in rows][-1:]
    return field.choices[-1][0] if field.choices else "7"


def _in_bulk(role: Role, model: Any, path: str, keys: list[Any]) -> Iterator[Try]:
    meta = model._meta
    for action in ("delete_selected", *(console._registry[model].actions or ())):
        row = AUTHZ_MATRIX.get(("action", "POST", f"{meta.app_label}_{meta.model_name}_{action}"))
        least = row.role if isinstance(row, Staff) else None
        if reaches(role, rows_of(model.__name__).remove if action == "delete_selected" else least):
            continue
        body = {"action": str(action), "_selected_action": keys, "post": "yes", "index": "0"}
        yield Try(role, "POST", path, body, form=True)


def acted_in_the_console(books: Books) -> Iterator[Try]:
    """Yield every action of the console for each role that it is not for: roll back, invite, …"""
    for (kind, _, name), who in AUTHZ_MATRIX.items():
        if kind != "action" or not isinstance(who, Staff):
            continue
        path = _place_of(name, books)
        if path is not None:
            yield from (
                Try(role, "POST", path, WANTED, form=True)
                for role in ROLES
                if not reaches(role, who.role)
            )


def _place_of(action: str, books: Books) -> str | None:
    """Return where an action is asked for, about some row if need be; None without one."""
    metas = [model._meta for model in console._registry]
    # A page of no model is about no row.
    of = [one for one in metas if action.startswith(f"{one.app_label}_{one.model_name}_")]
    rows = [row[str(one.pk.column)] for one in of for row in books.rows(one.db_table)[:1]]
    for args in (*([row] for row in rows), []):
        with suppress(NoReverseMatch):
            return reverse(f"admin:{action}", args=args)
    return None


def test_the_console_makes_nobody_more(
    gateway: GatewayProcess, cookies: dict[str, str], figure: Figure
) -> None:
    doors = Doors(gateway, cookies)
    tries = [
        *asked_of_the_console(gateway, doors, console._registry),
        *acted_in_the_console(Books(gateway)),
    ]
    found = promoted(gateway, doors, tries)
    figure(f"unauthorised changes by the console, of {len(tries)}", len(found), "0")
    assert found == []


def test_every_field_that_somebody_may_reach_has_a_rule() -> None:
    """A new one is the operators' until it is listed; here, until somebody has said so."""
    models = {model.__name__: model for model in console._registry}
    reached = {name for name, may in ROW_MATRIX.items() if may.make or may.change}
    fields = {
        (name, field.name)
        for name in reached
        for field in models[name]._meta.concrete_fields
        if field.editable
    }
    ruled = {(name, field) for name, field in FIELD_MATRIX if name in reached}
    assert fields | {("ApiKey", "public_id")} == ruled | OPERATORS


# --- the controls ----------------------------------------------------------------------------


def test_it_is_red_without_the_guard_of_the_api(
    installation: GatewayProcess, cookies: dict[str, str]
) -> None:
    with installation.without("unprotected"):
        tries = [one for one in asked_of_the_api(installation) if "/members/" in one.path]
        found = promoted(installation, Doors(installation, cookies), tries)
    assert any(one.startswith("tenants_member: ") for one in found)


def test_it_is_red_without_the_guard_of_the_console(
    installation: GatewayProcess, cookies: dict[str, str]
) -> None:
    with installation.without("unranked"):
        doors = Doors(installation, cookies)
        tries = asked_of_the_console(installation, doors, [Budget])
        # One will do, of a project: the others are asked for elsewhere.
        taken = [one for one in tries if one.path.endswith("/delete/")][-1:]
        found = promoted(installation, doors, taken)
    assert any(one.startswith("ledger_budget: ") for one in found)
