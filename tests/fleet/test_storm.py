"""When a provider is down altogether, its callers do not multiply what it is asked (F2)."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fleet.fleet import LINES, PROCESSES
from tests.harness.books import Books
from tests.harness.config import configuration, model, tenant
from tests.harness.crowd import Crowd, crowded, each, statuses
from tests.harness.database import PostgresDatabases
from tests.harness.dialects import ANTHROPIC, OPENAI, Told
from tests.harness.gateway import GatewayProcess, installed
from tests.upstream.client import Upstream
from tests.upstream.scripts import failing

REQUESTS, AT_ONCE = 1000, 32
# With every breaker out of work, and with it.
MOST_CALLS = {"unbroken": 1200, "": 50}

pytestmark = [pytest.mark.promise("F2"), pytest.mark.timed]


@pytest.fixture(params=MOST_CALLS, ids=["without breakers", "with them"])
def mutant(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def town(
    mutant: str,
    postgres_databases: PostgresDatabases,
    redis_url: str,
    upstream: Upstream,
    tmp_path: Path,
    output: Path,
) -> Iterator[GatewayProcess]:
    """Start four processes whose retry budgets nobody has filled or used yet."""
    wanted = configuration(
        upstream.base_url, models=[model("storm")], routes=[], tenants=[tenant()]
    )
    with installed(postgres_databases, tmp_path, output, redis_url) as gateway:
        gateway.apply(wanted)
        gateway.serve(workers=PROCESSES, mutant=mutant)
        Books(gateway).until_serving()
        yield gateway


async def storm(crowd: Crowd) -> list[Told]:
    return await each(
        range(REQUESTS),
        lambda n: crowd.ask(OPENAI if n % 2 else ANTHROPIC, "storm", stream=n % 4 > 1),
        at_once=AT_ONCE,
    )


def test_a_provider_that_is_down_is_asked_little_more_than_its_callers_ask(
    town: GatewayProcess, upstream: Upstream, mutant: str
) -> None:
    upstream.script("storm", failing(503))
    told = crowded(town.port, storm, pids=town.workers, lines=LINES)
    calls = len(upstream.calls)
    print(f"{REQUESTS} requests made {calls} calls")  # noqa: T201 - figure
    assert statuses(told).keys() == {503}
    assert all(one.headers["retry-after"] for one in told)
    assert calls <= MOST_CALLS[mutant]
    # Control: it is the breaker that spares the provider, and every caller had a try without.
    assert not mutant or calls >= REQUESTS
