"""What somebody writes into a field is text on every page, and never runs."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib import admin
from django.urls import reverse
from playwright.sync_api import Browser

from tests.browser.tab import Tab
from tests.harness.database import SqliteDatabases
from tests.harness.gateway import GatewayProcess, installed
from tests.harness.people import make_operator
from tests.legs import Figure

pytestmark = [pytest.mark.promise("S13"), pytest.mark.timed]

# Each is in every name and text of a tenant that has a row of everything.
CORPUS = (
    "\"'><img src=x onerror=ran()><svg/onload=ran()><a href='javascript:ran()'>a</a>",
    "</script></title></textarea><script>ran()</script><details open ontoggle=ran()>{{7*7}}",
    "${ran()}`;ran();//\\u003cimg src=x onerror=ran()\\u003e<iframe srcdoc='<b onclick=ran()>'>",
)
_MAKE = """
import json, os
from llm_gateway.management.isolation import tenancy
towns = [tenancy.make(mark) for mark in json.loads(os.environ["CORPUS"])]
print(json.dumps([{"pages": one.pages, "session": one.sessions["owner"]} for one in towns]))
"""
_WATCH = "window.ran = () => { window.hits = (window.hits || 0) + 1 }"
_HITS = "() => window.hits || 0"


@pytest.fixture(scope="module")
def site(
    sqlite_databases: SqliteDatabases, tmp_path_factory: pytest.TempPathFactory, output: Path
) -> Iterator[GatewayProcess]:
    with installed(sqlite_databases, tmp_path_factory.mktemp("home"), output) as gateway:
        make_operator(gateway)
        yield gateway.serve()


@pytest.fixture(scope="module")
def towns(site: GatewayProcess) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(
        site.managed("shell", "-v", "0", "-c", _MAKE, CORPUS=json.dumps(CORPUS))
    )
    return found


def lists() -> Iterator[str]:
    yield from ("/", "/admin/")
    for model in admin.site._registry:
        yield reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")


def rows_of(town: dict[str, Any]) -> Iterator[str]:
    for model in admin.site._registry:
        if (row := town["pages"].get(model.__name__)) is not None:
            stem = f"admin:{model._meta.app_label}_{model._meta.model_name}"
            yield reverse(f"{stem}_change", args=[row])


def test_nothing_that_is_written_into_a_field_runs(
    tab: Tab, towns: list[dict[str, Any]], browser: Browser, site: GatewayProcess, figure: Figure
) -> None:
    tab.page.add_init_script(_WATCH)
    ran, seen = 0, 0
    for address in [*lists(), *(row for town in towns for row in rows_of(town))]:
        assert tab.open(address) == 200, address
        ran += tab.page.evaluate(_HITS)
        seen += 1
    context = browser.new_context()
    for town in towns:
        context.add_cookies([{"name": "sessionid", "value": town["session"], "url": site.url}])
        portal = Tab(context.new_page(), site.url)
        portal.page.add_init_script(_WATCH)
        assert portal.open("/") == 200
        ran += portal.page.evaluate(_HITS)
        seen += 1
        assert portal.troubles == []
    context.close()
    figure(f"scripts run on {seen} pages", ran, "0")
    assert ran == 0
    assert tab.troubles == []  # nor was anything kept from running by the policy alone


def test_what_would_run_is_seen(tab: Tab) -> None:
    """Mutation control: a page that writes such a field as it came goes red."""
    tab.page.add_init_script(_WATCH)
    tab.open("/sign-in/mine/")
    tab.page.evaluate("mark => { document.body.innerHTML = mark }", CORPUS[0])
    tab.page.wait_for_timeout(200)
    assert tab.troubles  # the policy stops it, and says so
    tab.troubles.clear()
