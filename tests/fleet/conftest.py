"""Start one fleet of four processes on PostgreSQL and Redis for all promises about money."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from tests.fleet.fleet import PROCESSES, Fleet
from tests.fleet.town import PRICED, town
from tests.harness.books import Books
from tests.harness.config import nano_prices
from tests.harness.database import PostgresDatabases
from tests.harness.gateway import installed
from tests.upstream.client import Upstream


@pytest.fixture(scope="session")
def fleet_processes(
    postgres_databases: PostgresDatabases,
    redis_url: str,
    upstream_process: Upstream,
    tmp_path_factory: pytest.TempPathFactory,
    output: Path,
) -> Iterator[Fleet]:
    home = tmp_path_factory.mktemp("fleet")
    with installed(postgres_databases, home, output, redis_url) as gateway:
        _look_for_deadlocks_soon(gateway.environment["DATABASE_URL"])
        gateway.apply(town(upstream_process.base_url))
        gateway.serve(workers=PROCESSES)
        books = Books(gateway)
        books.until_serving()
        yield Fleet(gateway, upstream_process, books, redis_url)


@pytest.fixture
def fleet(fleet_processes: Fleet, upstream: Upstream) -> Fleet:
    """Return it with an upstream that has seen nothing yet, and rates that nobody has used."""
    assert fleet_processes.upstream is upstream
    upstream.prices(**nano_prices(PRICED))
    fleet_processes.forget_rates()
    return fleet_processes


def _look_for_deadlocks_soon(url: str) -> None:
    """Have deadlocks found before the writers' lock timeout ends them; an owner alone may not."""
    with psycopg.connect(url, autocommit=True) as connection:
        name = sql.Identifier(connection.info.dbname)
        with suppress(psycopg.errors.InsufficientPrivilege):
            connection.execute(
                sql.SQL("ALTER DATABASE {} SET deadlock_timeout = '50ms'").format(name)
            )
