"""What one tenant has is nothing to another, by any route: asked by `manage.py check_isolation`.

The questions are made from the table of routes, so one that nobody knows how to ask is red.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llm_gateway.access import AUTHZ_MATRIX
from llm_gateway.management.isolation import matrix, tenancy
from llm_gateway.management.isolation.asking import ACTORS
from llm_gateway.management.isolation.matrix import UnlistedError
from tenants.models import Tenant
from tests.harness.books import Books
from tests.harness.config import configuration
from tests.harness.database import SqliteDatabases
from tests.harness.gateway import GatewayProcess, installed
from tests.harness.people import make_operator
from tests.legs import Figure
from tests.upstream.client import Upstream

pytestmark = pytest.mark.promise("S1")

ITSELF, AFTERWARDS = "the tenant itself", "rows afterwards"
OF_ITS_OWN = [f"{name} of its own" for name in ACTORS[1:]]
# What counts on by itself, and what the audit and the history say of two tenants that were there:
# nobody can take that out.
LASTING = {
    *("tenants_auditevent", "tenants_installsecret", "llm_gateway_configurationstate"),
    *("llm_gateway_runningnow", "ledger_check", "sqlite_sequence"),
}
# They take no id of anything: nothing to ask them for. One more is red.
PLACELESS = {
    *(("GET", route) for route in matrix.SAME_FOR_ALL),
    # who signs in or out, and what each changes of their own sign-in
    *(("POST", f"/sign-in/{page}") for page in ("", "code/", "out/", "forgotten/")),
    ("POST", "/sign-in/mine/password/"),
    *(("POST", f"/sign-in/mine/second-factor/{page}") for page in ("", "remove/")),
    *(("POST", f"/sign-in/mine/{page}/") for page in ("recovery-codes", "elsewhere")),
    ("POST", "/v1/files"),
    ("POST", "/v1/conversations"),
    ("DELETE", "/api/v1/cache"),
}
Asked = dict[str, Any]


@pytest.fixture(scope="module")
def gateway(
    sqlite_databases: SqliteDatabases,
    upstream_process: Upstream,
    tmp_path_factory: pytest.TempPathFactory,
    output: Path,
) -> Iterator[GatewayProcess]:
    with installed(sqlite_databases, tmp_path_factory.mktemp("home"), output) as gateway:
        gateway.apply(configuration(upstream_process.base_url))
        make_operator(gateway)
        yield gateway


def checked(gateway: GatewayProcess, *options: str) -> tuple[int, dict[str, Asked]]:
    """Return how the command ended, and what came of each who asked."""
    run = gateway.manage("check_isolation", "--url", gateway.url, "--json", *options)
    assert run.stdout, run.stderr
    return run.code, {each["actor"]: each for each in json.loads(run.stdout)}


def counts(gateway: GatewayProcess) -> dict[str, int]:
    books = Books(gateway)
    return {table: len(books.rows(table)) for table in books.tables() if table not in LASTING}


@pytest.fixture(scope="module")
def told(gateway: GatewayProcess) -> dict[str, Asked]:
    """Return what came of asking an installation that has tenants of its own beside."""
    gateway.serve()
    before = counts(gateway)
    code, told = checked(gateway)
    after = counts(gateway)
    # Versions and looks count on; nothing of the two tenants is left.
    assert {name: after[name] for name in before} == before
    assert set(told) == {ITSELF, AFTERWARDS, *ACTORS, *OF_ITS_OWN}
    assert code == any(each["faults"] for each in told.values())
    gateway.terminate()
    return told


@pytest.mark.parametrize("name", [ITSELF, *ACTORS, *OF_ITS_OWN, AFTERWARDS])
def test_nothing_of_another_tenant_is_read_or_written(
    told: dict[str, Asked], figure: Figure, name: str
) -> None:
    asked = told[name]
    assert asked["faults"] == []
    assert min(asked["questions"], asked["routes"]) > 10
    figure(f"leaks and writes as {name}, of {asked['questions']}", len(asked["faults"]), "0")


def test_every_route_with_a_place_for_an_id_is_asked(
    told: dict[str, Asked], figure: Figure
) -> None:
    some = tenancy.nobody()
    town = tenancy.Town(
        tenant=Tenant(name="x"), mark="x", ids=some, keys={}, sessions={}, pages={"Tenant": 1}
    )
    asked = {(one.method, one.route) for one in matrix.questions(town, town, some)}
    rows = {row[1:] for row in AUTHZ_MATRIX if row[0] in {"http", "ws"}}
    figure("routes asked", told["owner"]["routes"], f"{len(rows - PLACELESS)}")
    assert {row for row in rows - asked if row[1] != matrix.CONSOLE} == PLACELESS
    assert told["owner"]["routes"] == len(asked)


def test_a_route_that_nobody_can_ask_is_an_error() -> None:
    ids = tenancy.nobody()
    with pytest.raises(UnlistedError, match="gadgets"):
        matrix.path_of("/api/v1/gadgets/{id}", ids)
    with pytest.raises(UnlistedError, match="nobody has said"):
        matrix.bodies_of("POST", "/api/v1/gadgets")


def test_it_is_red_without_its_guards(gateway: GatewayProcess) -> None:
    """Mutation control: nobody looks at scopes and roles, nor at whose rows are read."""
    gateway.serve(mutant="unasked+unscoped")
    code, told = checked(gateway, "--as", "plain key")
    gateway.terminate()
    faults = told["plain key"]["faults"]
    assert code == 1
    assert len([fault for fault in faults if "is not for plain key" in fault]) > 20
    assert len([fault for fault in faults if "shows 'isolation-" in fault]) > 5
    assert told[AFTERWARDS]["faults"]  # and written what is not one's own


def test_nothing_is_left_where_nobody_serves(gateway: GatewayProcess) -> None:
    run = gateway.manage("check_isolation", "--url", gateway.url)
    assert (run.code, "does not answer" in run.stderr) == (1, True)
    assert not [row for row in Books(gateway).rows("tenants_tenant") if "isolation" in row["name"]]
