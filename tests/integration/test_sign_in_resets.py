"""Who forgot their password gets a link to their mailbox, and nobody learns who that is."""

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from time import monotonic

import httpx2
import psycopg
import pytest
from django.contrib.auth.models import User
from typing_extensions import override

from tenants.signin.resets import GOOD_FOR_S, ResetTokens
from tests.harness.books import Books
from tests.harness.canary import canary
from tests.harness.config import configuration, tenant
from tests.harness.database import PostgresDatabases
from tests.harness.gateway import GatewayProcess, installed
from tests.harness.issuer import CLIENT, SECRET
from tests.harness.mailbox import Mailbox, receiving
from tests.harness.people import SIGN_IN, Browser, code_of, make_members
from tests.harness.together import in_time, until
from tests.upstream.client import Upstream

FORGOTTEN, MINE = "/sign-in/forgotten/", "/sign-in/mine/"
NEW = canary("password-chosen-anew")
PEOPLE = [f"{name}@other.test" for name in ("ann", "bob", "cid", "dan", "eve")]
ADMIN, NEWCOMER, CHIEF = "adam@other.test", "new@other.test", "chief@other.test"
GONE = "gone@other.test"
LIMIT_S = 10
_LINK = re.compile(r"http://[^/]+(/sign-in/reset/\S+)")


@pytest.fixture(scope="module")
def mailbox() -> Iterator[Mailbox]:
    with receiving() as mailbox:
        yield mailbox


@pytest.fixture(scope="module")
def gateway(
    postgres_databases: PostgresDatabases,
    upstream_process: Upstream,
    mailbox: Mailbox,
    tmp_path_factory: pytest.TempPathFactory,
    output: Path,
) -> Iterator[GatewayProcess]:
    members = [{"email": email, "role": "member"} for email in (*PEOPLE, "sue@acme.test")]
    members.append({"email": ADMIN, "role": "admin"})
    with installed(postgres_databases, tmp_path_factory.mktemp("home"), output) as gateway:
        gateway.apply(configuration(upstream_process.base_url, tenants=[tenant(members=members)]))
        make_members(gateway)
        wait = [{"email": email, "role": "viewer"} for email in (NEWCOMER, GONE)]
        wait.append({"email": CHIEF, "role": "owner"})
        waiting = tenant(members=[*members, *wait])
        gateway.apply(configuration(upstream_process.base_url, tenants=[waiting]))
        gateway.environment |= {
            "EMAIL_URL": mailbox.url,
            "EMAIL_FROM": "gateway@other.test",
            "OIDC_ISSUER": "https://id.acme.test",
            "OIDC_CLIENT_ID": CLIENT,
            "OIDC_CLIENT_SECRET": SECRET,
            "OIDC_DOMAINS": "acme.test",
            "OIDC_OPERATORS": "boss@acme.test",
        }
        yield gateway.serve()


@pytest.fixture(autouse=True)
def forget_attempts(gateway: GatewayProcess) -> None:
    """All of these come from one address."""
    with psycopg.connect(gateway.environment["DATABASE_URL"]) as connection:
        connection.execute("DELETE FROM tenants_signinattempt")


@pytest.fixture
def browser(gateway: GatewayProcess) -> Iterator[Browser]:
    browser = Browser(gateway.url)
    yield browser
    browser.client.close()


def ask(browser: Browser, email: str) -> httpx2.Response:
    return browser.post(FORGOTTEN, {"email": email})


def link_of(mailbox: Mailbox, browser: Browser, email: str) -> str:
    """Ask for a link and return its path."""
    assert ask(browser, email).status_code == 200
    until(lambda: bool(mailbox.to(email.lower())), LIMIT_S)
    found = _LINK.search(mailbox.to(email.lower())[-1])
    assert found is not None
    return found[1]


def choose(browser: Browser, link: str, password: str = NEW) -> httpx2.Response:
    moved = browser.get(link)
    if moved.status_code != 302:
        return moved
    new = dict.fromkeys(("new_password1", "new_password2"), password)
    return browser.post(moved.headers["location"], new)


def is_in(browser: Browser) -> bool:
    return browser.get(MINE).status_code == 200


def test_a_link_is_good_once_and_ends_what_was_open(
    gateway: GatewayProcess, mailbox: Mailbox, browser: Browser
) -> None:
    ann = PEOPLE[0]
    elsewhere = Browser(gateway.url)
    assert elsewhere.password(ann).status_code == 302
    assert FORGOTTEN in browser.get(SIGN_IN).text
    link = link_of(mailbox, browser, ann.title())
    assert choose(browser, link, "12345").status_code == 400
    assert is_in(elsewhere)
    assert choose(browser, link).headers["location"] == SIGN_IN
    assert (is_in(browser), is_in(elsewhere)) == (False, False)
    assert choose(Browser(gateway.url), link).status_code == 410
    assert browser.password(ann).status_code == 401
    assert browser.password(ann, NEW).status_code == 302
    events = Books(gateway).rows("tenants_auditevent")
    told = [row["action"] for row in events if row["object_name"] == ann]
    assert told[-3:] == ["password link sent", "password reset", "signed in"]
    token = link.rstrip("/").rpartition("/")[2]
    assert token not in str(events) + gateway.log


def test_a_second_factor_is_asked_for_as_ever(
    gateway: GatewayProcess, mailbox: Mailbox, browser: Browser
) -> None:
    bob = PEOPLE[1]
    browser.password(bob)
    secret, _ = browser.set_up_second_factor()
    browser = Browser(gateway.url)
    assert choose(browser, link_of(mailbox, browser, bob)).status_code == 302
    assert browser.password(bob, NEW).headers["location"] == "/sign-in/code/"
    assert not is_in(browser)
    assert browser.post("/sign-in/code/", {"code": code_of(secret, ahead=1)}).status_code == 302


def test_who_signs_in_meanwhile_needs_no_link(mailbox: Mailbox, browser: Browser) -> None:
    cid = PEOPLE[2]
    link = link_of(mailbox, browser, cid)
    assert browser.password(cid).status_code == 302
    assert choose(browser, link).status_code == 410


@pytest.mark.timed
def test_a_stranger_is_answered_alike_and_as_soon(mailbox: Mailbox, browser: Browser) -> None:
    """However long a mail server takes."""

    def asked(email: str) -> tuple[httpx2.Response, float]:
        began = monotonic()
        return ask(browser, email), monotonic() - began

    mailbox.slow_s = 2
    known, known_s = asked(PEOPLE[3])
    stranger, _ = asked("nobody@other.test")
    mailbox.slow_s = 0
    masked = [re.sub(r'nonce="[^"]*"', "", one.text) for one in (known, stranger)]
    assert (known.status_code, masked[0]) == (stranger.status_code, masked[1])
    in_time(known_s, 1)
    until(lambda: len(mailbox.to(PEOPLE[3])) == 1, LIMIT_S)
    assert mailbox.to("nobody@other.test") == []


def test_an_enforced_domain_gets_no_link(mailbox: Mailbox, browser: Browser) -> None:
    answer = ask(browser, "sue@acme.test")
    assert (answer.status_code, "signs in with" in answer.text) == (403, True)
    assert mailbox.to("sue@acme.test") == []


@pytest.mark.parametrize("email", [PEOPLE[4], "stranger@other.test"], ids=["known", "stranger"])
def test_nobody_is_flooded_with_letters(gateway: GatewayProcess, email: str) -> None:
    told = [ask(Browser(gateway.url), email) for _ in range(6)]
    assert [one.status_code for one in told] == [200] * 5 + [429]
    assert 3000 < int(told[-1].headers["retry-after"]) <= 3600
    assert "try again in" in told[-1].text


# --- invitations by people of a tenant, who have the same mailbox to prove


def invited(gateway: GatewayProcess, who: str, email: str) -> str:
    """Let somebody of the tenant invite another; return what they are told."""
    rows = Books(gateway).rows("tenants_member")
    place = next(row["id"] for row in rows if row["email"] == email)
    browser = Browser(gateway.url)
    assert browser.password(who).status_code == 302
    answer = browser.post(f"/admin/tenants/member/{place}/invite/")
    assert "/sign-in/invitation/" not in answer.text
    return browser.get(answer.headers.get("location", MINE)).text


def test_an_admin_has_an_invitation_mailed_and_never_sees_it(
    gateway: GatewayProcess, mailbox: Mailbox, browser: Browser
) -> None:
    assert f"mailed to {NEWCOMER}" in invited(gateway, ADMIN, NEWCOMER)
    found = re.search(r"http://[^/]+(/sign-in/invitation/\S+)", mailbox.to(NEWCOMER)[-1])
    assert found is not None
    assert choose(browser, found[1]).status_code == 302
    assert is_in(browser)
    events = Books(gateway).rows("tenants_auditevent")
    told = [(row["actor"], row["object_name"]) for row in events if row["action"] == "invited"]
    assert any(actor == ADMIN and NEWCOMER in name for actor, name in told)


def test_a_member_taken_away_takes_the_invitation_along(
    gateway: GatewayProcess, mailbox: Mailbox, browser: Browser
) -> None:
    invited(gateway, ADMIN, GONE)
    link = re.search(r"http://[^/]+(/sign-in/invitation/\S+)", mailbox.to(GONE)[-1])
    assert link is not None
    with psycopg.connect(gateway.environment["DATABASE_URL"]) as connection:
        connection.execute("DELETE FROM tenants_member WHERE email = %s", [GONE])
    assert choose(browser, link[1]).status_code == 410


def test_an_admin_invites_nobody_above(gateway: GatewayProcess, mailbox: Mailbox) -> None:
    assert "below owner" in invited(gateway, ADMIN, CHIEF)
    assert mailbox.to(CHIEF) == []


def test_processes_count_attempts_together(gateway: GatewayProcess) -> None:
    other = GatewayProcess(gateway.home, gateway.output, gateway.environment)
    try:
        other.serve()
        doors = [Browser(gateway.url), Browser(other.url)]
        told = [doors[n % 2].password("guessed", "wrong-password") for n in range(11)]
        assert [one.status_code for one in told] == [401] * 10 + [429]
        assert all(one.password("Guessed").status_code == 429 for one in doors)
        other.terminate()
    finally:
        other.kill9()


class Later(ResetTokens):
    """Looks at the clock so many seconds from now."""

    def __init__(self, seconds: int) -> None:
        super().__init__()
        self._later = timedelta(seconds=seconds)

    @override
    def _now(self) -> datetime:
        return super()._now() + self._later


@pytest.mark.django_db
def test_a_link_is_good_for_an_hour() -> None:
    user = User.objects.create_user("ann", "ann@other.test", NEW)
    token = ResetTokens().make_token(user)
    assert Later(GOOD_FOR_S - 5).check_token(user, token)
    assert not Later(GOOD_FOR_S + 5).check_token(user, token)
    assert not ResetTokens().check_token(user, "no-token")
