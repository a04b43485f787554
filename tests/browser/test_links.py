"""What comes by mail opens pages that shut nobody out."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.audit import faults
from tests.browser.conftest import opened
from tests.harness.database import SqliteDatabases
from tests.harness.gateway import GatewayProcess, installed
from tests.harness.mailbox import Mailbox, receiving
from tests.harness.people import SIGN_IN, make_operator
from tests.harness.together import until

NEW = "a new and long enough password"
_LINK = re.compile(r"http://\S+")


@pytest.fixture(scope="module")
def mailbox() -> Iterator[Mailbox]:
    with receiving() as mailbox:
        yield mailbox


@pytest.fixture(scope="module")
def site(
    sqlite_databases: SqliteDatabases,
    mailbox: Mailbox,
    tmp_path_factory: pytest.TempPathFactory,
    output: Path,
) -> Iterator[GatewayProcess]:
    with installed(sqlite_databases, tmp_path_factory.mktemp("home"), output) as gateway:
        gateway.environment |= {"EMAIL_URL": mailbox.url, "EMAIL_FROM": "gateway@example.test"}
        make_operator(gateway)
        yield gateway.serve()


def newest_link(mailbox: Mailbox, email: str) -> str:
    until(lambda: bool(mailbox.to(email)), 10)
    found = _LINK.search(mailbox.to(email)[-1])
    assert found is not None
    return found[0]


def test_a_forgotten_password_is_chosen_anew(
    browser: Browser, site: GatewayProcess, mailbox: Mailbox
) -> None:
    with opened(browser, site) as tab:
        page = tab.page
        tab.open(SIGN_IN)
        page.get_by_role("link", name="Forgot your password?").click()
        page.get_by_label("E-mail").fill("root@example.test")
        found = faults(page)
        page.get_by_role("button", name="Send the link").click()
        expect(page.get_by_role("heading", name="Look into your mailbox")).to_be_visible()
        found += faults(page)
        link = newest_link(mailbox, "root@example.test")
        page.goto(link)
        for label in ("New password", "New password confirmation"):
            page.get_by_label(label, exact=False).last.fill(NEW)
        page.get_by_label("New password").first.fill(NEW)
        found += faults(page)
        page.get_by_role("button", name="Change it").click()
        expect(page.get_by_role("status")).to_contain_text("sign in with it")
        found += faults(page)
        page.get_by_label("User").fill("root")
        page.get_by_label("Password").fill(NEW)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("link", name="Overview")).to_be_visible()
        assert tab.troubles == []
        page.goto(link)
        expect(page.get_by_role("heading", name="This link is over")).to_be_visible()
        found += faults(page)
        tab.troubles.clear()  # that it is gone is what is wanted
    assert found == []
