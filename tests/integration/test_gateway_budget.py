"""A hard budget that fits exactly ten calls, asked for 256 at once (`scorecard.md` M1)."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.harness.books import Books
from tests.harness.gateway import GatewayProcess, installed
from tests.harness.together import asking
from tests.integration.tight import (
    LIMIT_NANO,
    OWNERS,
    Rush,
    apply,
    check_rush,
    overspent_nano,
    prepared,
    rush_in,
    rushes,
    told_in_the_end,
)
from tests.upstream.client import Upstream

# Times that each owner's budget is the tight one, over four processes.
REPEATS = int(os.environ.get("MOBIUS_TEST_RUSHES", "4"))

pytestmark = pytest.mark.promise("M1")


@dataclass(frozen=True, slots=True)
class Fleet:
    gateway: GatewayProcess
    books: Books
    rushes: dict[str, list[Rush]]  # by owner of the tight budget; "" has none


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def fleet(
    request: pytest.FixtureRequest,
    upstream_process: Upstream,
    tmp_path_factory: pytest.TempPathFactory,
    output: Path,
) -> Iterator[Fleet]:
    """Return one process on SQLite, four on PostgreSQL, and the tenants of all rushes to come."""
    databases = request.getfixturevalue(f"{request.param}_databases")
    many = request.param == "postgres"
    url = request.getfixturevalue("redis_url") if many else ""
    turns = {owner: rushes("turn", [owner] * (REPEATS if many else 1)) for owner in ("", *OWNERS)}
    with installed(databases, tmp_path_factory.mktemp("home"), output, url) as gateway:
        apply(
            gateway, upstream_process, [rush.tenant() for each in turns.values() for rush in each]
        )
        books = Books(gateway)
        gateway.serve(workers=4 if many else 1)
        books.until_serving()
        yield Fleet(gateway, books, turns)


@pytest.mark.parametrize("owner", OWNERS)
def test_ten_of_256_are_served_and_246_refused(
    fleet: Fleet, upstream: Upstream, owner: str
) -> None:
    for n, rush in enumerate(fleet.rushes[owner]):
        check_rush(fleet.books, rush, rush_in(fleet.gateway, upstream, rush, held=n % 2 == 1))


def test_every_process_spent_and_the_books_are_right(fleet: Fleet, upstream: Upstream) -> None:
    before = len(fleet.books.terminal())
    prepared(upstream)
    spare = fleet.rushes[""][0]
    with asking(fleet.gateway.url, spare.asks()) as told:
        heard = [told_in_the_end(fleet.gateway.url, each.result()) for each in told]
    assert {each.status for each in heard} == {200}
    entries = fleet.books.terminal()[before:]
    assert {entry["writer_id"] for entry in entries} == fleet.books.writers().keys()
    assert len(fleet.books.writers()) == len(fleet.gateway.workers)
    audit = fleet.books.audit()
    assert (audit.code, audit.ok, audit.differences, audit.holds) == (0, True, [], 0)


@pytest.mark.parametrize(
    ("database_backend", "mutant"),
    [("postgres", "unchecked"), ("postgres", "unguarded"), ("sqlite", "unguarded")],
    indirect=["database_backend"],
)
def test_it_goes_red_without_the_guards(
    gateway: GatewayProcess, upstream: Upstream, mutant: str
) -> None:
    """Without the check of `decide` the database still holds; without either nothing does."""
    (rush,) = rushes("mutant", ["tenant"])
    apply(gateway, upstream, [rush.tenant()])
    books = Books(gateway)
    gateway.serve(workers=2 if gateway.environment["REDIS_URL"] else 1, mutant=mutant)
    books.until_serving()
    # Without the check alone nobody else is ever let in, and each waits for the ledger in turn.
    rushed = rush_in(gateway, upstream, rush, patience=1)
    with pytest.raises(AssertionError):
        check_rush(books, rush, rushed)
    overspent = overspent_nano(books, rush)
    assert overspent == 0 if mutant == "unchecked" else overspent > LIMIT_NANO
