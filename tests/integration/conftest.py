"""Give the tests that only need some working gateway one that is started once for all of them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.config import configuration, models, nano_prices
from tests.harness.database import SqliteDatabases
from tests.harness.gateway import GatewayProcess, installed
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
