"""A caller's retries are charged once, at every door (`scorecard.md` M7)."""

import json
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPException
from typing import Any

import pytest

from tests.harness.books import Books
from tests.harness.config import API_KEY, budget, configuration, key, models, nano_prices, tenant
from tests.harness.dialects import ANTHROPIC, OPENAI, Dialect, Told, fetch
from tests.harness.gateway import GatewayProcess
from tests.upstream.client import Upstream
from tests.upstream.scripts import answer, cut, failing, gated, words

AT_ONCE = 50
EXPIRY_LIMIT_S = 60
NATIVE = "/api/v1/llm/"

pytestmark = pytest.mark.promise("M7")

# What is replayed does not depend on the database.
SQLITE = pytest.mark.parametrize("database_backend", ["sqlite"], indirect=True)


def serve(gateway: GatewayProcess, upstream: Upstream, mutant: str = "") -> Books:
    wanted = configuration(
        upstream.base_url,
        tenants=[
            tenant(
                budgets=[budget("9")],
                rate_limits={"concurrency": AT_ONCE + 10, "requests_per_minute": 600},
                keys=[key(), key("other", API_KEY + "-other")],
            )
        ],
    )
    upstream.prices(**nano_prices(models()))
    gateway.apply(wanted)
    gateway.serve(workers=2 if gateway.environment["REDIS_URL"] else 1, mutant=mutant)
    return Books(gateway)


def ask(
    gateway: GatewayProcess, name: str, model: str = "alpha", dialect: Dialect = OPENAI, **how: Any
) -> Told:
    return dialect.ask(gateway.url, model, headers={"Idempotency-Key": name}, **how)


def native(gateway: GatewayProcess, name: str, path: str, body: Any) -> Told:
    headers = {"Authorization": f"Bearer {API_KEY}", "Idempotency-Key": name}
    return fetch(gateway.url, "POST", NATIVE + path, json.dumps(body).encode(), headers)


def replayed(told: Told) -> bool:
    return told.headers.get("x-mobius-replayed") == "true"


def same(first: Told, again: Told) -> None:
    """Nothing but the mark of a replay, and what only one of both can know, differs."""
    assert (again.status, again.body, again.clean) == (first.status, first.body, True)
    assert again.request_id == first.request_id
    assert replayed(again)
    assert not replayed(first)


def test_fifty_at_once_are_one_call_one_entry_and_one_answer(
    gateway: GatewayProcess, upstream: Upstream
) -> None:
    books = serve(gateway, upstream)
    upstream.script("alpha", gated("go") + answer("only once"))
    with ThreadPoolExecutor(AT_ONCE) as threads:
        asked = [threads.submit(ask, gateway, "fifty") for _ in range(AT_ONCE)]
        upstream.wait_seen(1)
        while sum(each.done() for each in asked) < AT_ONCE - 1:
            time.sleep(0.01)
        upstream.open_gate("go")
        told = [each.result() for each in asked]
    assert Counter(each.status for each in told) == {200: 1, 409: AT_ONCE - 1}
    busy = [each for each in told if each.status == 409]
    assert {each.code for each in busy} == {"idempotency_in_progress"}
    assert {each.headers["retry-after"] for each in busy} == {"1"}
    assert OPENAI.error(busy[0])["type"] == "invalid_request_error"
    (first,) = (each for each in told if each.status == 200)

    with ThreadPoolExecutor(AT_ONCE) as threads:
        for again in threads.map(lambda _: ask(gateway, "fifty"), range(AT_ONCE)):
            same(first, again)
            assert again.headers["x-mobius-cost-usd"] == first.headers["x-mobius-cost-usd"]
    assert len(upstream.calls) == 1
    assert len(books.entries()) == 1

    other = ask(gateway, "fifty", content="another question")
    assert (other.status, other.code) == (422, "idempotency_mismatch")
    assert other.headers["x-should-retry"] == "false"
    assert ask(gateway, "fifty", key=API_KEY + "-other").status == 200  # a key of another caller
    assert ask(gateway, "spaced out").status == 400
    assert len(upstream.calls) == 2
    audit = books.audit()
    assert (audit.ok, audit.holds) == (True, 0)
    assert b"only once" not in {row["body"] for row in books.rows("ledger_idempotency")}
    assert all(b"only once" not in bytes(r["body"]) for r in books.rows("ledger_idempotency"))


@SQLITE
def test_it_goes_red_where_nobody_claims_a_key(gateway: GatewayProcess, upstream: Upstream) -> None:
    books = serve(gateway, upstream, mutant="unclaimed")
    told = [ask(gateway, "again") for _ in range(2)]
    with pytest.raises(AssertionError):
        same(*told)
    assert len(upstream.calls) == len(books.entries()) == 2


@SQLITE
@pytest.mark.parametrize("dialect", [OPENAI, ANTHROPIC], ids=lambda each: each.name)
@pytest.mark.parametrize("model", ["alpha", "claude"])
def test_a_stream_is_replayed_as_its_events(
    gateway: GatewayProcess, upstream: Upstream, dialect: Dialect, model: str
) -> None:
    books = serve(gateway, upstream)
    first = ask(gateway, "stream", model, dialect, stream=True)
    again = ask(gateway, "stream", model, dialect, stream=True)
    assert dialect.end in first.text
    same(first, again)
    assert again.headers["content-type"] == first.headers["content-type"]
    assert ask(gateway, "stream", model, dialect).status == 422
    assert (len(upstream.calls), len(books.entries())) == (1, 1)


def test_what_failed_runs_anew_and_what_was_refused_for_good_does_not(
    gateway: GatewayProcess, upstream: Upstream
) -> None:
    books = serve(gateway, upstream)
    upstream.script("alpha", failing(500), failing(500), failing(500), words(3))
    statuses = [ask(gateway, "fails").status]
    while statuses[-1] != 200 and len(statuses) < 5:
        statuses.append(ask(gateway, "fails").status)
    assert (statuses[0], statuses[-1]) == (502, 200)
    assert replayed(ask(gateway, "fails"))

    upstream.script("beta", cut(at_event=2), words(3))
    broken = ask(gateway, "breaks", "beta", stream=True)
    assert not broken.clean
    whole = ask(gateway, "breaks", "beta", stream=True)
    assert (whole.status, whole.clean, replayed(whole)) == (200, True, False)

    upstream.script("claude", failing(400, "no such field"))
    seen = len(upstream.calls)
    refused, again = (ask(gateway, "refused", "claude", ANTHROPIC) for _ in range(2))
    assert (refused.status, again.status) == (400, 400)
    assert not replayed(refused)
    assert replayed(again)
    assert ANTHROPIC.error(again)["message"] == ANTHROPIC.error(refused)["message"]
    assert len(upstream.calls) == seen + 1
    assert len(books.entries(refused.request_id)) == 1

    assert ask(gateway, "unknown", "nobody").status == 404
    assert not replayed(ask(gateway, "unknown", "nobody"))


def test_an_answer_too_large_to_keep_is_not_asked_for_again(
    gateway: GatewayProcess, upstream: Upstream
) -> None:
    serve(gateway, upstream)
    upstream.script("alpha", answer("x" * 1_100_000))
    assert ask(gateway, "large").status == 200
    again = ask(gateway, "large")
    assert (again.status, again.code) == (409, "idempotency_not_replayable")
    assert again.headers["x-should-retry"] == "false"
    assert len(upstream.calls) == 1


@SQLITE
def test_the_native_doors_replay_too(gateway: GatewayProcess, upstream: Upstream) -> None:
    books = serve(gateway, upstream)
    body = {"prompt": "hi", "model": "alpha", "max_tokens": 8}
    for path, said in (
        ("complete", body),
        ("stream", body),
        ("embed", {"texts": ["one", "two"], "model": "embed"}),
    ):
        first, again = (native(gateway, path, path, said) for _ in range(2))
        assert (first.status, again.status) == (200, 200)
        assert not replayed(first)
        assert replayed(again)
        assert again.request_id == first.request_id
        if path == "stream":
            assert again.body == first.body
        else:
            told, again_told = first.json, again.json
            told.pop("response_time_ms", None), again_told.pop("response_time_ms", None)
            assert again_told == told
        assert native(gateway, path, path, said | {"user": "other"}).status in {400, 422}
    assert native(gateway, "complete", "stream", body).code == "idempotency_mismatch"
    upstream.script("beta", failing(400, "no such field"))
    refused = [native(gateway, "no", "complete", body | {"model": "beta"}) for _ in range(2)]
    assert [each.status for each in refused] == [400, 400]
    assert [replayed(each) for each in refused] == [False, True]
    assert len(upstream.calls) == 4
    assert len(books.entries()) == 4


def test_after_a_kill_only_what_has_no_entry_runs_anew(
    gateway: GatewayProcess, upstream: Upstream
) -> None:
    books = serve(gateway, upstream, mutant="short_lease")
    done = ask(gateway, "after the entry".replace(" ", "-"), stream=True)
    upstream.script("alpha", gated("never", 1), words(2))
    with ThreadPoolExecutor(1) as thread:
        asked = thread.submit(cut_short, gateway, "before-the-entry")
        upstream.wait_seen(2)
        gateway.kill9()
        asked.result()
    gateway.serve(mutant="short_lease")
    same(done, ask(gateway, "after-the-entry", stream=True))
    told = ask(gateway, "before-the-entry", stream=True)
    assert told.code == "idempotency_in_progress"  # nobody knows yet that its process is gone
    until = time.monotonic() + EXPIRY_LIMIT_S
    while told.status == 409 and time.monotonic() < until:
        time.sleep(0.2)
        told = ask(gateway, "before-the-entry", stream=True)
    assert (told.status, told.clean, replayed(told)) == (200, True, False)
    assert Counter(entry["outcome"] for entry in books.until_settled(3, 20)) == {
        "settled": 2,
        "orphan": 1,
    }
    assert len(upstream.calls) == 3
    same(told, ask(gateway, "before-the-entry", stream=True))


def cut_short(gateway: GatewayProcess, name: str) -> None:
    with suppress(HTTPException, ConnectionError):
        ask(gateway, name, stream=True)
