"""What a person does in the console, by the words on its pages."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from playwright.sync_api import Page, expect

from tests.browser.tab import Tab
from tests.harness.people import PASSWORD, SIGN_IN

_SAVED = re.compile("was (added|changed) successfully")


def sign_in(tab: Tab, user: str = "root", leads_to: str = "Overview") -> None:
    """Sign in; operators find the console behind it, people of a tenant their portal."""
    tab.open(SIGN_IN)
    tab.page.get_by_label("User").fill(user)
    tab.page.get_by_label("Password").fill(PASSWORD)
    tab.page.get_by_role("button", name="Sign in").click()
    expect(tab.page.get_by_role("link", name=leads_to)).to_be_visible()


def ask_for_raise(page: Page, budget: str, dollars: str, reason: str) -> None:
    """Ask for more for a day, in the portal."""
    card = page.get_by_role("article").filter(has_text=budget)
    card.get_by_text("Ask for a raise").click()
    card.get_by_label("US dollars on top of the limit").fill(dollars)
    until = datetime.now(UTC) + timedelta(days=1)
    card.get_by_label("Until").fill(f"{until:%Y-%m-%dT%H:%M}")
    card.get_by_label("What for").fill(reason)
    card.get_by_role("button", name="Ask").click()


def approve(page: Page, asked_by: str) -> None:
    """Approve a raise that somebody asked for, in the console."""
    go(page, "Raises asked for")
    page.get_by_role("row").filter(has_text=asked_by).get_by_role("link").first.click()
    page.get_by_role("link", name=re.compile(r"\bApprove$")).click()
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_text("Approved: it counts now.")).to_be_visible()


def go(page: Page, name: str) -> None:
    """Go to a page of the sidebar."""
    page.get_by_role("navigation").get_by_role("link", name=re.compile(rf"\b{name}$")).click()


def begin(page: Page, name: str) -> None:
    """Open the form for a new one."""
    go(page, name)
    page.get_by_role("link", name="add", exact=True).click()


def fill(page: Page, values: Mapping[str, str]) -> None:
    for label, value in values.items():
        field = page.get_by_label(label, exact=False).first
        if field.evaluate("field => field.tagName") == "SELECT":
            field.select_option(value)
        else:
            field.fill(value)


def search(page: Page, label: str, name: str) -> None:
    """Choose one of many by typing its name."""
    page.locator(f"[role=combobox][aria-label^='{label}']").click()
    page.get_by_role("searchbox").fill(name)
    page.get_by_role("option", name=name).click()


def save(page: Page) -> None:
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text(_SAVED)).to_be_visible()


def raise_for_a_day(page: Page, budget: str, dollars: str) -> None:
    """Give a budget more for a while, from its own page."""
    go(page, "Budgets")
    page.get_by_role("link", name=budget, exact=True).click()
    page.get_by_role("link", name=re.compile(r"\bRaise$")).click()
    page.get_by_label("US dollars on top of the limit").fill(dollars)
    until = datetime.now(UTC) + timedelta(days=1)
    page.get_by_label("Until").fill(f"{until:%Y-%m-%dT%H:%M}")
    page.get_by_role("button", name="Raise").click()
    expect(page.get_by_text("is raised; the next request counts with it")).to_be_visible()


def new_key(page: Page, tenant: str, name: str) -> str:
    """Issue an API key; return its secret, which stands on no other page."""
    begin(page, "API keys")
    search(page, "Tenant", tenant)
    fill(page, {"Name": name})
    page.get_by_role("button", name="Save", exact=True).click()
    return page.locator("pre.secret").inner_text().strip()
