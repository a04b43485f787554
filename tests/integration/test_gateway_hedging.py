"""A second target starts where the first is late: seldom, with its own hold, and one wins."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.harness.books import Books
from tests.harness.config import (
    API_KEY,
    budget,
    configuration,
    key,
    model,
    nano_prices,
    route,
    tenant,
)
from tests.harness.dialects import ANTHROPIC, OPENAI, Told, fetch
from tests.harness.gateway import GatewayProcess, installed
from tests.harness.together import until
from tests.upstream.client import Upstream
from tests.upstream.scripts import answer, delayed, failing, gated, words

pytestmark = pytest.mark.timed

POOR_KEY = f"{API_KEY}-poor"
MODELS = [
    *(model(name, price=("0", "4")) for name in ("first", "second", "third")),
    model("dear", price=("0", "4000")),
]
# A route of its own for whatever learns: before it is known what is late, nothing is.
NAMES = (
    *(f"{way}-{n}" for way in ("whole", "streamed", "crossed") for n in range(2)),
    *("kept", "once", "unhelped", "falling", "share"),
)
USUAL = delayed(40) + words(3)
LEARNING = 20


@pytest.fixture(scope="module")
def hedging(
    sqlite_databases: Any,
    upstream_process: Upstream,
    tmp_path_factory: pytest.TempPathFactory,
    output: Path,
) -> Iterator[GatewayProcess]:
    fields: dict[str, Any] = {"hedge": True}
    wanted = configuration(
        upstream_process.base_url,
        models=MODELS,
        routes=[
            *(route(name, "first", "second", "third", **fields) for name in NAMES),
            route("dearly", "first", "dear", **fields),
            route("never", "first", "second"),
        ],
        tenants=[
            tenant(budgets=[budget("9")]),
            tenant("poor", keys=[key("poor", POOR_KEY)], budgets=[budget("0.01")]),
        ],
    )
    with installed(sqlite_databases, tmp_path_factory.mktemp("home"), output) as gateway:
        gateway.apply(wanted)
        yield gateway.serve()


@pytest.fixture
def ready(hedging: GatewayProcess, upstream: Upstream) -> GatewayProcess:
    upstream.prices(**nano_prices(MODELS))
    return hedging


def learn(gateway: GatewayProcess, name: str, *, dialect: Any = OPENAI, **how: Any) -> None:
    """Ask as often as it takes to know what is late; nothing is before that."""
    with ThreadPoolExecutor(5) as callers:
        asked = [callers.submit(dialect.ask, gateway.url, name, **how) for _ in range(LEARNING)]
    assert {each.result().headers["x-mobius-attempts"] for each in asked} == {"1"}


def hedges(gateway: GatewayProcess, name: str) -> float:
    line = f'mobius_hedged_total{{route="{name}"}}'
    text = fetch(gateway.url, "GET", "/metrics").text
    return sum(float(each.split()[-1]) for each in text.splitlines() if each.startswith(line))


def after_it_is_known(
    gateway: GatewayProcess, upstream: Upstream, name: str, *scripts: Any, **how: Any
) -> Told:
    """Return the answer to a request whose first target does this."""
    upstream.script("first", *[USUAL] * LEARNING, *scripts)
    learning = {each: value for each, value in how.items() if each != "headers"}
    learn(gateway, name, **learning)
    dialect = how.pop("dialect", OPENAI)
    told: Told = dialect.ask(gateway.url, name, **how)
    return told


# --- who wins ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "dialect", "stream"),
    [("whole", OPENAI, False), ("streamed", OPENAI, True), ("crossed", ANTHROPIC, False)],
    ids=["whole", "streamed", "crossed"],
)
def test_a_second_target_answers_where_the_first_is_late(
    ready: GatewayProcess, upstream: Upstream, name: str, dialect: Any, *, stream: bool
) -> None:
    books, took = Books(ready), []
    for n in range(2):  # the busier the machine, the later it is cut
        upstream.reset()
        told = after_it_is_known(
            ready, upstream, f"{name}-{n}", gated("never"), dialect=dialect, stream=stream
        )
        assert (told.status, told.headers["x-mobius-model"], told.clean) == (200, "second", True)
        assert told.headers["x-mobius-attempts"] == "2"
        upstream.wait_ended(LEARNING + 2)
        late, second = upstream.calls[-2:]
        assert (late.model, late.outcome, second.model) == ("first", "client_left", "second")
        assert late.ended_at is not None
        assert second.first_byte_at is not None
        took.append(late.ended_at - second.first_byte_at)
        entries = {entry["model"]: entry["outcome"] for entry in books.terminal(told.request_id)}
        assert entries == {"first": "cancelled", "second": "settled"}
    assert min(took) < 0.1
    assert books.audit().ok


def test_the_first_may_still_win(ready: GatewayProcess, upstream: Upstream) -> None:
    upstream.script("second", gated("never"))
    told = after_it_is_known(ready, upstream, "kept", delayed(600) + answer("after all"))
    assert (told.headers["x-mobius-model"], told.headers["x-mobius-attempts"]) == ("first", "2")
    assert "after all" in told.text


def test_where_both_fail_the_plan_goes_on_beside_them(
    ready: GatewayProcess, upstream: Upstream
) -> None:
    upstream.script("second", gated("both") + failing(503))
    upstream.script("first", *[USUAL] * LEARNING, gated("both") + failing(503))
    learn(ready, "falling")
    with ThreadPoolExecutor(1) as caller:
        asked = caller.submit(OPENAI.ask, ready.url, "falling")
        upstream.wait_seen(LEARNING + 2)
        upstream.open_gate("both")
    told = asked.result()
    assert (told.status, told.headers["x-mobius-model"]) == (200, "third")
    assert told.headers["x-mobius-attempts"] == "3"


# --- where none may start ------------------------------------------------------------------------


def test_at_most_one_request_in_twenty_is_hedged(ready: GatewayProcess, upstream: Upstream) -> None:
    upstream.script("first", *[USUAL] * LEARNING, delayed(400) + words(3))
    learn(ready, "share")
    with ThreadPoolExecutor(10) as callers:
        asked = [callers.submit(OPENAI.ask, ready.url, "share") for _ in range(60)]
    assert {each.result().status for each in asked} == {200}
    most = (LEARNING + 60) / 20
    until(lambda: 1 <= hedges(ready, "share") <= most, 5)
    assert upstream.order.count("second") <= hedges(ready, "share")


@pytest.mark.parametrize(
    ("name", "header"), [("once", "Idempotency-Key"), ("unhelped", "x-mobius-fallbacks")]
)
def test_some_requests_are_never_hedged(
    ready: GatewayProcess, upstream: Upstream, name: str, header: str
) -> None:
    headers = {header: str(uuid4()) if name == "once" else "off"}
    told = after_it_is_known(ready, upstream, name, delayed(400) + words(3), headers=headers)
    assert (told.headers["x-mobius-model"], told.headers["x-mobius-attempts"]) == ("first", "1")
    assert "second" not in upstream.order


def test_a_second_that_does_not_fit_does_not_start(
    ready: GatewayProcess, upstream: Upstream
) -> None:
    told = after_it_is_known(ready, upstream, "dearly", delayed(400) + words(3), key=POOR_KEY)
    assert (told.status, told.headers["x-mobius-model"]) == (200, "first")
    assert "dear" not in upstream.order


def test_it_is_off_where_nobody_asked_for_it(ready: GatewayProcess, upstream: Upstream) -> None:
    told = after_it_is_known(ready, upstream, "never", delayed(400) + words(3))
    assert (told.headers["x-mobius-model"], told.headers["x-mobius-attempts"]) == ("first", "1")
