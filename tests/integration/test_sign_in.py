"""People sign in by password and second factor, and their sessions end when they should.

A gateway on PostgreSQL, which is not embedded: an operator without a second factor may only look.
"""

import base64
import re
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from time import monotonic

import psycopg
import pytest

from tests.harness.books import Books
from tests.harness.database import PostgresDatabases
from tests.harness.gateway import GatewayProcess, installed
from tests.harness.people import PASSWORD, SET_UP, SIGN_IN, Browser, code_of, make_operators
from tests.harness.together import until

MINE, CONSOLE, CIRCUITS = "/sign-in/mine/", "/admin/", "/api/v1/circuits/1"
CHANGE = "/admin/tenants/tenant/add/"
NAMES = [f"operator-{number}" for number in range(30)]
unused = [*NAMES]


@pytest.fixture(scope="module")
def gateway(
    postgres_databases: PostgresDatabases,
    tmp_path_factory: pytest.TempPathFactory,
    output: Path,
) -> Iterator[GatewayProcess]:
    home = tmp_path_factory.mktemp("home")
    with installed(postgres_databases, home, output) as gateway:
        gateway.serve()
        check_it_waits_for_an_account(gateway)
        make_operators(gateway, NAMES)
        yield gateway


def check_it_waits_for_an_account(gateway: GatewayProcess) -> None:
    """Nobody is let in by default: here, because no test may come after the first account."""
    browser = Browser(gateway.url)
    for path in (CONSOLE, SIGN_IN, "/admin/login/"):
        answer = browser.get(path)
        assert (answer.status_code, "createsuperuser" in answer.text) == (503, True), path


@pytest.fixture
def name(gateway: GatewayProcess) -> str:
    """Return an operator of this test alone."""
    del gateway
    return unused.pop()


@pytest.fixture
def browser(gateway: GatewayProcess) -> Iterator[Browser]:
    browser = Browser(gateway.url)
    yield browser
    browser.client.close()


def signed_in(gateway: GatewayProcess, name: str, code: str = "") -> Browser:
    browser = Browser(gateway.url)
    answer = browser.password(name)
    if code:
        answer = browser.post("/sign-in/code/", {"code": code})
    assert (answer.status_code, answer.headers["location"]) == (302, CONSOLE), answer.text
    return browser


def is_in(browser: Browser) -> bool:
    return browser.get(MINE).status_code == 200


# --- the password


def test_everything_leads_to_one_page_and_back(browser: Browser, name: str) -> None:
    first = browser.get("/admin/tenants/tenant/")
    second = browser.get(first.headers["location"])
    assert second.headers["location"] == "/sign-in/?next=%2Fadmin%2Ftenants%2Ftenant%2F"
    page = browser.get(second.headers["location"])
    assert 'value="/admin/tenants/tenant/"' in page.text
    answer = browser.password(name, goal="/admin/tenants/tenant/")
    assert answer.headers["location"] == "/admin/tenants/tenant/"
    assert browser.get("/admin/tenants/tenant/").status_code == 200


def test_djangos_own_address_takes_its_own_form(browser: Browser, name: str) -> None:
    fields = {"username": name, "password": PASSWORD, "next": CONSOLE}
    browser.get("/admin/login/", follow_redirects=True)
    token = browser.client.cookies["csrftoken"]
    answer = browser.client.post("/admin/login/", data={"csrfmiddlewaretoken": token, **fields})
    assert (answer.status_code, answer.headers["location"]) == (302, CONSOLE)
    assert is_in(browser)


@pytest.mark.parametrize("goal", ["https://evil.test/", "//evil.test", "javascript:alert(1)"])
def test_nobody_is_led_elsewhere(browser: Browser, name: str, goal: str) -> None:
    assert browser.password(name, goal=goal).headers["location"] == CONSOLE


def test_the_page_needs_nothing_from_elsewhere(browser: Browser) -> None:
    answer = browser.get(SIGN_IN)
    assert answer.headers["cache-control"] == "private, no-store"
    assert "unsafe" not in answer.headers["content-security-policy"]
    links = re.findall(r'(?:src|href|action)="([^"]+)"', answer.text)
    assert len(links) > 4
    assert all(link.startswith("/") for link in links)
    for link in links:
        assert browser.get(link).status_code == 200, link


def test_an_unknown_name_and_a_wrong_password_are_told_alike(browser: Browser, name: str) -> None:
    told = [browser.password(one, "wrong-password") for one in (name, "nobody-at-all")]
    assert [answer.status_code for answer in told] == [401, 401]
    masked = [re.sub(r'value="[^"]*"|nonce="[^"]*"', "", answer.text) for answer in told]
    assert masked[0] == masked[1]


def test_an_unknown_name_takes_as_long_as_a_wrong_password(browser: Browser, name: str) -> None:
    def seconds(name: str) -> float:
        began = monotonic()
        browser.password(name, "wrong-password")
        return monotonic() - began

    pairs = [(seconds(name), seconds(f"no-{n}")) for n in range(3)]
    known_s, unknown_s = (median(side) for side in zip(*pairs, strict=True))
    # Without the hash it would be a tenth: no figure about a fast machine.
    assert unknown_s > known_s / 3


def test_who_guesses_on_has_to_wait_and_nobody_learns_the_name(
    gateway: GatewayProcess, browser: Browser, name: str
) -> None:
    statuses = [browser.password(name, "wrong-password").status_code for _ in range(11)]
    assert statuses == [401] * 10 + [429]
    answer = browser.password(name)  # also with the right one
    assert answer.status_code == 429
    assert 0 < int(answer.headers["retry-after"]) <= 300
    assert "wrong name or password from 127.0.0.1" in gateway.log
    assert name not in gateway.log


def test_an_open_session_guesses_its_password_no_faster(gateway: GatewayProcess, name: str) -> None:
    browser = signed_in(gateway, name)
    fields = {"old_password": "wrong", "new_password1": "x", "new_password2": "x"}
    path = "/sign-in/mine/password/"
    assert [browser.post(path, fields).status_code for _ in range(11)] == [400] * 10 + [429]


# --- sessions


def test_a_session_gets_a_new_id_and_is_gone_after_signing_out(
    gateway: GatewayProcess, name: str
) -> None:
    browser = signed_in(gateway, name)
    old = Browser(gateway.url)
    old.client.cookies.set("sessionid", browser.session or "", domain="127.0.0.1")
    assert is_in(old)
    browser.password(name)
    assert browser.session != old.session
    assert not is_in(old)
    stolen = browser.session or ""
    answer = browser.post("/sign-in/out/", page=MINE)
    assert answer.headers["location"] == SIGN_IN
    old.client.cookies.set("sessionid", stolen, domain="127.0.0.1")
    assert not is_in(old)


def test_the_cookie_is_for_this_site_and_no_script(gateway: GatewayProcess, name: str) -> None:
    browser = Browser(gateway.url)
    cookie = next(
        value
        for value in browser.password(name).headers.get_list("set-cookie")
        if value.startswith("sessionid=")
    )
    assert {"HttpOnly", "SameSite=Lax"} <= {part.strip() for part in cookie.split(";")}
    assert "Max-Age=43200" in cookie


def test_others_end_when_the_password_changes_or_one_says_so(
    gateway: GatewayProcess, name: str
) -> None:
    mine, other = signed_in(gateway, name), signed_in(gateway, name)
    new = "a new and long password"
    fields = {"old_password": PASSWORD, "new_password1": new, "new_password2": new}
    answer = mine.post("/sign-in/mine/password/", fields)
    assert (answer.status_code, answer.headers["location"]) == (302, MINE), answer.text
    assert (is_in(mine), is_in(other)) == (True, False)
    assert other.password(name, new).status_code == 302
    assert mine.post("/sign-in/mine/elsewhere/", page=MINE).status_code == 302
    assert (is_in(mine), is_in(other)) == (True, False)


def change(gateway: GatewayProcess, name: str, *, active: bool) -> None:
    """Make an operator a user who is none, active or not."""
    query = "UPDATE auth_user SET is_active = %s, is_superuser = false WHERE username = %s"
    with psycopg.connect(gateway.environment["DATABASE_URL"]) as connection:
        connection.execute(query, [active, name])


def test_who_is_switched_off_is_out_at_once(gateway: GatewayProcess, name: str) -> None:
    browser = signed_in(gateway, name)
    change(gateway, name, active=False)
    assert not is_in(browser)
    assert browser.password(name).status_code == 401


def test_a_change_of_role_gives_the_session_a_new_id(gateway: GatewayProcess, name: str) -> None:
    browser = signed_in(gateway, name)
    before = browser.session
    change(gateway, name, active=True)
    assert is_in(browser)
    assert browser.session not in {before, None}
    assert browser.get(CONSOLE).status_code == 302


# --- the second factor


def test_an_operator_without_one_may_look_and_not_change(
    gateway: GatewayProcess, name: str
) -> None:
    browser = signed_in(gateway, name)
    assert browser.get(CHANGE).status_code == 200
    answer = browser.post(CHANGE, {"name": "refused"})
    assert answer.status_code == 403
    assert SET_UP in answer.text
    token = {"X-CSRFToken": browser.client.cookies["csrftoken"]}
    refused = browser.client.post(CIRCUITS, headers=token)
    assert (refused.status_code, refused.json()["code"]) == (403, "second_factor_needed")
    key = token | {"Authorization": "Bearer mob_of_nobody"}
    assert browser.client.post(CIRCUITS, headers=key).status_code == 403
    assert browser.get("/api/v1/circuits").status_code == 200
    browser.set_up_second_factor()
    token = {"X-CSRFToken": browser.client.cookies["csrftoken"]}
    changed = browser.client.post(CIRCUITS, headers=token)
    assert changed.status_code not in {401, 403}, changed.text
    key = token | {"Authorization": "Bearer mob_of_nobody"}
    assert browser.client.post(CIRCUITS, headers=key).status_code == 403
    assert browser.post(CHANGE, {"name": "refused"}).status_code == 200  # the form, with its errors


def test_the_app_is_asked_for_and_each_code_is_good_once(
    gateway: GatewayProcess, name: str
) -> None:
    secret, codes = signed_in(gateway, name).set_up_second_factor()
    assert len(codes) == 10
    later = code_of(secret, ahead=1)
    signed_in(gateway, name, later)
    again = Browser(gateway.url)
    assert again.password(name).headers["location"] == "/sign-in/code/"
    assert not is_in(again)
    assert again.post("/sign-in/code/", {"code": later}).status_code == 401
    assert again.post("/sign-in/code/", {"code": later}).status_code in {401, 429}
    # A recovery code has a throttle of its own; it too is good once.
    assert again.post("/sign-in/code/", {"code": codes[0]}).status_code == 302
    assert "9 recovery codes left" in again.get(MINE).text
    third = Browser(gateway.url)
    third.password(name)
    assert third.post("/sign-in/code/", {"code": codes[0]}).status_code == 401


def test_guessing_codes_is_slowed_down(gateway: GatewayProcess, name: str) -> None:
    _, codes = signed_in(gateway, name).set_up_second_factor()
    browser = Browser(gateway.url)
    browser.password(name)
    wrong = "00000-00000"

    def waits() -> int:
        answer = browser.post("/sign-in/code/", {"code": wrong})
        return int(answer.headers.get("retry-after", 0))

    until(lambda: waits() >= 4, 30)  # the wait doubles
    assert browser.post("/sign-in/code/", {"code": codes[0]}).status_code == 429


def test_neither_database_nor_log_gives_a_second_factor_away(
    gateway: GatewayProcess, name: str
) -> None:
    secret, codes = signed_in(gateway, name).set_up_second_factor()
    books = Books(gateway)
    everything = str([row for table in books.tables() for row in books.rows(table)]) + gateway.log
    kept = {row["key"] for row in books.rows("otp_totp_totpdevice")}
    assert kept
    raw = base64.b32decode(secret).hex()
    for told in (secret, raw, *codes, *(code.replace("-", "") for code in codes)):
        assert told not in everything


def test_one_may_do_without_again_and_then_only_look(gateway: GatewayProcess, name: str) -> None:
    browser = signed_in(gateway, name)
    _, codes = browser.set_up_second_factor()
    other = signed_in(gateway, name, codes[0])
    answer = browser.post("/sign-in/mine/recovery-codes/", {"code": codes[1]})
    (first, *_) = re.findall(r"<li>([0-9a-f-]{11})</li>", answer.text)
    answer = browser.post("/sign-in/mine/second-factor/remove/", {"code": first})
    assert answer.headers["location"] == MINE
    assert (is_in(browser), is_in(other)) == (True, False)
    assert browser.post(CHANGE, {"name": "refused"}).status_code == 403
    signed_in(gateway, name)
