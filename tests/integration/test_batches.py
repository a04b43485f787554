"""A batch is charged all that it may cost when it begins, and what it used when its results are.

Anthropic's own client begins, shows, reads, stops and deletes batches through the gateway.
"""

import time
from collections.abc import Iterator
from typing import Any

import anthropic
import pytest

from tests.harness.books import Books
from tests.harness.canary import canary
from tests.harness.config import API_KEY, budget, configuration, key, model, tenant
from tests.harness.database import SqliteDatabases
from tests.harness.dialects import ANTHROPIC, Told, fetch
from tests.harness.gateway import GatewayProcess, installed
from tests.harness.together import until
from tests.upstream.batching import FAILS
from tests.upstream.client import Upstream
from tests.upstream.scripts import failing

OTHER_KEY, POOR_KEY = canary("api-key-of-another"), canary("api-key-poor")
WORDS, MOST = 3, 8  # of a request's input, and its max_tokens
INPUT, OUTPUT = 500, 2000  # nano-dollars a token
REAL = WORDS * INPUT + MOST * OUTPUT  # what one request costs
ROOM = "0.0003"
SETTLED_S, POLL_S = 30.0, 0.05


def served_by(gateway: GatewayProcess, upstream: Upstream) -> None:
    batched = model(
        "batched",
        "anthropic",
        price=("0.50", "2.00"),
        upstream_name="claude-up",
        capabilities=["chat", "stream", "tools", "batches"],
    )
    poor = tenant("poor", keys=[key("poor", POOR_KEY)], budgets=[budget(ROOM)])
    other = tenant("other", keys=[key("other", OTHER_KEY)])
    rows = [batched, model("plain", "anthropic"), model("gpt")]
    tenants = [tenant(), other, poor]
    gateway.apply(configuration(upstream.base_url, models=rows, routes=[], tenants=tenants))
    gateway.serve()


@pytest.fixture(scope="module")
def batching(
    sqlite_databases: SqliteDatabases,
    upstream_process: Upstream,
    tmp_path_factory: pytest.TempPathFactory,
    output: Any,
) -> Iterator[GatewayProcess]:
    with installed(sqlite_databases, tmp_path_factory.mktemp("batches"), output) as gateway:
        served_by(gateway, upstream_process)
        yield gateway


def client(gateway: GatewayProcess, secret: str = API_KEY) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=gateway.url, api_key=secret, max_retries=0, timeout=30)


def requests(*names: str, **fields: Any) -> list[Any]:
    message = {"role": "user", "content": " ".join(["word"] * WORDS)}
    params = {"model": "batched", "max_tokens": MOST, "messages": [message], **fields}
    return [{"custom_id": name, "params": params} for name in names]


def charged(gateway: GatewayProcess, request_id: str) -> int:
    return sum(entry["amount_nano"] for entry in Books(gateway).entries(request_id))


def begun(gateway: GatewayProcess, *names: str, secret: str = API_KEY) -> tuple[str, str]:
    """Return the ids of a new batch and of the request that began it."""
    raw = client(gateway, secret).messages.batches.with_raw_response.create(
        requests=requests(*names)
    )
    return raw.parse().id, raw.headers["x-request-id"]


def test_a_batch_is_charged_its_bound_and_then_what_it_used(
    batching: GatewayProcess, upstream: Upstream
) -> None:
    sdk = client(batching).messages.batches
    batch_id, request_id = begun(batching, "one", "two", f"{FAILS}-three")
    assert [one["params"]["model"] for one in upstream.calls[-1].body["requests"]] == [
        "claude-up"
    ] * 3
    (entry,) = Books(batching).entries(request_id)
    assert (entry["outcome"], bool(entry["estimated"])) == ("settled", True)
    assert entry["amount_nano"] == entry["hold_nano"] > 3 * REAL
    assert Books(batching).holds(request_id) == []
    assert sdk.retrieve(batch_id).processing_status == "in_progress"
    assert len(Books(batching).entries(request_id)) == 1

    upstream.open_gate(batch_id)
    shown = sdk.retrieve(batch_id)
    assert shown.results_url == f"/v1/messages/batches/{batch_id}/results"
    results = list(sdk.results(batch_id))
    assert [one.custom_id for one in results] == ["one", "two", f"{FAILS}-three"]
    models = [one.result.message.model for one in results if one.result.type == "succeeded"]
    assert models == ["batched", "batched"]

    _, correction = Books(batching).entries(request_id)
    assert (correction["kind"], bool(correction["estimated"])) == ("correction", False)
    assert charged(batching, request_id) == 2 * REAL
    # The log is written behind the ledger.
    until(lambda: logged(batching, request_id)["cost_usd"] == f"0.{2 * REAL:09d}", SETTLED_S)
    row = logged(batching, request_id)
    assert (row["endpoint"], row["model"]) == ("/v1/messages/batches", "batched")
    assert sdk.retrieve(batch_id).id == batch_id  # again: nothing is charged twice
    assert charged(batching, request_id) == 2 * REAL
    assert Books(batching).audit().ok


@pytest.mark.promise("M5")
def test_a_hard_budget_binds_batches_until_their_results_are_known(
    batching: GatewayProcess, upstream: Upstream
) -> None:
    many = [f"request-{number}" for number in range(30)]
    with pytest.raises(anthropic.APIStatusError) as caught:
        begun(batching, *many, secret=POOR_KEY)
    assert caught.value.status_code == 402
    assert caught.value.response.headers["x-mobius-code"] == "insufficient_quota"
    assert upstream.calls == []

    batch_id, request_id = begun(batching, "one", "two", secret=POOR_KEY)
    with pytest.raises(anthropic.APIStatusError):
        begun(batching, "one", "two", secret=POOR_KEY)
    upstream.open_gate(batch_id)
    client(batching, POOR_KEY).messages.batches.retrieve(batch_id)
    assert charged(batching, request_id) == 2 * REAL
    begun(batching, "one", "two", secret=POOR_KEY)
    assert Books(batching).audit().ok


def test_a_batch_is_unknown_to_everybody_else(batching: GatewayProcess, upstream: Upstream) -> None:
    batch_id, _ = begun(batching, "one")
    other = client(batching, OTHER_KEY).messages.batches
    before = len(upstream.seen().asked)
    for ask in (other.retrieve, other.cancel, other.delete, other.results):
        with pytest.raises(anthropic.NotFoundError):
            ask(batch_id)
    with pytest.raises(anthropic.NotFoundError):
        client(batching).messages.batches.retrieve("msgbatch_nobody")
    assert upstream.seen().asked[before:] == []


def test_a_batch_is_stopped_and_deleted_and_was_charged_before(
    batching: GatewayProcess, upstream: Upstream
) -> None:
    sdk = client(batching).messages.batches
    batch_id, request_id = begun(batching, "one")
    assert sdk.cancel(batch_id).id == batch_id
    upstream.open_gate(batch_id)
    assert sdk.delete(batch_id).id == batch_id
    assert charged(batching, request_id) == REAL
    with pytest.raises(anthropic.NotFoundError):
        sdk.retrieve(batch_id)


def test_a_batch_is_begun_once_whatever_becomes_of_it(
    batching: GatewayProcess, upstream: Upstream
) -> None:
    upstream.script("claude-up", failing(500), failing(500))
    with pytest.raises(anthropic.InternalServerError):
        begun(batching, "one")
    assert len(upstream.calls) == 1


BAD: list[tuple[list[Any], str]] = [
    ([], "requests"),
    (requests("a", max_tokens=None), "requests[0].params.max_tokens"),
    (requests("a", stream=True), "requests[0].params.stream"),
    (requests("a") + requests("b", model="plain"), "requests[1].params.model"),
    (requests("a", messages="hi"), "requests[0].params.messages"),
    (requests("a", api_key="k"), "requests[0].params.api_key"),
    ([{"custom_id": "a"}], "requests[0].params"),
]


@pytest.mark.parametrize(("asked", "param"), BAD, ids=[param for _, param in BAD])
def test_what_is_wrong_with_a_batch_is_named(
    batching: GatewayProcess, upstream: Upstream, asked: list[Any], param: str
) -> None:
    told = post(batching, {"requests": asked})
    assert (told.status, ANTHROPIC.error(told)["param"]) == (400, param)
    assert upstream.calls == []


@pytest.mark.parametrize("name", ["plain", "gpt"])
def test_a_model_takes_batches_only_where_it_is_said_to_be_priced_for_them(
    batching: GatewayProcess, upstream: Upstream, name: str
) -> None:
    told = post(batching, {"requests": requests("a", model=name)})
    assert told.status == 400, told.text
    assert "batches" in ANTHROPIC.error(told)["message"]
    assert upstream.calls == []


@pytest.mark.parametrize("database_backend", ["postgres"], indirect=True)
def test_a_batch_that_nobody_asks_for_is_charged_after_a_crash_too(
    gateway: GatewayProcess, upstream: Upstream
) -> None:
    served_by(gateway, upstream)
    batch_id, request_id = begun(gateway, "one")
    gateway.kill9()
    upstream.open_gate(batch_id)
    gateway.serve()
    until = time.monotonic() + SETTLED_S
    while charged(gateway, request_id) != REAL:
        assert time.monotonic() < until, Books(gateway).entries(request_id)
        time.sleep(POLL_S)
    assert Books(gateway).audit().ok
    # A past that is reckoned anew leaves it so: what its requests used together is no one request.
    gateway.terminate()
    today = time.strftime("%Y-%m-%d", time.gmtime())
    span = ("--model", "batched", "--from", today, "--to", today)
    assert "0 of 0 attempts corrected" in gateway.managed("recompute", *span)
    assert charged(gateway, request_id) == REAL


def post(gateway: GatewayProcess, body: Any) -> Told:
    return ANTHROPIC_BATCHES.post(gateway.url, body, {"x-api-key": API_KEY})


ANTHROPIC_BATCHES = type(ANTHROPIC)("anthropic", "/v1/messages/batches", "", ANTHROPIC.headers)


def logged(gateway: GatewayProcess, request_id: str) -> Any:
    path, until = f"/api/v1/requests/{request_id}", time.monotonic() + SETTLED_S
    while True:
        told = fetch(gateway.url, "GET", path, None, {"Authorization": f"Bearer {API_KEY}"})
        if told.status == 200 or time.monotonic() > until:
            return told.json
        time.sleep(POLL_S)
