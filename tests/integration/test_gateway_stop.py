"""What is stopped (a tenant, key or model) is refused at once; what runs of it ends, settled."""

import time
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.harness.books import Books
from tests.harness.config import API_KEY, budget, configuration, key, models, nano_prices, tenant
from tests.harness.dialects import ANTHROPIC, OPENAI, Told
from tests.harness.gateway import GatewayProcess
from tests.harness.together import in_time
from tests.upstream.client import Upstream
from tests.upstream.scripts import gated

pytestmark = pytest.mark.timed

WITHIN_S = 2.0
OTHER_KEY = API_KEY + "-other"


def serve(gateway: GatewayProcess, upstream: Upstream) -> Books:
    acme = tenant(budgets=[budget("9")])
    globex = tenant("globex", budgets=[budget("9")], keys=[key("main", OTHER_KEY)])
    upstream.prices(**nano_prices(models()))
    gateway.apply(configuration(upstream.base_url, tenants=[acme, globex]))
    gateway.serve(workers=2 if gateway.environment["REDIS_URL"] else 1)
    return Books(gateway)


def refused_by_all(gateway: GatewayProcess, status: int, until: float) -> None:
    """Ask until every worker must have heard of it, not only the one that had the streams."""
    refusals = 0
    while refusals < 10:
        refusals = refusals + 1 if OPENAI.ask(gateway.url, "alpha").status == status else 0
        assert refusals or time.monotonic() < until


@pytest.mark.parametrize(
    ("kind", "name", "status"),
    [("tenant", "acme", 401), ("key", "acme/dev", 401), ("model", "alpha", 404)],
)
def test_what_is_stopped_is_refused_and_ends_while_others_go_on(
    gateway: GatewayProcess, upstream: Upstream, kind: str, name: str, status: int
) -> None:
    books = serve(gateway, upstream)
    upstream.script("alpha", gated("go", 3))
    upstream.script("claude", gated("go", 3))
    upstream.script("mute", gated("go"))
    with ThreadPoolExecutor(12) as threads:
        # Streams of both dialects, same and crossed; one without a first token; one not streamed.
        doomed: list[Future[Told]] = [
            *(threads.submit(OPENAI.ask, gateway.url, "alpha", stream=True) for _ in range(3)),
            *(threads.submit(ANTHROPIC.ask, gateway.url, "alpha", stream=True) for _ in range(2)),
        ]
        waiting = [
            threads.submit(
                OPENAI.ask, gateway.url, "alpha", stream=stream, content="[[script:mute]]"
            )
            for stream in (True, False)
        ]
        other = threads.submit(OPENAI.ask, gateway.url, "claude", stream=True, key=OTHER_KEY)
        upstream.wait_seen(8, 20)
        gateway.managed("stop", kind, name)
        began = time.monotonic()
        told = [each.result(30) for each in doomed]
        refused = [each.result(30) for each in waiting]
        in_time(time.monotonic() - began, WITHIN_S)
        assert not other.done()
        upstream.open_gate("go")
        assert OPENAI.end in other.result(30).text

    for each in told[:3]:
        assert "was stopped" in OPENAI.stream_error(each)["message"]
    for each in told[3:]:
        assert "was stopped" in ANTHROPIC.stream_error(each)["message"]
    assert {each.status for each in refused} == {status}
    entries = books.until_settled(8, 5)
    assert sorted(entry["outcome"] for entry in entries) == ["cancelled"] * 7 + ["settled"]
    assert all(entry["amount_nano"] > 0 for entry in entries)
    assert books.audit().ok

    refused_by_all(gateway, status, began + WITHIN_S)
    upstream.reset()
    gateway.managed("resume", kind, name)
    until = time.monotonic() + WITHIN_S
    while OPENAI.ask(gateway.url, "alpha").status != 200:
        assert time.monotonic() < until


def test_what_is_not_there_cannot_be_stopped(gateway: GatewayProcess) -> None:
    for kind, name in (("tenant", "nobody"), ("key", "nobody/dev"), ("model", "none")):
        run = gateway.manage("stop", kind, name)
        assert run.code == 1
        assert f"There is no {kind} {name}." in run.stderr
