"""Who is not let in by the table is let in nowhere, by whatever carrier, and never by a fault."""

from collections.abc import Iterator, Mapping
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from llm_gateway.access import AUTHZ_MATRIX, Key, Public, Who
from llm_gateway.management.isolation import matrix, tenancy
from tests.harness.canary import canary
from tests.harness.config import configuration, key, tenant
from tests.harness.database import SqliteDatabases
from tests.harness.dialects import Told
from tests.harness.gateway import GatewayProcess, installed
from tests.harness.people import Browser, make_members, make_operator, operator_of
from tests.legs import Figure
from tests.upstream.client import Upstream

pytestmark = pytest.mark.promise("S2")

FULL, VIEWER = canary("api-key-of-everything"), "viewer@acme.test"
# One key for each scope, and none for the others.
NARROW = {scope: canary(f"api-key-{scope}") for scope in ("inference", "usage", "manage")}
CARRIERS = ("authorization", "x-api-key", "api-key", "x-goog-api-key")
SIGN_IN = ("/sign-in/", "/admin/login/")
SHUT = {401, 403, 429}  # the last: by then it has sent too many wrong ones
Route = tuple[str, str]


@pytest.fixture(scope="module")
def installation(
    sqlite_databases: SqliteDatabases,
    upstream_process: Upstream,
    tmp_path_factory: pytest.TempPathFactory,
    output: Path,
) -> Iterator[GatewayProcess]:
    keys = [key("full", FULL, scopes=[*NARROW])]
    keys += [key(scope, value, scopes=[scope]) for scope, value in NARROW.items()]
    acme = tenant(keys=keys, members=[{"email": VIEWER, "role": "viewer"}])
    with installed(sqlite_databases, tmp_path_factory.mktemp("home"), output) as gateway:
        gateway.apply(configuration(upstream_process.base_url, tenants=[acme]))
        make_operator(gateway)
        make_members(gateway)
        yield gateway


@pytest.fixture
def gateway(installation: GatewayProcess) -> GatewayProcess:
    return installation if installation.serving else installation.serve()


class Door:
    """One connection that is kept, to ask every route with nothing but these headers."""

    def __init__(self, gateway: GatewayProcess) -> None:
        self._connection = HTTPConnection(gateway.url.removeprefix("http://"), timeout=20)

    def ask(self, route: Route, headers: Mapping[str, str], query: str = "") -> Told:
        method, path = route
        place = matrix.path_of(path, tenancy.nobody()) + query
        try:
            return self._once(method, place, headers)
        except ConnectionError:  # it had been closed meanwhile
            self._connection.close()
            return self._once(method, place, headers)

    def _once(self, method: str, place: str, headers: Mapping[str, str]) -> Told:
        self._connection.request(method, place, headers=dict(headers))
        response = self._connection.getresponse()
        told = {name.lower(): value for name, value in response.getheaders()}
        return Told(response.status, told, response.read(), clean=True)


def routes(kind: type[Who] | None = None) -> list[Route]:
    """Return what is asked over HTTP; of the console its first page, of files none."""
    return [
        ("GET" if method == "*" else method, route)
        for (by, method, route), who in sorted(AUTHZ_MATRIX.items(), key=lambda row: row[0])
        if by == "http" and route != "/static/" and (kind is None or isinstance(who, kind))
    ]


def scope_of(route: Route) -> str:
    who = AUTHZ_MATRIX["http", *route]
    assert isinstance(who, Key)
    return who.scope


def is_shut(told: Told) -> bool:
    leads = told.headers.get("location", "")
    return told.status in SHUT or (told.status == 302 and leads.startswith(SIGN_IN))


def code_of(told: Told) -> str:
    """Return an answer without what differs from request to request."""
    return f"{told.status} {told.headers.get('x-mobius-code')}"


# --- who is nobody -------------------------------------------------------------------------------


def open_to_nobody(gateway: GatewayProcess) -> set[Route]:
    door = Door(gateway)
    return {route for route in routes() if not is_shut(door.ask(route, {}))}


def test_what_is_open_to_nobody_is_the_allowlist(gateway: GatewayProcess, figure: Figure) -> None:
    public = set(routes(Public))
    # What a form is sent to is public, and wants the token of its page; a code comes second.
    forms = {route for route in public if route[0] == "POST"} | {("GET", "/sign-in/code/")}
    opened = open_to_nobody(gateway)
    figure(f"open routes of {len(routes())} beside the allowlist", len(opened - public), "0")
    assert opened == public - forms


def test_a_path_that_nobody_listed_is_shut_or_nothing(gateway: GatewayProcess) -> None:
    door = Door(gateway)
    for path in ("/api/v1/unheard-of", "/v1/unheard-of", "/unheard-of", "/admin/unheard-of/"):
        told = door.ask(("GET", path), {"authorization": f"Bearer {FULL}"})
        assert told.status in {404, 302}, path


# --- whose key does not reach --------------------------------------------------------------------


def test_every_carrier_of_a_narrow_key_gets_the_same_refusal(
    gateway: GatewayProcess, figure: Figure
) -> None:
    door, differing, asked = Door(gateway), list[Any](), 0
    for route in routes(Key):
        narrow = next(value for scope, value in NARROW.items() if scope != scope_of(route))
        told = {code_of(door.ask(route, carried(carrier, narrow))) for carrier in CARRIERS}
        asked += len(CARRIERS)
        if told != {"403 permission_denied"}:
            differing.append((route, told))
    figure(f"differing answers of {asked}", len(differing), "0")
    assert differing == []


def carried(carrier: str, value: str) -> dict[str, str]:
    return {carrier: f"Bearer {value}" if carrier == "authorization" else value}


def test_a_key_in_the_url_is_never_taken(gateway: GatewayProcess, figure: Figure) -> None:
    door = Door(gateway)
    taken = [
        route
        for route in routes(Key)
        if door.ask(route, {}, f"?key={FULL}").status not in {401, 429}
        or door.ask(route, carried("x-api-key", FULL), f"?key={FULL}").status != 401
    ]
    figure("routes that take a key in the URL", len(taken), "0")
    assert taken == []


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": ""},
        {"authorization": "Bearer"},
        {"authorization": "Bearer null"},
        {"authorization": f"Basic {FULL}"},
        {"authorization": f"Bearer {FULL}", "x-api-key": NARROW["usage"]},
        {"x-api-key": f"{FULL} "[:-2]},
    ],
    ids=["empty", "bare", "null", "basic", "two", "cut"],
)
def test_what_is_no_key_is_refused_at_every_door(
    gateway: GatewayProcess, headers: dict[str, str]
) -> None:
    door = Door(gateway)
    for route in (("GET", "/v1/models"), ("GET", "/api/v1/me"), ("POST", "/mcp")):
        assert door.ask(route, headers).status in {401, 429}, route


def test_the_websocket_takes_a_narrow_key_by_no_carrier(gateway: GatewayProcess) -> None:
    url = gateway.url.replace("http", "ws", 1) + matrix.SOCKET
    for carrier in CARRIERS:
        with pytest.raises(InvalidStatus, match="403"):
            connect(url, additional_headers=carried(carrier, NARROW["usage"]))
    for first in (f'{{"type":"auth","key":"{NARROW["usage"]}"}}', '{"type":"chat.create"}'):
        assert is_closed_at(url, first), first


def is_closed_at(url: str, first: str) -> bool:
    """Say whether a connection that begins with this is told why, and ends."""
    with connect(url) as socket:
        socket.send(first)
        socket.recv(20)
        try:
            socket.recv(20)
        except ConnectionClosed:
            return True
    return False


# --- whose role does not reach, and who has none -------------------------------------------------


def test_a_session_opens_what_its_role_does_and_nothing_else(
    gateway: GatewayProcess, figure: Figure
) -> None:
    """An operator has no tenant; a viewer changes nothing; no session is a key."""
    viewer = Browser(gateway.url)
    assert viewer.password(VIEWER).status_code == 302
    operator = operator_of(gateway)
    wrong, asked = list[Any](), 0
    for name, browser in (("viewer", viewer), ("operator", operator)):
        door = Door(gateway)
        for method, path in routes(Key):
            who = AUTHZ_MATRIX["http", method, path]
            assert isinstance(who, Key)
            if name == "viewer" and who.role == "viewer":
                continue
            told = door.ask((method, path), {"cookie": f"sessionid={browser.session}"})
            asked += 1
            if told.status not in SHUT:
                wrong.append((name, method, path, told.status))
    figure(f"routes open to a role that does not reach, of {asked}", len(wrong), "0")
    assert wrong == []


# --- when nobody can tell ------------------------------------------------------------------------


def test_who_cannot_be_looked_up_is_let_in_nowhere(gateway: GatewayProcess, figure: Figure) -> None:
    browser = Browser(gateway.url)
    assert browser.password(VIEWER).status_code == 302
    key_of, session = carried("x-api-key", FULL), {"cookie": f"sessionid={browser.session}"}
    with gateway.without("storeless"):
        door = Door(gateway)
        told = [(route, door.ask(route, key_of).status) for route in routes(Key)]
        api = [route for route in routes(Key) if route[1].startswith("/api/")]
        told += [(route, door.ask(route, session).status) for route in api]
        pages = [("GET", "/"), ("GET", "/admin/"), ("GET", "/sign-in/mine/")]
        told += [(page, door.ask(page, session).status) for page in pages]
    wrong = [one for one in told if one[1] != 503]
    figure(f"answers without a store that are no 503, of {len(told)}", len(wrong), "0")
    assert wrong == []


def test_it_is_red_without_its_guard(installation: GatewayProcess) -> None:
    """Mutation control: where nobody looks at scopes and roles, the walks find what is open."""
    with installation.without("unasked"):
        door = Door(installation)
        opened = [
            route
            for route in routes(Key)
            if scope_of(route) != "usage"
            and code_of(door.ask(route, carried("x-api-key", NARROW["usage"])))
            != "403 permission_denied"
        ]
    assert len(opened) > 20
