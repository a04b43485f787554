"""Every page of the console opens, asks nobody else, and shuts nobody out."""

import os
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, StorageState

from tests.browser import pages
from tests.browser.audit import faults
from tests.browser.conftest import opened
from tests.browser.paint import first_paint_ms, sent_bytes
from tests.browser.tab import Tab
from tests.browser.town import give_past, give_present
from tests.harness.books import Books
from tests.harness.database import SqliteDatabases
from tests.harness.gateway import GatewayProcess, installed
from tests.harness.people import SIGN_IN, make_operator

pytestmark = pytest.mark.timed

HEAVIEST = ("/admin/", "/admin/llm_gateway/requestlog/", "/admin/llm_gateway/model/add/")
LIGHT_BYTES = 600 * 1024  # with all that a page loads, as it is sent
SOON_MS = 1_500 if "MOBIUS_TEST_STRICT" in os.environ else 15_000


@pytest.fixture(scope="module")
def site(
    sqlite_databases: SqliteDatabases, tmp_path_factory: pytest.TempPathFactory, output: Path
) -> Iterator[GatewayProcess]:
    """Return a gateway with a past, and something that runs now."""
    with installed(sqlite_databases, tmp_path_factory.mktemp("home"), output) as gateway:
        give_past(gateway, days=3, per_day=100)
        make_operator(gateway)
        give_present(gateway)
        yield gateway


@pytest.fixture(scope="module")
def kept_tab(browser: Browser, site: GatewayProcess, signed_in: StorageState) -> Iterator[Tab]:
    """Return one page for all: its scripts and styles come once."""
    with opened(browser, site, signed_in) as tab:
        yield tab
        tab.troubles.clear()  # each test has told its own


@pytest.fixture(scope="module")
def first_row(site: GatewayProcess) -> pages.Row:
    books = Books(site)

    def first_row(model: Any) -> Any:
        rows = books.rows(model._meta.db_table)
        return rows[0][model._meta.pk.column] if rows else None

    return first_row


def name_of(section: Any) -> str:
    return section._meta.label if section else "site"


@pytest.mark.parametrize("section", pages.sections(), ids=name_of)
def test_every_page_opens_and_shuts_nobody_out(
    kept_tab: Tab, first_row: pages.Row, section: Any
) -> None:
    found: list[str] = []
    kept_tab.troubles.clear()
    for address in pages.addresses(section, first_row):
        status = kept_tab.open(address)
        if status == HTTPStatus.FORBIDDEN and address.endswith(("/add/", "/delete/")):
            kept_tab.troubles.clear()  # what the gateway wrote: its list offers neither
            continue
        assert status == HTTPStatus.OK, address
        found += [f"{address} {fault}" for fault in faults(kept_tab.page)]
    assert found + kept_tab.troubles == []


@pytest.mark.parametrize("address", ["/", SIGN_IN, f"{SIGN_IN}forgotten/"])
def test_what_a_stranger_sees_shuts_nobody_out(
    browser: Browser, site: GatewayProcess, address: str
) -> None:
    with opened(browser, site) as tab:
        assert tab.open(address) == HTTPStatus.OK
        assert faults(tab.page) == []


@pytest.mark.parametrize("address", HEAVIEST)
def test_a_page_is_light_and_soon_there(tab: Tab, address: str) -> None:
    tab.open(address)
    assert first_paint_ms(tab.page) < SOON_MS
    assert sent_bytes(tab.page) < LIGHT_BYTES
