"""Cancelling never mixes answers (`scorecard.md` S9): through Redis and pooled connections."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.harness.config import configuration
from tests.harness.database import PostgresDatabases
from tests.harness.gateway import GatewayProcess, installed
from tests.integration.cancelling import answers, asked, foreign, said_by_call, tenants
from tests.legs import Figure
from tests.upstream.client import Upstream
from tests.upstream.scripts import paced, split, words

pytestmark = pytest.mark.promise("S9")

REQUESTS = 2_000


@pytest.fixture(scope="module")
def gateway(
    postgres_databases: PostgresDatabases,
    redis_url: str,
    upstream_process: Upstream,
    tmp_path_factory: pytest.TempPathFactory,
    output: Path,
) -> Iterator[GatewayProcess]:
    with redis.Redis.from_url(redis_url) as client:
        client.flushdb()
    wanted = configuration(upstream_process.base_url, tenants=tenants())
    # One is cut when its caller leaves, the other one read on.
    wanted["providers"][0]["on_disconnect"] = "abort"
    home = tmp_path_factory.mktemp("home")
    with installed(postgres_databases, home, output, redis_url) as gateway:
        gateway.apply(wanted)
        yield gateway.serve()


def test_no_answer_reaches_another_caller(
    gateway: GatewayProcess, upstream: Upstream, figure: Figure
) -> None:
    for model in ("alpha", "beta", "claude"):
        upstream.script(model, *[words(12) + paced(2), words(12) + split(50), words(12)] * 300)
    askings = asked(REQUESTS)
    told = answers(gateway, askings)
    whole = sum(one.clean and one.status == 200 for one in told)
    # A machine that has too much to do refuses some.
    assert {one.status for one in told} <= {0, 200, 503}
    assert whole >= REQUESTS / 3
    assert sum(not one.clean and bool(one.body) for one in told) >= REQUESTS / 20
    found = foreign(askings, told, said_by_call(upstream))
    figure("requests, half of them left", len(told), "2000")
    figure("canaries of another caller", len(found), "0")
    assert found == []
