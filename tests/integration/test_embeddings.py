"""Embeddings of any number: batches, each with its own hold and entry, and calls that share one."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.harness.books import Books
from tests.harness.canary import canary
from tests.harness.config import (
    API_KEY,
    budget,
    configuration,
    key,
    model,
    nano_prices,
    openai_provider,
    provider,
    route,
    tenant,
)
from tests.harness.dialects import Told, fetch
from tests.harness.gateway import GatewayProcess, installed
from tests.upstream.client import Upstream
from tests.upstream.scripts import answer, delayed, failing

SMALL_KEY, OTHER_KEY = canary("api-key-small-budget"), canary("api-key-other-tenant")
PRICE = ("1.00", "0")


def embedder(name: str, provider: str = "openai", **fields: Any) -> dict[str, Any]:
    return model(name, provider, price=PRICE, capabilities=["embeddings"], **fields)


MODELS = [
    embedder("embed"),
    embedder("narrow", "narrow"),
    embedder("ill"),
    embedder("spare"),
    embedder("shared", batching={"inputs": 4, "wait": 0.5}),
    embedder("google", "gemini"),
    embedder("google-shared", "gemini", batching={"inputs": 4, "wait": 0.5}),
]


@pytest.fixture(scope="module")
def gateway(
    sqlite_databases: Any,
    upstream_process: Upstream,
    tmp_path_factory: pytest.TempPathFactory,
    output: Path,
) -> Iterator[GatewayProcess]:
    url = upstream_process.base_url
    wanted = configuration(
        url,
        providers=[
            openai_provider(url),
            openai_provider(url, "narrow", max_concurrent_requests=3),
            provider("gemini", "gemini", url),
        ],
        models=MODELS,
        routes=[route("ill-then-spare", "ill", "spare")],
        tenants=[
            # 150 inputs of a token and an allowance each: one batch fits, a second does not.
            tenant(keys=[key(), key("small", SMALL_KEY, budgets=[budget("0.003")])]),
            tenant("globex", keys=[key("main", OTHER_KEY)]),
        ],
    )
    with installed(sqlite_databases, tmp_path_factory.mktemp("home"), output) as gateway:
        gateway.apply(wanted)
        yield gateway.serve()


@pytest.fixture
def scripted(upstream: Upstream) -> Upstream:
    upstream.prices(**nano_prices(MODELS))
    return upstream


def embed(
    gateway: GatewayProcess, count: int, model: str = "embed", key: str = API_KEY, **fields: Any
) -> Told:
    headers = {"Authorization": f"Bearer {key}", **fields.pop("headers", {})}
    body = {"model": model, "input": ["x" * (n % 7 + 1) for n in range(count)], **fields}
    return fetch(gateway.url, "POST", "/v1/embeddings", json.dumps(body).encode(), headers)


def embed_as_google(
    gateway: GatewayProcess, count: int, model: str = "google", **fields: Any
) -> Told:
    """Ask for the same in Gemini's words; 0 texts stand for one without a batch."""
    named = {"model": f"models/{model}"}
    texts = [{**named, **_content("x" * (n % 7 + 1)), **fields} for n in range(count)]
    method, body = (
        ("batchEmbedContents", {"requests": texts})
        if count
        else ("embedContent", {**_content("x"), **fields})
    )
    headers = {"x-goog-api-key": API_KEY}
    path = f"/v1beta/models/{model}:{method}"
    return fetch(gateway.url, "POST", path, json.dumps(body).encode(), headers)


def _content(text: str) -> dict[str, Any]:
    return {"content": {"parts": [{"text": text}]}}


def entries(gateway: GatewayProcess, told: Told) -> list[Any]:
    return Books(gateway).terminal(told.request_id)


def check_money(gateway: GatewayProcess, scripted: Upstream, *answers: Told) -> None:
    """Check that each attempt has one entry, and that their sum is the provider's bill."""
    booked = [entry for told in answers for entry in entries(gateway, told)]
    assert sum(entry["amount_nano"] for entry in booked) == scripted.bill().total_nano_usd
    assert json.loads(gateway.managed("verify_ledger", "--json"))["ok"]


@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_many_inputs_are_answered_in_order_over_several_calls(
    gateway: GatewayProcess, scripted: Upstream, encoding: str
) -> None:
    scripted.script("embed", delayed(30))
    told = embed(gateway, 250, dimensions=4, encoding_format=encoding)
    assert told.status == 200, told.text
    sizes = sorted(len(call.body["input"]) for call in scripted.calls)
    assert sizes == [50, 100, 100]
    assert all(call.body["dimensions"] == 4 for call in scripted.calls)
    data = told.json["data"]
    assert [one["index"] for one in data] == list(range(250))
    assert all(isinstance(one["embedding"], str) == (encoding == "base64") for one in data)
    if encoding == "float":
        # The upstream's vectors depend on the place in the batch and on the input's length.
        for n, one in enumerate(data):
            assert one["embedding"] == [(n % 100 + 1) / (n % 7 + 1 + i + 2) for i in range(4)]
    assert told.json["usage"] == {"prompt_tokens": 250, "total_tokens": 250}
    assert (told.json["model"], told.headers["x-mobius-attempts"]) == ("embed", "3")
    assert len(entries(gateway, told)) == 3
    assert Decimal(told.headers["x-mobius-cost-usd"]) * 10**9 == scripted.bill().total_nano_usd
    check_money(gateway, scripted, told)


def test_batches_run_side_by_side_up_to_the_providers_limit(
    gateway: GatewayProcess, scripted: Upstream
) -> None:
    scripted.script("narrow", delayed(150))
    told = embed(gateway, 900, "narrow")
    assert (told.status, len(told.json["data"])) == (200, 900)
    assert (len(scripted.calls), scripted.seen().peak) == (9, 3)
    check_money(gateway, scripted, told)


def test_a_batch_that_fails_once_is_repeated_and_the_answer_is_whole(
    gateway: GatewayProcess, scripted: Upstream
) -> None:
    scripted.script("embed", failing(503), answer(""))
    told = embed(gateway, 150)
    assert told.status == 200, told.text
    assert len(told.json["data"]) == 150
    assert sorted(call.status for call in scripted.calls) == [200, 200, 503]
    assert [row["outcome"] for row in entries(gateway, told)].count("settled") == 2
    check_money(gateway, scripted, told)


def test_vectors_of_one_answer_are_of_one_model(
    gateway: GatewayProcess, scripted: Upstream
) -> None:
    scripted.script("ill", answer(""), failing(500))
    told = embed(gateway, 250, "ill-then-spare")
    assert told.status == 200, told.text
    assert told.headers["x-mobius-model"] == "spare"
    good = [call for call in scripted.calls if call.model == "spare"]
    assert sum(len(call.body["input"]) for call in good) == 250
    check_money(gateway, scripted, told)


def test_a_budget_for_half_of_the_batches_refuses_before_the_first(
    gateway: GatewayProcess, scripted: Upstream
) -> None:
    told = embed(gateway, 400, key=SMALL_KEY)
    assert (told.status, told.code) == (402, "insufficient_quota")
    assert (scripted.calls, entries(gateway, told)) == ([], [])
    assert Books(gateway).holds(told.request_id) == []
    assert embed(gateway, 100, key=SMALL_KEY).status == 200
    assert json.loads(gateway.managed("verify_ledger", "--json"))["ok"]


def test_the_native_api_takes_any_number_of_texts_too(
    gateway: GatewayProcess, scripted: Upstream
) -> None:
    body = json.dumps({"texts": ["a"] * 120, "model": "embed"}).encode()
    headers = {"Authorization": f"Bearer {API_KEY}"}
    told = fetch(gateway.url, "POST", "/api/v1/llm/embed", body, headers)
    assert len(told.json["embeddings"]) == 120
    assert told.json["usage"]["prompt_tokens"] == 120
    assert len(scripted.calls) == 2
    check_money(gateway, scripted, told)


@pytest.mark.parametrize(("model", "field"), [("google", "requests"), ("embed", "input")])
def test_gemini_callers_get_any_number_of_vectors_in_order(
    gateway: GatewayProcess, scripted: Upstream, model: str, field: str
) -> None:
    told = embed_as_google(gateway, 250, model, outputDimensionality=4)
    assert told.status == 200, told.text
    assert sorted(len(call.body[field]) for call in scripted.calls) == [50, 100, 100]
    assert told.json["embeddings"] == [
        {"values": [(n % 100 + 1) / (n % 7 + 1 + i + 2) for i in range(4)]} for n in range(250)
    ]
    assert told.json["usageMetadata"] == {"promptTokenCount": 250}
    assert len(entries(gateway, told)) == 3
    check_money(gateway, scripted, told)


def test_gemini_vectors_reach_other_callers_over_several_calls(
    gateway: GatewayProcess, scripted: Upstream
) -> None:
    told = embed(gateway, 250, "google", dimensions=4)
    assert told.status == 200, told.text
    assert [call.path for call in scripted.calls] == [
        "/v1beta/models/google:batchEmbedContents"
    ] * 3
    data = told.json["data"]
    assert [one["embedding"][0] for one in data] == [
        (n % 100 + 1) / (n % 7 + 1 + 2) for n in range(250)
    ]
    assert told.json["usage"] == {"prompt_tokens": 250, "total_tokens": 250}
    check_money(gateway, scripted, told)


# --- shared calls --------------------------------------------------------------------------------


def at_once(*asked: Any) -> list[Told]:
    with ThreadPoolExecutor(len(asked)) as pool:
        return list(pool.map(lambda ask: ask(), asked))


def test_small_calls_of_one_tenant_share_one_and_each_pays_its_share(
    gateway: GatewayProcess, scripted: Upstream
) -> None:
    first, second = at_once(
        lambda: embed(gateway, 1, "shared"), lambda: embed(gateway, 3, "shared")
    )
    assert [first.status, second.status] == [200, 200], first.text
    assert [len(call.body["input"]) for call in scripted.calls] == [4]
    assert [len(told.json["data"]) for told in (first, second)] == [1, 3]
    assert [[one["index"] for one in told.json["data"]] for told in (first, second)] == [
        [0],
        [0, 1, 2],
    ]
    assert [len(entries(gateway, told)) for told in (first, second)] == [1, 1]
    used = [told.json["usage"]["prompt_tokens"] for told in (first, second)]
    assert sum(used) == scripted.bill().rows[0].input
    assert sum(row["hold_nano"] > 0 for t in (first, second) for row in entries(gateway, t)) == 2
    check_money(gateway, scripted, first, second)


@pytest.mark.parametrize("model", ["shared", "google-shared"])
def test_gemini_callers_share_a_call_and_each_gets_its_own_envelope(
    gateway: GatewayProcess, scripted: Upstream, model: str
) -> None:
    single, several = at_once(
        lambda: embed_as_google(gateway, 0, model, outputDimensionality=2),
        lambda: embed_as_google(gateway, 3, model, outputDimensionality=2),
    )
    assert [single.status, several.status] == [200, 200], single.text + several.text
    assert len(scripted.calls) == 1
    assert len(single.json["embedding"]["values"]) == 2
    assert len(several.json["embeddings"]) == 3
    used = [told.json["usageMetadata"]["promptTokenCount"] for told in (single, several)]
    assert sum(used) == scripted.bill().rows[0].input == 4
    check_money(gateway, scripted, single, several)


def test_gemini_callers_who_ask_for_something_else_do_not_share(
    gateway: GatewayProcess, scripted: Upstream
) -> None:
    answers = at_once(
        lambda: embed_as_google(gateway, 2, "google-shared"),
        lambda: embed_as_google(gateway, 2, "google-shared", taskType="CLUSTERING"),
    )
    assert [told.status for told in answers] == [200, 200]
    assert [len(call.body["requests"]) for call in scripted.calls] == [2, 2]
    check_money(gateway, scripted, *answers)


def test_tenants_and_different_requests_never_share(
    gateway: GatewayProcess, scripted: Upstream
) -> None:
    answers = at_once(
        lambda: embed(gateway, 1, "shared"),
        lambda: embed(gateway, 1, "shared", key=OTHER_KEY),
        lambda: embed(gateway, 1, "shared", dimensions=2),
        lambda: embed(gateway, 9, "shared"),
    )
    assert [told.status for told in answers] == [200] * 4
    assert sorted(len(call.body["input"]) for call in scripted.calls) == [1, 1, 1, 9]
    check_money(gateway, scripted, *answers)


def test_one_that_finds_no_company_waits_no_longer_than_it_may(
    gateway: GatewayProcess, scripted: Upstream
) -> None:
    told = embed(gateway, 2, "shared")
    assert (told.status, len(scripted.calls)) == (200, 1)
    check_money(gateway, scripted, told)


def test_one_with_less_time_than_its_company_waits_no_longer(
    gateway: GatewayProcess, scripted: Upstream
) -> None:
    scripted.script("shared", delayed(1500))
    hasty, patient = at_once(
        lambda: embed(gateway, 2, "shared", headers={"x-mobius-timeout": "1"}),
        lambda: embed(gateway, 2, "shared"),
    )
    assert (hasty.status, hasty.code) == (504, "deadline_exceeded")
    assert patient.status == 200, patient.text
    assert len(scripted.calls) == 1


def test_a_shared_call_that_fails_fails_each_with_its_own_id(
    gateway: GatewayProcess, scripted: Upstream
) -> None:
    scripted.script("shared", failing(400, "No such thing."))
    answers = at_once(lambda: embed(gateway, 2, "shared"), lambda: embed(gateway, 2, "shared"))
    assert [told.status for told in answers] == [400, 400]
    assert len(scripted.calls) == 1
    for told in answers:
        assert told.json["error"]["request_id"] == told.request_id
    assert len({told.request_id for told in answers}) == 2
    check_money(gateway, scripted, *answers)
