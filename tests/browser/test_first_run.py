"""From an empty installation to the first answer, by the console alone."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, expect

from tests.browser import actions
from tests.browser.conftest import opened
from tests.harness.database import SqliteDatabases
from tests.harness.dialects import Told, fetch
from tests.harness.gateway import GatewayProcess, installed
from tests.harness.people import make_operator

pytestmark = pytest.mark.timed


@pytest.fixture(scope="module")
def site(
    sqlite_databases: SqliteDatabases, tmp_path_factory: pytest.TempPathFactory, output: Path
) -> Iterator[GatewayProcess]:
    with installed(sqlite_databases, tmp_path_factory.mktemp("home"), output) as gateway:
        make_operator(gateway)
        yield gateway.serve()


def test_from_nothing_to_the_first_answer(browser: Browser, site: GatewayProcess) -> None:
    with opened(browser, site) as tab:
        page = tab.page
        actions.sign_in(tab)
        expect(page.get_by_text("No request yet")).to_be_visible()

        actions.begin(page, "Providers")
        actions.fill(page, {"Name": "played", "Kind": "mock"})
        actions.save(page)

        actions.begin(page, "Models")
        actions.search(page, "Provider", "played")
        actions.fill(page, {"Name": "parrot", "Context window": "8000", "Max output tokens": "500"})
        for capability in ("chat", "stream"):
            page.get_by_label(capability, exact=True).check()
        page.get_by_role("link", name="Add another New price").click()
        price = page.get_by_role("group", name="New price")
        for name, value in {"Valid from": "2020-01-01", "Input": "1.00", "Output": "2.00"}.items():
            price.get_by_role("textbox", name=name).fill(value)
        actions.save(page)

        actions.begin(page, "Tenants")
        actions.fill(page, {"Name": "acme"})
        actions.save(page)

        actions.begin(page, "API keys")
        actions.search(page, "Tenant", "acme")
        actions.fill(page, {"Name": "first"})
        page.get_by_role("button", name="Save", exact=True).click()
        curl = page.locator("pre", has_text="curl ").inner_text()

        told = asked_as_written(curl)
        assert told.status == 200, told.text
        assert "mock provider" in told.text

        actions.go(page, "Requests")
        expect(page.get_by_role("row", name=re.compile("acme first parrot .*200"))).to_be_visible()
        actions.go(page, "Overview")
        expect(page.get_by_text("No request yet")).to_be_hidden()


def asked_as_written(curl: str) -> Told:
    """Send what the line for the shell would send."""
    words = shlex.split(curl.replace("\\\n", ""))
    sent = dict(zip(words[2::2], words[3::2], strict=True))
    address = urlsplit(words[1])
    key = re.search(r"Bearer (\S+?)\"", curl)
    assert sent.keys() == {"-H", "-d"}
    assert key is not None
    headers = {"Authorization": f"Bearer {key[1]}"}
    url = f"http://{address.netloc}"
    return fetch(url, "POST", address.path, sent["-d"].encode(), headers)
