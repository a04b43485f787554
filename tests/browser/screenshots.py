"""`make screenshots`: take each main page, light and dark, over 90 days of made-up traffic.

They go to `docs/console/`, where `docs/console.md` shows them.
"""

import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from uuid import UUID

from playwright.sync_api import Page

from tests.browser import actions, chromium
from tests.browser.audit import put_theme
from tests.browser.conftest import opened
from tests.browser.tab import Tab
from tests.browser.town import give_past, give_present
from tests.harness.books import Books
from tests.harness.database import SqliteDatabases
from tests.harness.gateway import installed, migrate_into
from tests.harness.people import SIGN_IN, make_members, make_operator
from tests.harness.processes import PROJECT

FOLDER = PROJECT / "docs" / "console"
PAGES = {
    "overview": "/admin/?range=30d",
    "playground": "/admin/playground/",
    "live": "/admin/llm_gateway/runningnow/",
    "requests": "/admin/llm_gateway/requestlog/",
    "request": "/admin/llm_gateway/requestlog/{request}/change/",
    "models": "/admin/llm_gateway/model/",
    "prices": "/admin/llm_gateway/price/",
    "routes": "/admin/llm_gateway/route/",
    "circuits": "/admin/llm_gateway/circuitchange/",
    "budgets": "/admin/tenants/budget/",
    "buckets": "/admin/tenants/bucket/",
    "money": "/admin/money/",
    "money-of-a-tenant": "/admin/money/?tenant=acme",
    "tenants": "/admin/tenants/tenant/",
    "keys": "/admin/tenants/apikey/",
    "guardrail": "/admin/tenants/guardrail/add/",
    "raises": "/admin/tenants/raiserequest/",
    "integrity": "/admin/tenants/ledgercheck/",
    "invoices": "/admin/llm_gateway/invoiceline/",
    "alerts": "/admin/tenants/alert/",
    "sinks": "/admin/tenants/alertsink/",
    "provider": "/admin/llm_gateway/provider/1/change/",
    "history": "/admin/llm_gateway/configurationstate/",
    "audit": "/admin/tenants/auditevent/",
}
STRANGERS = {"sign-in": SIGN_IN}
MEMBER, MEMBERS = "olga@acme.test", {"portal": "/", "advice": "/portal/advice/"}
_DRAWN_MS = 1500


def main() -> int:
    """Write the pictures; return 0."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="mobius-screenshots-") as name:
        home, output = Path(name, "home"), Path(name, "output")
        home.mkdir()
        output.mkdir()
        databases = SqliteDatabases(output, migrate_into(output))
        with installed(databases, home, output) as gateway, chromium.started() as browser:
            give_past(gateway, days=90, per_day=400)
            make_operator(gateway)
            make_members(gateway)
            give_present(gateway)
            newest = max(row["id"] for row in Books(gateway).rows("llm_gateway_requestlog"))
            with opened(browser, gateway) as tab:
                _take_all(tab, STRANGERS)
                actions.sign_in(tab)
                pages = PAGES.items()
                _take_all(tab, {title: one.format(request=UUID(newest)) for title, one in pages})
            with opened(browser, gateway) as tab:
                actions.sign_in(tab, MEMBER, leads_to="Console")
                _take_all(tab, MEMBERS)
    return 0


def _take_all(tab: Tab, pages: Mapping[str, str]) -> None:
    for title, address in pages.items():
        tab.open(address)
        _take(tab.page, title)


def _take(page: Page, title: str) -> None:
    """Take a page as it is seen first, without scrolling; charts have been drawn by then."""
    for theme in ("light", "dark"):
        put_theme(page, dark=theme == "dark")
        page.wait_for_timeout(_DRAWN_MS)
        page.screenshot(path=FOLDER / f"{title}-{theme}.png", animations="disabled")


if __name__ == "__main__":
    sys.exit(main())
