"""Give the browser's tests a Chromium, an operator who is signed in, and a page that tells on.

A module says by its fixture `site` which gateway it looks at.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, StorageState

from tests.browser import actions, chromium
from tests.browser.audit import DESK
from tests.browser.tab import Tab
from tests.harness.gateway import GatewayProcess


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Return one for a file of tests: while it runs, no other event loop can."""
    with chromium.started() as browser:
        yield browser


@pytest.fixture(scope="module")
def signed_in(browser: Browser, site: GatewayProcess) -> StorageState:
    """Return the cookies of the operator."""
    with opened(browser, site) as tab:
        actions.sign_in(tab)
        return tab.page.context.storage_state()


@pytest.fixture
def tab(browser: Browser, site: GatewayProcess, signed_in: StorageState) -> Iterator[Tab]:
    """Return a page of the operator's, in a profile of its own."""
    with opened(browser, site, signed_in) as tab:
        yield tab


@contextmanager
def opened(
    browser: Browser, site: GatewayProcess, state: StorageState | None = None
) -> Iterator[Tab]:
    """Yield a page that nothing may go wrong in."""
    context = browser.new_context(
        viewport={"width": DESK[0], "height": DESK[1]}, storage_state=state
    )
    tab = Tab(context.new_page(), site.url)
    yield tab
    context.close()
    assert tab.troubles == []
