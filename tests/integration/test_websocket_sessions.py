"""Somebody signed in streams over the WebSocket with a key they may use, until they sign out."""

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.harness.books import Books
from tests.harness.canary import canary
from tests.harness.config import configuration, key, models, nano_prices, tenant
from tests.harness.database import SqliteDatabases
from tests.harness.gateway import GatewayProcess, installed
from tests.harness.people import Browser, make_members, make_operator
from tests.harness.together import until
from tests.integration.test_websocket import closed_with, create, done, hear, say, text_of
from tests.upstream.client import Upstream
from tests.upstream.scripts import stream

pytestmark = pytest.mark.timed

LOG = "llm_gateway_requestlog"
PEOPLE = ("viewer", "member", "admin")


def email(role: str) -> str:
    return f"{role}@acme.test"


@pytest.fixture(scope="module")
def gateway(
    sqlite_databases: SqliteDatabases,
    upstream_process: Upstream,
    tmp_path_factory: pytest.TempPathFactory,
    output: Path,
) -> Iterator[GatewayProcess]:
    acme = tenant(
        members=[{"email": email(role), "role": role} for role in PEOPLE],
        keys=[
            key("held", canary("api-key-held"), holder=email("member")),
            key("other", canary("api-key-other")),
        ],
    )
    globex = tenant("globex", keys=[key("foreign", canary("api-key-foreign"))])
    with installed(sqlite_databases, tmp_path_factory.mktemp("home"), output) as gateway:
        gateway.apply(configuration(upstream_process.base_url, tenants=[acme, globex]))
        make_operator(gateway)
        make_members(gateway)
        yield gateway.serve()


@pytest.fixture
def scripted(upstream: Upstream) -> Upstream:
    upstream.prices(**nano_prices(models()))
    return upstream


def ids(gateway: GatewayProcess) -> dict[str, str]:
    return {row["name"]: row["public_id"] for row in Books(gateway).rows("tenants_apikey")}


def browser_of(gateway: GatewayProcess, name: str) -> Browser:
    browser = Browser(gateway.url)
    assert browser.password(name).status_code == 302
    return browser


def opened(gateway: GatewayProcess, browser: Browser, origin: str = "") -> ClientConnection:
    jar = SimpleCookie({"sessionid": browser.session or ""})
    cookie = jar.output(header="", sep=";").strip()
    headers = {"Cookie": cookie, "Origin": origin or gateway.url}
    url = gateway.url.replace("http", "ws", 1) + "/ws/v1/llm"
    return connect(url, additional_headers=headers, compression=None)


@contextmanager
def signed(gateway: GatewayProcess, name: str, key_id: str) -> Iterator[ClientConnection]:
    with opened(gateway, browser_of(gateway, name)) as socket:
        say(socket, type="auth", key_id=key_id)
        yield socket


def answered(socket: ClientConnection) -> str:
    create(socket)
    return text_of(done(socket, "1"))


def test_a_holder_an_admin_and_an_operator_use_the_key_and_pay_by_it(
    gateway: GatewayProcess, scripted: Upstream
) -> None:
    for name in (email("member"), email("admin"), "root"):
        scripted.script("alpha", stream("one ", "two"))
        with signed(gateway, name, ids(gateway)["held"]) as socket:
            assert answered(socket) == "one two"
    books = Books(gateway)
    until(lambda: [row["key_name"] for row in books.rows(LOG)].count("held") == 3, 10)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        (email("viewer"), "held"),
        (email("member"), "other"),
        (email("admin"), "foreign"),
        (email("admin"), "unknown"),
    ],
)
def test_a_key_that_is_not_theirs_is_refused_alike(
    gateway: GatewayProcess, scripted: Upstream, name: str, wanted: str
) -> None:
    with signed(gateway, name, ids(gateway).get(wanted, "0" * 16)) as socket:
        with suppress(ConnectionClosed):  # who is quick has closed it before
            create(socket)
        assert hear(socket)["error"]["code"] == "permission_denied"
        assert closed_with(socket) == 1008
    assert scripted.calls == []


def test_a_page_of_another_site_gets_no_connection(gateway: GatewayProcess) -> None:
    browser = browser_of(gateway, email("admin"))
    for origin in ("http://evil.test", "null"):
        with pytest.raises(InvalidStatus, match="403"), opened(gateway, browser, origin):
            pass


def test_signing_out_ends_the_connection(gateway: GatewayProcess, scripted: Upstream) -> None:
    scripted.script("alpha", stream("one"))
    browser = browser_of(gateway, email("admin"))
    with opened(gateway, browser) as socket:
        say(socket, type="auth", key_id=ids(gateway)["other"])
        assert answered(socket) == "one"
        browser.post("/sign-in/out/", page="/sign-in/mine/")
        assert closed_with(socket) == 4401


def test_the_page_offers_what_somebody_may_use(gateway: GatewayProcess) -> None:
    found: dict[str, Any] = {}
    for role in PEOPLE:
        page = browser_of(gateway, email(role)).get("/admin/playground/")
        found[role] = (
            page.status_code,
            sorted(re.findall(r">acme/(\w+)<|>globex/(\w+)<", page.text)),
        )
    assert found == {
        "viewer": (403, []),
        "member": (200, [("held", "")]),
        "admin": (200, [("held", ""), ("other", "")]),
    }
