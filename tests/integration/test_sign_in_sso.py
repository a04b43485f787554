"""People sign in at their provider or by an invitation; who lies about who they are does not.

A gateway on PostgreSQL, which is not embedded: single sign-on is a second factor there.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest

from tests.harness.database import PostgresDatabases
from tests.harness.gateway import GatewayProcess, installed
from tests.harness.issuer import CLIENT, SECRET, Issuer, serving
from tests.harness.people import PASSWORD, SIGN_IN, Browser

MINE, CHANGE = "/sign-in/mine/", "/admin/tenants/tenant/add/"
MEMBERS = {
    "acme": ["ann@acme.test", "Eve@Acme.test", "old@acme.test", "ida@other.test", "pia@other.test"],
    "globex": ["ann@acme.test", "pia@other.test"],
}
MAKE = f"""
import json
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import User
from tenants.models import Member, Tenant
password = make_password({PASSWORD!r})
for tenant, emails in {MEMBERS!r}.items():
    tenant = Tenant.objects.create(name=tenant)
    for email in emails:
        Member.all_tenants_unsafe.create(tenant=tenant, email=email, role="member")
User.objects.create(username="root", password=password, is_staff=True, is_superuser=True)
User.objects.create(
    username="local", email="local@acme.test", password=password, is_staff=True, is_superuser=True
)
User.objects.create(username="word", email="word@acme.test", password=password)
made = Member.all_tenants_unsafe.all()
print(json.dumps({{f"{{one.tenant.name}}/{{one.email}}": one.pk for one in made}}))
"""


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with serving() as issuer:
        yield issuer


@pytest.fixture(scope="module")
def gateway(
    postgres_databases: PostgresDatabases,
    issuer: Issuer,
    tmp_path_factory: pytest.TempPathFactory,
    output: Path,
) -> Iterator[GatewayProcess]:
    with installed(postgres_databases, tmp_path_factory.mktemp("home"), output) as gateway:
        gateway.environment |= {
            "OIDC_ISSUER": issuer.url,
            "OIDC_CLIENT_ID": CLIENT,
            "OIDC_CLIENT_SECRET": SECRET,
            "OIDC_NAME": "Acme ID",
            "OIDC_DOMAINS": "acme.test",
            "OIDC_OPERATORS": "Boss@acme.test",
        }
        made = gateway.managed("shell", "-c", MAKE)
        (gateway.home / "members.json").write_text(made.splitlines()[-1])
        yield gateway.serve()


@pytest.fixture
def browser(gateway: GatewayProcess) -> Iterator[Browser]:
    browser = Browser(gateway.url)
    yield browser
    browser.client.close()


def sso(browser: Browser, goal: str = "") -> httpx2.Response:
    """Go to the provider and come back with what it says."""
    there = browser.get("/sign-in/sso/", params={"next": goal} if goal else {})
    assert there.status_code == 302, there.text
    back = httpx2.get(there.headers["location"], verify=False)
    return browser.get(back.headers["location"])


def said(answer: httpx2.Response) -> str:
    found = re.search(r'role="alert">([^<]+)<', answer.text)
    return found[1] if found else ""


def rows(gateway: GatewayProcess, query: str, *given: Any) -> list[Any]:
    with psycopg.connect(gateway.environment["DATABASE_URL"]) as connection:
        return connection.execute(query, given).fetchall()


# --- who is meant


def test_a_member_is_one_user_in_all_their_tenants(
    gateway: GatewayProcess, issuer: Issuer, browser: Browser
) -> None:
    assert "Sign in with Acme ID" in browser.get(SIGN_IN).text
    issuer.person("Ann@acme.test", "ann-1")
    answer = sso(browser, "/sign-in/mine/")
    assert (answer.status_code, answer.headers["location"]) == (302, MINE), answer.text
    assert "ann@acme.test</strong> with Acme ID" in browser.get(MINE).text
    query = "SELECT count(*), count(DISTINCT user_id) FROM tenants_member WHERE email = %s"
    assert rows(gateway, query, "ann@acme.test") == [(2, 1)]
    assert sso(browser).headers["location"] == "/"
    assert issuer.asked.count("/.well-known/openid-configuration") == 1


def test_an_address_that_moved_to_somebody_else_opens_nothing(
    issuer: Issuer, browser: Browser
) -> None:
    issuer.person("old@acme.test", "old-1")
    assert sso(browser).status_code == 302
    issuer.person("old@acme.test", "old-2")
    second = Browser(str(browser.client.base_url))
    answer = sso(second)
    assert (answer.status_code, "somebody else" in said(answer)) == (401, True)
    # The first one stays who they are, whatever their address is now.
    issuer.person("renamed@acme.test", "old-1")
    assert sso(second).status_code == 302
    assert "old@acme.test" in second.get(MINE).text


@pytest.mark.parametrize(
    ("email", "verified", "status"),
    [
        ("eve@acme.test", False, 401),
        ("eve@acme.test", "true", 401),
        ("stranger@acme.test", True, 401),
        ("local@acme.test", True, 401),  # an operator whom OIDC_OPERATORS does not name
        ("eve@acme.test", True, 302),
    ],
)
def test_only_a_verified_address_that_is_known_here_is_let_in(
    issuer: Issuer, browser: Browser, email: str, verified: object, status: int
) -> None:
    issuer.person(email, f"subject-of-{email}", verified=verified)
    assert sso(browser).status_code == status


def test_a_named_operator_may_change_things(issuer: Issuer, browser: Browser) -> None:
    issuer.person("boss@acme.test", "boss-1")
    assert sso(browser).headers["location"] == "/admin/"
    assert browser.post(CHANGE, {"name": ""}).status_code == 200  # the form, with its errors


# --- lies


LIES: dict[str, Any] = {
    "another audience": lambda claims: claims | {"aud": "another-client"},
    "two audiences": lambda claims: claims | {"aud": [CLIENT, "another-client"]},
    "another issuer": lambda claims: claims | {"iss": "https://id.evil.test"},
    "too late": lambda claims: claims | {"iat": 1, "exp": 2},
    "another nonce": lambda claims: claims | {"nonce": "another"},
    "no nonce": lambda claims: {name: claims[name] for name in claims if name != "nonce"},
    "no end": lambda claims: {name: claims[name] for name in claims if name != "exp"},
    "no subject": lambda claims: {name: claims[name] for name in claims if name != "sub"},
}


@pytest.mark.parametrize("lie", LIES)
def test_a_token_that_does_not_fit_is_refused(issuer: Issuer, browser: Browser, lie: str) -> None:
    issuer.person("ann@acme.test", "ann-1")
    issuer.lie = LIES[lie]
    assert sso(browser).status_code == 401
    assert browser.get(MINE).status_code == 302


@pytest.mark.parametrize("sign", ["none", "HS256", "foreign", "unknown"])
def test_a_token_signed_otherwise_is_refused(issuer: Issuer, browser: Browser, sign: str) -> None:
    issuer.person("ann@acme.test", "ann-1")
    issuer.sign = sign
    assert sso(browser).status_code == 401
    assert browser.get(MINE).status_code == 302


def test_an_answer_is_good_once_and_for_the_browser_that_asked(
    issuer: Issuer, browser: Browser
) -> None:
    issuer.person("ann@acme.test", "ann-1")
    there = browser.get("/sign-in/sso/").headers["location"]
    back = httpx2.get(there, verify=False).headers["location"]
    other = Browser(str(browser.client.base_url))
    assert other.get(back).status_code == 401
    assert browser.get(back).status_code == 302
    assert browser.get(back).status_code == 401
    assert browser.get("/sign-in/sso/callback/?error=access_denied").status_code == 401
    assert browser.get(MINE).status_code == 200  # which signed nobody out


def test_what_the_token_leaves_out_is_asked_for(issuer: Issuer, browser: Browser) -> None:
    issuer.person("ann@acme.test", "ann-1")
    issuer.lie = lambda claims: {n: claims[n] for n in claims if not n.startswith("email")}
    assert sso(browser).status_code == 302


def test_a_provider_that_is_away_lets_nobody_in(issuer: Issuer, browser: Browser) -> None:
    issuer.person("ann@acme.test", "ann-1")
    there = browser.get("/sign-in/sso/").headers["location"]
    back = httpx2.get(there, verify=False).headers["location"]
    issuer.away = True
    assert browser.get(back).status_code == 503
    assert browser.get(MINE).status_code == 302


# --- who has to sign in there


def test_a_password_of_an_enforced_domain_opens_nothing(browser: Browser) -> None:
    for name in ("word", "word@acme.test", "nobody@acme.test"):
        answer = browser.password(name)
        assert (answer.status_code, "Acme ID" in said(answer)) == (401, True)
    assert browser.password("root").status_code == 302


codes: list[str] = []  # for the next of the browsers that one operator signs in with


def invite(gateway: GatewayProcess, email: str, tenant: str = "acme") -> httpx2.Response:
    member = json.loads((gateway.home / "members.json").read_text())[f"{tenant}/{email}"]
    browser = Browser(gateway.url)
    browser.password("root")
    if not codes:
        codes.extend(browser.set_up_second_factor()[1])
    else:
        browser.post("/sign-in/code/", {"code": codes.pop()})
    return browser.post(f"/admin/tenants/member/{member}/invite/")


def test_an_invitation_is_good_once(gateway: GatewayProcess) -> None:
    page = invite(gateway, "ida@other.test")
    link = re.search(r"/sign-in/invitation/[\w-]+/[\w-]+/", page.text)
    assert link is not None, page.text
    guest, path = Browser(gateway.url), link[0]
    moved = guest.get(path).headers["location"]
    assert moved.endswith("/set-password/")
    weak = guest.post(moved, {"new_password1": "12345", "new_password2": "12345"})
    assert weak.status_code == 400
    new = dict.fromkeys(("new_password1", "new_password2"), "a long enough password")
    assert guest.post(moved, new).headers["location"] == "/"
    assert "ida@other.test" in guest.get(MINE).text
    late = Browser(gateway.url)
    assert late.get(path).status_code == 410
    assert late.password("Ida@other.test", "a long enough password").status_code == 302
    query = "SELECT count(user_id) FROM tenants_member WHERE email = 'ida@other.test'"
    assert rows(gateway, query) == [(1,)]


def test_no_link_opens_what_somebody_has_elsewhere(gateway: GatewayProcess) -> None:
    page = invite(gateway, "pia@other.test")
    link = re.search(r"/sign-in/invitation/[\w-]+/[\w-]+/", page.text)
    assert link is not None, page.text
    guest = Browser(gateway.url)
    new = dict.fromkeys(("new_password1", "new_password2"), "a long enough password")
    guest.post(guest.get(link[0]).headers["location"], new)
    for email, tenant in (("pia@other.test", "globex"), ("ann@acme.test", "acme")):
        answer = invite(gateway, email, tenant)
        assert answer.status_code == 302  # back to the member, with why not
        assert "/sign-in/invitation/" not in answer.text
