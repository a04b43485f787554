"""What the people of a tenant come for: more money, their own numbers, and nobody else's."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browser import actions
from tests.browser.audit import faults
from tests.browser.conftest import opened
from tests.browser.tab import Tab
from tests.harness.canary import canary
from tests.harness.config import budget, configuration, key, tenant
from tests.harness.database import SqliteDatabases
from tests.harness.dialects import OPENAI
from tests.harness.gateway import GatewayProcess, installed
from tests.harness.people import make_members, make_operator
from tests.upstream.client import Upstream
from tests.upstream.scripts import answer, stream

pytestmark = pytest.mark.timed

OURS, THEIRS = canary("api-key-ours"), canary("api-key-theirs")
ROLES = ("viewer", "member", "admin")
FOREIGN = "globex"
MONEY = "/admin/money/"
_FORGOTTEN = """
from datetime import timedelta
from django.utils import timezone
from tenants.models import ApiKey
long_ago = timezone.now() - timedelta(days=99)
ApiKey.all_tenants_unsafe.filter(name="forgotten").update(created_at=long_ago)
"""


@pytest.fixture(scope="module")
def site(
    sqlite_databases: SqliteDatabases,
    upstream_process: Upstream,
    tmp_path_factory: pytest.TempPathFactory,
    output: Path,
) -> Iterator[GatewayProcess]:
    search = {"name": "search", "budgets": [budget("0.000001", name="pocket")]}
    acme = tenant(
        members=[{"email": f"{role}@acme.test", "role": role} for role in ROLES],
        projects=[search],
        keys=[
            key("dev", OURS, project="search", holder="member@acme.test"),
            key("forgotten", canary("api-key-forgotten")),
        ],
    )
    globex = tenant(
        FOREIGN,
        log_payloads="full",
        members=[{"email": f"owner@{FOREIGN}.test", "role": "owner"}],
        projects=[{"name": f"{FOREIGN}-lab", "budgets": [budget("5", name=f"{FOREIGN}-money")]}],
        keys=[key(f"{FOREIGN}-key", THEIRS, project=f"{FOREIGN}-lab")],
    )
    with installed(sqlite_databases, tmp_path_factory.mktemp("home"), output) as gateway:
        gateway.apply(configuration(upstream_process.base_url, tenants=[acme, globex]))
        make_operator(gateway)
        make_members(gateway)
        yield gateway.serve()


def somebody(tab: Tab, role: str) -> None:
    actions.sign_in(tab, f"{role}@acme.test", leads_to="Console")


def test_who_hits_the_limit_asks_for_a_raise_and_is_answered_once_it_is_approved(
    browser: Browser, site: GatewayProcess, upstream: Upstream
) -> None:
    upstream.script("alpha", answer("at last"))
    refused = OPENAI.ask(site.url, "alpha", key=OURS)
    assert (refused.status, refused.code) == (402, "insufficient_quota")
    with opened(browser, site) as tab:
        somebody(tab, "member")
        actions.ask_for_raise(tab.page, "pocket", "3", "the demo on Monday")
        expect(tab.page.get_by_role("cell", name="the demo on Monday")).to_be_visible()
    with opened(browser, site) as tab:
        somebody(tab, "admin")
        tab.open("/admin/")
        actions.approve(tab.page, "member@acme.test")
    assert OPENAI.ask(site.url, "alpha", key=OURS).status == 200
    with opened(browser, site) as tab:
        somebody(tab, "member")
        expect(tab.page.get_by_role("cell", name="approved")).to_be_visible()


def test_more_money_is_asked_for_and_given_on_one_page(
    browser: Browser, site: GatewayProcess
) -> None:
    with opened(browser, site) as tab:
        somebody(tab, "member")
        tab.open(MONEY)
        actions.ask_for_raise(tab.page, "pocket", "2", "the fair")
        expect(tab.page.get_by_text("member@acme.test asks for $2.00 more")).to_be_visible()
        assert faults(tab.page) == []
    with opened(browser, site) as tab:
        somebody(tab, "admin")
        tab.open(MONEY)
        assert faults(tab.page) == []
        tab.page.get_by_role("listitem").filter(has_text="the fair").get_by_text("Approve").click()
        expect(tab.page.get_by_text("Approved: it counts now.")).to_be_visible()
        row = tab.page.get_by_role("row", name=re.compile("the fair in force"))
        expect(row).to_be_visible()
        assert faults(tab.page) == []
    for name in ("viewer@acme.test", "root"):
        with opened(browser, site) as tab:
            actions.sign_in(tab, name, leads_to="Overview" if name == "root" else "Console")
            tab.open(f"{MONEY}?tenant=acme")
            expect(tab.page.get_by_role("article").filter(has_text="pocket")).to_be_visible()
            expect(tab.page.get_by_text("Ask for a raise")).to_have_count(0)
            assert faults(tab.page) == []


def test_what_would_save_money_is_done_and_taken_back(
    browser: Browser, site: GatewayProcess
) -> None:
    site.managed("shell", "-c", _FORGOTTEN)
    with opened(browser, site) as tab:
        somebody(tab, "admin")
        tab.open(MONEY)
        tab.page.get_by_role("link", name="What would save money").click()
        card = tab.page.get_by_role("article").filter(has_text="Revoke the key forgotten")
        expect(card).to_be_visible()
        assert faults(tab.page) == []
        card.get_by_role("button", name="End the key now").click()
        done = tab.page.get_by_role("article").filter(has_text="The key ended")
        expect(done).to_be_visible()
        expect(card).to_have_count(0)
        assert faults(tab.page) == []
        done.get_by_role("button", name="Take it back").click()
        expect(card).to_be_visible()
        expect(done).to_contain_text("changed since")


def test_a_viewer_finds_nothing_of_another_tenant(
    browser: Browser, site: GatewayProcess, upstream: Upstream
) -> None:
    upstream.script("alpha", answer("to somebody else"))
    assert OPENAI.ask(site.url, "alpha", key=THEIRS).status == 200
    with opened(browser, site) as tab:
        somebody(tab, "viewer")
        page = tab.page
        check_own(page.content())
        tab.open("/admin/")
        names = (
            page.get_by_role("navigation")
            .get_by_role("link")
            .evaluate_all("links => links.map(link => link.getAttribute('href'))")
        )
        paths = {name for name in names if name and re.match(r"/admin/\w", name)}
        assert len(paths) > 8
        for path in sorted(paths):
            assert tab.open(path) == 200, path
            check_own(page.content())


def test_an_owner_reads_what_was_said_and_asks_it_again(
    browser: Browser, site: GatewayProcess, upstream: Upstream
) -> None:
    upstream.script("alpha", stream("forty", "-two"), answer("still forty-two"))
    fields = {"content": "What is six times seven?", "temperature": 0.5}
    asked = OPENAI.ask(site.url, "alpha", key=THEIRS, stream=True, **fields)
    assert asked.status == 200
    with opened(browser, site) as tab:
        actions.sign_in(tab, f"owner@{FOREIGN}.test", leads_to="Console")
        page = tab.page
        tab.open(f"/admin/llm_gateway/requestlog/{asked.request_id}/change/")
        expect(page.get_by_text("forty-two")).to_be_visible()
        page.get_by_role("link", name="Replay in playground").click()
        expect(page.get_by_label("Prompt")).to_have_value("What is six times seven?")
        expect(page.get_by_label("Temperature")).to_have_value("0.5")
        page.get_by_role("button", name="Ask", exact=True).click()
        expect(page.get_by_text("still forty-two")).to_be_visible()


def check_own(html: str) -> None:
    assert FOREIGN not in html
