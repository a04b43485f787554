"""Give the tests that only need some working gateway one that is started once for all of them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.books import Books
from tests.harness.config import configuration, models, nano_prices
from tests.harness.database import SqliteDatabases
from tests.harness.gateway import GatewayProcess, installed
from tests.harness.untrusted import Untrusted
from tests.integration.faulty import Faulty, client_of, faulty_configuration
from tests.upstream.client import Upstream


@pytest.fixture(scope="session")
def shared_gateway(
    sqlite_databases: SqliteDatabases,
    upstream_process: Upstream,
    tmp_path_factory: pytest.TempPathFactory,
    output: Path,
) -> Iterator[GatewayProcess]:
    with installed(sqlite_databases, tmp_path_factory.mktemp("home"), output) as gateway:
        gateway.apply(configuration(upstream_process.base_url))
        yield gateway.serve()


@pytest.fixture
def served(shared_gateway: GatewayProcess, upstream: Upstream) -> GatewayProcess:
    """Return it with an upstream that has seen nothing yet and knows the agreed prices."""
    upstream.prices(**nano_prices(models()))
    return shared_gateway


@pytest.fixture(scope="session")
def faulty_gateway(
    sqlite_databases: SqliteDatabases,
    upstream_process: Upstream,
    tmp_path_factory: pytest.TempPathFactory,
    output: Path,
) -> Iterator[Faulty]:
    home = tmp_path_factory.mktemp("home")
    with Untrusted(home) as tls, installed(sqlite_databases, home, output) as gateway:
        gateway.apply(faulty_configuration(upstream_process.base_url, tls.port))
        gateway.serve()
        with client_of(gateway) as client:
            yield Faulty(gateway, upstream_process, Books(gateway), client)


@pytest.fixture
def faulty(faulty_gateway: Faulty, upstream: Upstream) -> Faulty:
    """Return deployments to use up, with an upstream that has seen nothing yet."""
    assert faulty_gateway.upstream is upstream
    return faulty_gateway
