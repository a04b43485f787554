"""Give the tests that only need some working gateway one that is started once for all of them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.config import (
    anthropic_provider,
    configuration,
    model,
    models,
    nano_prices,
    openai_provider,
)
from tests.harness.database import SqliteDatabases
from tests.harness.gateway import GatewayProcess, installed
from tests.integration.besieged import Besieged, besieging
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
def besieged_gateway(
    sqlite_databases: SqliteDatabases,
    upstream_process: Upstream,
    tmp_path_factory: pytest.TempPathFactory,
    output: Path,
) -> Iterator[GatewayProcess]:
    """Return one for hostile peers on either side, whom no circuit keeps away."""
    url, once = upstream_process.base_url, {"retry": {"max_attempts": 1}}
    wanted = configuration(url)
    wanted["providers"] += [
        openai_provider(url, "bomber", **once),
        anthropic_provider(url, "claude-bomber", **once),
    ]
    wanted["models"] += [model("bomb", "bomber"), model("claude-bomb", "claude-bomber")]
    with installed(sqlite_databases, tmp_path_factory.mktemp("home"), output) as gateway:
        gateway.apply(wanted)
        yield gateway.serve(mutant="unbroken")


@pytest.fixture
def besieged(besieged_gateway: GatewayProcess, upstream: Upstream) -> Iterator[Besieged]:
    """Return it with an upstream that has seen nothing yet, newly weighed."""
    with besieging(besieged_gateway, upstream) as found:
        yield found
