"""Answers given again, and answers shared by those who ask at once (R30, R32): real servers."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from itertools import product
from typing import Any

import pytest

from tests.harness.books import Books
from tests.harness.config import (
    API_KEY,
    budget,
    configuration,
    key,
    model,
    models,
    nano_prices,
    provider,
    route,
    tenant,
)
from tests.harness.dialects import ANTHROPIC, OPENAI, Dialect, Told, fetch
from tests.harness.gateway import GatewayProcess
from tests.upstream.client import Upstream
from tests.upstream.scripts import answer, cut, failing, gated, words

OTHER_KEY, OWNER_KEY, STRANGER_KEY = (f"{API_KEY}-{who}" for who in ("other", "owner", "stranger"))
MANAGE = ["inference", "usage", "manage"]
IN_FORCE_S = 3.0
ON = {"enabled": True, "ttl": 600}

WAYS = ((OPENAI, "alpha"), (OPENAI, "claude"), (ANTHROPIC, "claude"), (ANTHROPIC, "alpha"))
# What an answer is named by does not depend on the database; that all processes share it does.
SQLITE = pytest.mark.parametrize("database_backend", ["sqlite"], indirect=True)


def wanted(upstream: Upstream, **fields: Any) -> dict[str, Any]:
    acme = tenant(
        budgets=[budget("9")],
        rate_limits={"concurrency": 100, "requests_per_minute": 5000},
        keys=[key(), key("other", OTHER_KEY), key("owner", OWNER_KEY, scopes=MANAGE)],
        projects=[{"name": "search"}],
        **fields,
    )
    acme["keys"].append(key("searching", API_KEY + "-search", project="search"))
    stranger = tenant("stranger", keys=[key("s", STRANGER_KEY)], **fields)
    return configuration(upstream.base_url, tenants=[acme, stranger])


def serve(gateway: GatewayProcess, upstream: Upstream, **fields: Any) -> Books:
    upstream.prices(**nano_prices(models()))
    gateway.apply(wanted(upstream, **fields))
    gateway.serve(workers=2 if gateway.environment["REDIS_URL"] else 1)
    return Books(gateway)


def ask(
    gateway: GatewayProcess, name: str = "alpha", dialect: Dialect = OPENAI, **how: Any
) -> Told:
    told = dialect.ask(gateway.url, name, **how)
    assert told.status == 200, told.body
    return told


def word(told: Told) -> str:
    return told.headers["x-mobius-cache"]


def said(told: Told, dialect: Dialect) -> str:
    """Return the text of an answer, whole or streamed."""
    if told.body.startswith(b"{"):
        whole = told.json
        if dialect is OPENAI:
            return str(whole["choices"][0]["message"]["content"])
        return "".join(block["text"] for block in whole["content"])
    pieces = [event for event in told.events if event != "[DONE]"]
    if dialect is OPENAI:
        deltas = [event["choices"][0]["delta"] for event in pieces if event["choices"]]
        return "".join(delta.get("content") or "" for delta in deltas)
    return "".join(event["delta"].get("text", "") for event in pieces if "delta" in event)


@SQLITE
def test_whole_and_streamed_answers_stand_for_each_other(
    gateway: GatewayProcess, upstream: Upstream
) -> None:
    books = serve(gateway, upstream, cache=ON)
    for dialect, name in WAYS:
        for first in (False, True):
            upstream.script(name, answer("the one and only answer"))
            again_and_again(gateway, dialect, name, first=first, content=f"{name} {first}")
    assert len(upstream.calls) == len(WAYS) * 2
    gateway.terminate()
    hits = [entry for entry in books.entries() if entry["kind"] == "cache_hit"]
    paid = [entry["amount_nano"] for entry in books.terminal()]
    assert {entry["amount_nano"] for entry in hits} == {0}
    saved = [json.loads(entry["usage"])["saved_nano"] for entry in hits]
    assert sorted(saved) == sorted(paid * 2)
    assert books.audit().code == 0


def again_and_again(
    gateway: GatewayProcess, dialect: Dialect, name: str, *, first: bool, content: str
) -> None:
    told = ask(gateway, name, dialect, stream=first, content=content)
    assert word(told) == "miss"
    for stream in (first, not first):
        again = ask(gateway, name, dialect, stream=stream, content=content)
        assert word(again) == "hit"
        assert said(again, dialect) == said(told, dialect) == "the one and only answer"
        assert again.clean
        assert again.request_id != told.request_id
        assert again.headers["x-mobius-model"] == name
        if stream:
            assert dialect.end in again.text
        else:
            assert Decimal(again.headers["x-mobius-cost-usd"]) == 0
        if stream is first:
            assert again.body == told.body


@SQLITE
def test_gemini_callers_are_answered_again_in_every_form(
    gateway: GatewayProcess, upstream: Upstream
) -> None:
    google = configuration(upstream.base_url)
    google["providers"].append(provider("gemini", "gemini", upstream.base_url))
    google["models"].append(model("google", "gemini"))
    gateway.apply(google | {"tenants": wanted(upstream, cache=ON)["tenants"]})
    gateway.serve()
    names, forms = ("alpha", "claude", "google"), (*GEMINI_FORMS, *reversed(GEMINI_FORMS))
    for name, first in product(names, GEMINI_FORMS):
        upstream.script(name, answer("the one and only answer"))
        told = [ask_as_google(gateway, name, form, content=first) for form in (first, *forms)]
        assert [word(each) for each in told] == ["miss", *["hit"] * len(forms)]
        assert {said_as_google(each) for each in told} == {"the one and only answer"}
        assert told[1 + forms.index(first)].body == told[0].body
    assert len(upstream.calls) == len(names) * len(GEMINI_FORMS)


GEMINI_FORMS = ("generateContent", "streamGenerateContent", "streamGenerateContent?alt=sse")


def ask_as_google(gateway: GatewayProcess, name: str, form: str, content: str) -> Told:
    body = json.dumps({"contents": [{"parts": [{"text": content}]}]}).encode()
    headers = {"x-goog-api-key": API_KEY}
    told = fetch(gateway.url, "POST", f"/v1beta/models/{name}:{form}", body, headers)
    assert (told.status, told.clean) == (200, True), told.text
    return told


def said_as_google(told: Told) -> str:
    chunks = told.events or told.json
    parts = [
        part
        for chunk in (chunks if isinstance(chunks, list) else [chunks])
        for candidate in chunk.get("candidates", ())
        for part in candidate["content"]["parts"]
    ]
    return "".join(part["text"] for part in parts)


@SQLITE
def test_only_the_same_request_of_the_same_tenant_is_answered_again(
    gateway: GatewayProcess, upstream: Upstream
) -> None:
    serve(gateway, upstream, cache=ON)
    upstream.script("alpha", words(3))
    assert word(ask(gateway)) == "miss"
    assert word(ask(gateway, key=OTHER_KEY)) == "hit"
    others: list[dict[str, Any]] = [
        {"key": STRANGER_KEY},
        {"key": API_KEY + "-search"},
        {"content": "count, please "},
        {"temperature": 0.1},
        {"max_tokens": 9},
        {"seed": 1},
        {"user": "somebody"},
        {"headers": {"x-mobius-provider": "openai"}},
        {"headers": {"x-mobius-strategy": "cheapest"}},
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]},
    ]
    for other in others:
        assert word(ask(gateway, **other)) == "miss", other
    assert word(ask(gateway, "beta")) == "miss"
    assert len(upstream.calls) == len(others) + 2


@SQLITE
def test_errors_and_cut_answers_are_never_given_again(
    gateway: GatewayProcess, upstream: Upstream
) -> None:
    serve(gateway, upstream, cache=ON)
    upstream.script("alpha", failing(400, "no"), cut(at_event=3), words(3))
    off = {"x-mobius-fallbacks": "off"}
    assert OPENAI.ask(gateway.url, "alpha", headers=off).status == 400
    assert not OPENAI.ask(gateway.url, "alpha", stream=True, headers=off).clean
    assert word(ask(gateway, headers=off)) == "miss"
    assert word(ask(gateway, headers=off)) == "hit"
    assert len(upstream.calls) == 3


@SQLITE
def test_a_caller_says_what_it_wants_of_the_cache(
    gateway: GatewayProcess, upstream: Upstream
) -> None:
    serve(gateway, upstream, cache=ON)
    upstream.script("alpha", answer("one"), answer("two"), answer("three"))
    assert said(ask(gateway, headers={"x-mobius-cache": "no-store"}), OPENAI) == "one"
    assert said(ask(gateway), OPENAI) == "two"
    assert said(ask(gateway, headers={"x-mobius-cache": "no-cache"}), OPENAI) == "three"
    assert said(ask(gateway), OPENAI) == "three"
    refused = OPENAI.ask(gateway.url, "alpha", headers={"x-mobius-cache": "maybe"})
    assert (refused.status, refused.json["error"]["param"]) == (400, "x-mobius-cache")


@SQLITE
def test_off_is_off(gateway: GatewayProcess, upstream: Upstream) -> None:
    serve(gateway, upstream)
    upstream.script("alpha", words(3))
    assert [word(ask(gateway)) for _ in range(2)] == ["off", "off"]
    assert len(upstream.calls) == 2


@SQLITE
def test_an_answer_is_given_again_until_its_time_is_over(
    gateway: GatewayProcess, upstream: Upstream
) -> None:
    serve(gateway, upstream, cache={"enabled": True, "ttl": 1})
    upstream.script("alpha", words(3))
    assert [word(ask(gateway)) for _ in range(2)] == ["miss", "hit"]
    time.sleep(1.1)
    assert word(ask(gateway)) == "miss"


@SQLITE
def test_a_hit_needs_no_money_and_a_revoked_model_is_no_hit(
    gateway: GatewayProcess, upstream: Upstream
) -> None:
    serve(gateway, upstream, cache=ON)
    upstream.script("alpha", words(3))
    ask(gateway)
    poor = wanted(upstream, cache=ON)
    poor["tenants"][0]["budgets"] = [budget("0.00000001")]
    gateway.apply(poor)
    until_in_force(gateway, "insufficient_quota", content="something new")
    assert word(ask(gateway)) == "hit"
    poor["tenants"][0]["models"] = ["beta"]
    gateway.apply(poor)
    until_in_force(gateway, "model_not_found")


@SQLITE
def test_a_route_that_leads_elsewhere_gives_no_old_answers(
    gateway: GatewayProcess, upstream: Upstream
) -> None:
    serve(gateway, upstream, cache=ON)
    upstream.script("alpha", words(3))
    upstream.script("gamma", words(3))
    first = ask(gateway, "alpha-then-beta")
    moved = wanted(upstream, cache=ON)
    moved["models"].append(model("gamma"))
    moved["routes"] = [route("alpha-then-beta", "gamma")]
    gateway.apply(moved)
    until = time.monotonic() + IN_FORCE_S
    while (told := ask(gateway, "alpha-then-beta")).headers["x-mobius-model"] != "gamma":
        assert time.monotonic() < until
        time.sleep(0.05)
    assert (word(first), word(told)) == ("miss", "miss")


@pytest.mark.parametrize("database_backend", ["postgres"], indirect=True)
def test_all_processes_share_answers_until_the_tenant_clears_them(
    gateway: GatewayProcess, upstream: Upstream
) -> None:
    serve(gateway, upstream, cache=ON)
    upstream.script("alpha", words(3))
    ask(gateway)
    time.sleep(0.2)  # written behind the answer
    assert {word(ask(gateway)) for _ in range(20)} == {"hit"}  # by either of two processes
    assert len(upstream.calls) == 1
    assert clear(gateway, API_KEY).status == 403
    assert clear(gateway, OWNER_KEY).status == 204
    until = time.monotonic() + IN_FORCE_S
    while word(ask(gateway)) == "hit":
        assert time.monotonic() < until
        time.sleep(0.05)
    told = fetch(gateway.url, "GET", "/api/v1/cache", None, bearer(API_KEY)).json
    assert (told["enabled"], told["ttl_s"], told["single_flight"]) == (True, 600, False)
    usage = fetch(gateway.url, "GET", "/api/v1/usage?group_by=model", None, bearer(API_KEY))
    (row,) = until_row(gateway, usage)
    assert row["cache_hits"] >= 20
    assert Decimal(row["saved_usd"]) > Decimal(row["cost_usd"])
    used = fetch(gateway.url, "GET", "/api/v1/cache", None, bearer(API_KEY)).json["used"]
    assert (used["hits"], used["saved_usd"]) == (row["cache_hits"], row["saved_usd"])
    nobodys = fetch(gateway.url, "GET", "/api/v1/cache", None, bearer(STRANGER_KEY)).json["used"]
    assert (nobodys["requests"], nobodys["hits"]) == (0, 0)


@SQLITE
def test_the_same_asked_at_once_is_called_once(gateway: GatewayProcess, upstream: Upstream) -> None:
    books = serve(gateway, upstream, single_flight=True)
    for number, ((dialect, name), stream) in enumerate(product(WAYS, (False, True))):
        upstream.script(name, gated(f"go-{number}") + answer("heard by all of them"))
        with ThreadPoolExecutor(20) as threads:
            asked = [
                threads.submit(ask, gateway, name, dialect, stream=stream if n else not stream)
                for n in range(20)
            ]
            upstream.wait_seen(number + 1)
            time.sleep(0.5)
            upstream.open_gate(f"go-{number}")
            told = [each.result() for each in asked]
        assert {said(one, dialect) for one in told} == {"heard by all of them"}
        assert all(one.clean for one in told)
        assert sorted(word(one) for one in told) == ["hit"] * 19 + ["off"]
    asked_for = len(WAYS) * 2
    assert len(upstream.calls) == asked_for
    gateway.terminate()
    assert len(books.terminal()) == asked_for
    hits = [entry for entry in books.entries() if entry["kind"] == "cache_hit"]
    assert len(hits) == 19 * asked_for
    assert books.audit().code == 0


@SQLITE
def test_where_the_first_fails_the_others_go_their_own_way(
    gateway: GatewayProcess, upstream: Upstream
) -> None:
    serve(gateway, upstream, single_flight=True)
    upstream.script("alpha", gated("go") + failing(400, "no"), words(3))
    with ThreadPoolExecutor(5) as threads:
        asked = [threads.submit(OPENAI.ask, gateway.url, "alpha") for _ in range(5)]
        upstream.wait_seen(1)
        time.sleep(0.3)
        upstream.open_gate("go")
        statuses = sorted(each.result().status for each in asked)
    assert statuses == [200, 200, 200, 200, 400]
    assert len(upstream.calls) == 2


@SQLITE
def test_a_stream_that_breaks_breaks_for_all_who_hear_it(
    gateway: GatewayProcess, upstream: Upstream
) -> None:
    serve(gateway, upstream, single_flight=True, cache=ON)
    upstream.script("alpha", gated("go") + cut(at_event=3), words(3))
    with ThreadPoolExecutor(4) as threads:
        asked = [
            threads.submit(
                OPENAI.ask,
                gateway.url,
                "alpha",
                stream=True,
                headers={"x-mobius-fallbacks": "off"},
            )
            for _ in range(4)
        ]
        upstream.wait_seen(1)
        time.sleep(0.3)
        upstream.open_gate("go")
        told = [each.result() for each in asked]
    assert not any(one.clean for one in told if OPENAI.end not in one.text)
    assert any(not one.clean for one in told)
    assert word(ask(gateway, headers={"x-mobius-fallbacks": "off"})) == "miss"


def until_in_force(gateway: GatewayProcess, code: str, **how: Any) -> None:
    until = time.monotonic() + IN_FORCE_S
    while OPENAI.ask(gateway.url, "alpha", **how).code != code:
        assert time.monotonic() < until
        time.sleep(0.05)


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def clear(gateway: GatewayProcess, secret: str) -> Told:
    return fetch(gateway.url, "DELETE", "/api/v1/cache", None, bearer(secret))


def until_row(gateway: GatewayProcess, usage: Told) -> list[dict[str, Any]]:
    """Return the usage once the recorder has written the hits down."""
    until = time.monotonic() + IN_FORCE_S
    while not usage.json["rows"] or usage.json["rows"][0]["cache_hits"] < 20:
        assert time.monotonic() < until
        time.sleep(0.1)
        usage = fetch(gateway.url, "GET", "/api/v1/usage?group_by=model", None, bearer(API_KEY))
    rows: list[dict[str, Any]] = usage.json["rows"]
    return rows
