"""What an operator comes to the console for, from the first click to what callers then hear."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser import actions
from tests.browser.tab import Tab
from tests.harness.config import configuration, model, openai_provider
from tests.harness.database import SqliteDatabases
from tests.harness.dialects import OPENAI
from tests.harness.gateway import GatewayProcess, installed
from tests.harness.people import make_operator
from tests.harness.together import until
from tests.upstream.client import Upstream
from tests.upstream.scripts import answer, failing, gated

pytestmark = pytest.mark.timed

LIMIT_S = 30
# Opens at the second failure and stays so for longer than any test takes.
_BREAKER = {"failure_threshold": 2, "recovery_timeout": 600, "max_recovery_timeout": 600}


@pytest.fixture(scope="module")
def site(
    sqlite_databases: SqliteDatabases,
    upstream_process: Upstream,
    tmp_path_factory: pytest.TempPathFactory,
    output: Path,
) -> Iterator[GatewayProcess]:
    url = upstream_process.base_url
    brittle = openai_provider(url, "brittle", circuit_breaker=_BREAKER, retry={"max_attempts": 1})
    wanted = configuration(url)
    wanted["providers"].append(brittle)
    wanted["models"].append(model("glass", "brittle"))
    with installed(sqlite_databases, tmp_path_factory.mktemp("home"), output) as gateway:
        gateway.apply(wanted)
        make_operator(gateway)
        yield gateway.serve()


def test_who_hits_the_limit_is_answered_after_a_raise(
    tab: Tab, site: GatewayProcess, upstream: Upstream
) -> None:
    page = tab.page
    tab.open("/admin/")
    actions.begin(page, "Tenants")
    actions.fill(page, {"Name": "frugal"})
    actions.save(page)
    actions.begin(page, "Budgets")
    actions.fill(page, {"Name": "pocket", "limit in USD": "0.000001"})
    actions.search(page, "Tenant", "frugal")
    actions.save(page)
    key = actions.new_key(page, "frugal", "first")

    refused = OPENAI.ask(site.url, "alpha", key=key)
    assert (refused.status, refused.code) == (402, "insufficient_quota")

    actions.raise_for_a_day(page, "pocket", "5.00")
    until(lambda: OPENAI.ask(site.url, "alpha", key=key).status == 200, LIMIT_S, every_s=0.2)
    assert upstream.order == ["alpha"]


def test_a_stream_is_stopped_from_the_live_page(
    tab: Tab, site: GatewayProcess, upstream: Upstream
) -> None:
    upstream.script("beta", gated("never", 3))
    page = tab.page
    with ThreadPoolExecutor(1) as threads:
        told = threads.submit(OPENAI.ask, site.url, "beta", stream=True)
        tab.open("/admin/")
        actions.go(page, "Live")
        row = page.get_by_role("row", name=re.compile("acme .* beta openai"))
        row.get_by_role("button", name="Stop").click(timeout=LIMIT_S * 1000)
        expect(page.get_by_text("was stopped")).to_be_visible()
        assert "stopped" in OPENAI.stream_error(told.result(LIMIT_S))["message"]
    expect(page.get_by_text("Nothing runs now")).to_be_visible()


def test_an_open_circuit_is_reset(tab: Tab, site: GatewayProcess, upstream: Upstream) -> None:
    upstream.script("glass", failing(500), failing(500), answer("whole again"))
    asked = (OPENAI.ask(site.url, "glass").status for _ in range(20))
    assert 503 in asked
    calls = len(upstream.calls)
    page = tab.page
    tab.open("/admin/")
    actions.go(page, "Circuits")
    row = page.get_by_role("row", name=re.compile("glass brittle open"))
    row.get_by_role("link", name="Reset").click()
    page.get_by_role("button", name="Reset").click()
    expect(page.get_by_text("In force in a second")).to_be_visible()
    until(lambda: OPENAI.ask(site.url, "glass").status == 200, LIMIT_S, every_s=0.2)
    assert len(upstream.calls) > calls


def test_a_change_that_was_a_mistake_is_rolled_back(tab: Tab, site: GatewayProcess) -> None:
    page = tab.page
    tab.open("/admin/")
    actions.go(page, "History")  # what is there now is kept
    state = page.locator("th.field-title a").first.inner_text()
    actions.begin(page, "Tenants")
    actions.fill(page, {"Name": "mistaken"})
    actions.save(page)
    actions.go(page, "History")
    page.get_by_role("link", name=state, exact=True).first.click()
    expect(page.get_by_text("mistaken").first).to_be_visible()  # from then to now
    page.get_by_role("link", name=re.compile(r"\bPlan roll back$")).click()
    expect(page.get_by_text("- tenant mistaken")).to_be_visible()
    page.get_by_role("button", name="Roll back").click()
    expect(page.get_by_text(re.compile(r"The configuration is that of .+ again"))).to_be_visible()
    assert "mistaken" not in site.managed("export")
