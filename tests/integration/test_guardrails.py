"""What a tenant does not let through is taken out, refused or noted, in every dialect."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest
from websockets.sync.client import connect

from tests.harness.books import Books
from tests.harness.canary import canary
from tests.harness.config import (
    API_KEY,
    CHAT,
    configuration,
    key,
    model,
    models,
    nano_prices,
    tenant,
)
from tests.harness.database import SqliteDatabases
from tests.harness.dialects import ANTHROPIC, OPENAI, Dialect, Told, fetch
from tests.harness.gateway import GatewayProcess, installed
from tests.upstream.client import Upstream
from tests.upstream.scripts import Script, answer, calling, stream

REDACTING, BLOCKING, FLAGGING, OWN, KEEPING = (
    canary(f"api-key-{kind}") for kind in ("redacting", "blocking", "flagging", "own-words", "kept")
)
SECRET, CARD = "sk-proj-4f9Kd82mQ0aZ71xYbC3n", "4111 1111 1111 1111"
SAID = f"Use {SECRET} and pay with {CARD}, please."
CLEAN = "Use [secret] and pay with [card], please."
DIALECTS = pytest.mark.parametrize("dialect", [OPENAI, ANTHROPIC], ids=["openai", "anthropic"])
MODELS = pytest.mark.parametrize("model", ["alpha", "claude"])
STREAMED = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])


def tenants() -> list[dict[str, Any]]:
    redact = [{"kind": "secrets", "action": "redact"}, {"kind": "pii", "action": "redact"}]
    manage = {"scopes": ["inference", "usage", "manage"]}
    own = [
        {"name": "codes", "kind": "pattern", "action": "redact", "patterns": [r"K-\d{4}"]},
        {"name": "rivals", "kind": "words", "words": ["blue falcon"], "on": "request"},
    ]
    return [
        tenant(),
        tenant(
            "redacting",
            guardrails=redact,
            keys=[key("k", REDACTING)],
        ),
        tenant(
            "keeping",
            guardrails=redact,
            keys=[key("k", KEEPING, **manage)],
            cache={"enabled": True},
        ),
        tenant(
            "blocking",
            guardrails=[{"name": "no-cards", "kind": "pii", "entities": ["card"]}],
            keys=[key("k", BLOCKING)],
        ),
        tenant(
            "flagging",
            guardrails=[{"kind": "pii", "action": "flag"}],
            keys=[key("k", FLAGGING)],
        ),
        tenant("own", guardrails=own, keys=[key("k", OWN)]),
    ]


@pytest.fixture(scope="module")
def guarded(
    sqlite_databases: SqliteDatabases,
    upstream_process: Upstream,
    tmp_path_factory: pytest.TempPathFactory,
    output: Path,
) -> Iterator[GatewayProcess]:
    rows = [*models(), model("batched", capabilities=[*CHAT, "batches"])]
    wanted = configuration(upstream_process.base_url, models=rows, tenants=tenants())
    with installed(sqlite_databases, tmp_path_factory.mktemp("home"), output) as gateway:
        gateway.apply(wanted)
        yield gateway.serve()


@pytest.fixture
def url(guarded: GatewayProcess, upstream: Upstream) -> str:
    upstream.prices(**nano_prices(models()))
    return guarded.url


def recorded(url: str, told: Told, api_key: str) -> Any:
    """Return the decision of a request; it is written behind the answer."""
    headers = {"Authorization": f"Bearer {api_key}"}
    for _ in range(500):
        found = fetch(url, "GET", f"/api/v1/requests/{told.request_id}", None, headers)
        if found.status == 200:
            return found.json
    raise AssertionError(f"{told.request_id} was not logged")


def text_of(dialect: Dialect, told: Told, *, streamed: bool) -> str:
    """Return what an answer says, whole or put together."""
    if not streamed:
        said = told.json
        if dialect is ANTHROPIC:
            return "".join(block.get("text", "") for block in said["content"])
        return str(said["choices"][0]["message"]["content"])
    if dialect is ANTHROPIC:
        deltas = [one["delta"] for one in told.events if one.get("delta")]
        return "".join(one.get("text", "") for one in deltas)
    chunks = [one for one in told.events if one != "[DONE]" and one.get("choices")]
    return "".join(one["choices"][0]["delta"].get("content") or "" for one in chunks)


def pieces(text: str) -> Script:
    """Return a stream of the text in pieces of three letters, which cut whatever there is."""
    return stream(*(text[at : at + 3] for at in range(0, len(text), 3)))


# --- requests


@DIALECTS
@MODELS
@STREAMED
def test_what_is_asked_goes_out_redacted(
    url: str, upstream: Upstream, dialect: Dialect, model: str, streamed: bool
) -> None:
    told = (
        dialect.ask(url, model, stream=streamed, key=REDACTING, content=SAID, system=f"S {CARD}")
        if dialect is ANTHROPIC
        else dialect.ask(url, model, stream=streamed, key=REDACTING, content=SAID)
    )
    assert told.status == 200, told.text
    (call,) = upstream.calls
    assert SECRET not in call.raw_body
    assert "4111" not in call.raw_body
    assert CLEAN in call.raw_body


@DIALECTS
@STREAMED
def test_what_may_not_be_asked_is_refused_and_costs_nothing(
    url: str, guarded: GatewayProcess, upstream: Upstream, dialect: Dialect, streamed: bool
) -> None:
    told = dialect.ask(url, "alpha", stream=streamed, key=BLOCKING, content=SAID)
    assert (told.status, told.code) == (400, "content_blocked")
    assert "'no-cards'" in dialect.error(told)["message"]
    assert "4111" not in told.text
    assert upstream.calls == []
    assert Books(guarded).entries(told.request_id) == []
    (looked,) = recorded(url, told, BLOCKING)["guardrails"]
    assert looked == {
        "name": "no-cards", "kind": "pii", "action": "block", "on": "request", "matches": 1,
    }  # fmt: skip


OTHER_DOORS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "responses": ("/v1/responses", {"model": "alpha", "input": SAID}),
    "completions": ("/v1/completions", {"model": "alpha", "prompt": SAID}),
    "embeddings": ("/v1/embeddings", {"model": "embed", "input": ["a", SAID]}),
    "gemini": (
        "/v1beta/models/alpha:generateContent",
        {"contents": [{"role": "user", "parts": [{"text": SAID}]}]},
    ),
    "complete": ("/api/v1/llm/complete", {"model": "alpha", "prompt": SAID}),
    "embed": ("/api/v1/llm/embed", {"model": "embed", "texts": [SAID]}),
    "race": ("/api/v1/llm/race", {"models": ["alpha", "beta"], "prompt": SAID}),
    "count": (
        "/v1/messages/count_tokens",
        {"model": "claude", "messages": [{"role": "user", "content": SAID}]},
    ),
}


@pytest.mark.parametrize("door", OTHER_DOORS)
def test_no_door_leads_past_a_guardrail(url: str, upstream: Upstream, door: str) -> None:
    path, body = OTHER_DOORS[door]
    raw = json.dumps(body).encode()
    told = fetch(url, "POST", path, raw, {"Authorization": f"Bearer {BLOCKING}"})
    assert (told.status, told.code) == (400, "content_blocked"), told.text
    assert upstream.calls == []
    told = fetch(url, "POST", path, raw, {"Authorization": f"Bearer {REDACTING}"})
    assert told.status == 200, told.text
    assert not [call for call in upstream.calls if "4111" in call.raw_body]


def test_what_a_provider_would_keep_is_looked_at_too(url: str, upstream: Upstream) -> None:
    item = {"type": "message", "role": "user", "content": SAID}
    raw = json.dumps({"items": [item]}).encode()
    told = fetch(url, "POST", "/v1/conversations", raw, {"Authorization": f"Bearer {BLOCKING}"})
    assert (told.status, told.code) == (400, "content_blocked"), told.text
    assert upstream.calls == []


def test_the_requests_of_a_batch_are_looked_at_when_they_come(url: str, upstream: Upstream) -> None:
    body = {"model": "batched", "messages": [{"role": "user", "content": SAID}]}
    line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": body}
    for api_key, status in ((BLOCKING, 400), (REDACTING, 200)):
        told = httpx2.post(
            f"{url}/v1/files",
            headers={"Authorization": f"Bearer {api_key}"},
            files={"file": ("in.jsonl", json.dumps(line).encode())},
            data={"purpose": "batch"},
        )
        assert told.status_code == status, told.text
    assert "4111" not in json.dumps(upstream.seen().forms)
    assert "[card]" in json.dumps(upstream.seen().forms)


def test_explain_says_it_beforehand(url: str, upstream: Upstream) -> None:
    body = {"model": "alpha", "messages": [{"role": "user", "content": SAID}]}
    for api_key, refused in ((BLOCKING, "content_blocked"), (REDACTING, None)):
        raw = json.dumps(body).encode()
        told = fetch(
            url, "POST", "/api/v1/llm/explain", raw, {"Authorization": f"Bearer {api_key}"}
        )
        assert told.status == 200, told.text
        assert (told.json["refused"] or {}).get("code") == refused
        assert any(one["matches"] for one in told.json["guardrails"])
        assert "4111" not in told.text
    assert upstream.calls == []


def test_own_patterns_and_words(url: str, upstream: Upstream) -> None:
    told = OPENAI.ask(url, "alpha", key=OWN, content="about K-1234")
    assert told.status == 200
    assert "about [codes]" in upstream.calls[0].raw_body
    told = OPENAI.ask(url, "alpha", key=OWN, content="the Blue Falcon flies")
    assert (told.status, told.code) == (400, "content_blocked")
    assert "'rivals'" in told.text


def test_what_is_flagged_goes_out_and_is_noted(url: str, upstream: Upstream) -> None:
    upstream.script("alpha", answer(f"Mine is {CARD}."))
    told = OPENAI.ask(url, "alpha", key=FLAGGING, content=SAID, max_tokens=900)
    assert told.status == 200
    assert CARD in upstream.calls[0].raw_body
    assert CARD in told.text
    matches = {one["on"]: one["matches"] for one in recorded(url, told, FLAGGING)["guardrails"]}
    assert matches == {"request": 1, "answer": 1}
    metrics = fetch(url, "GET", "/metrics").text
    assert 'mobius_guardrail_matches_total{action="flag",kind="pii",on="answer"}' in metrics


def test_without_guardrails_nothing_is_looked_at(url: str, upstream: Upstream) -> None:
    upstream.script("alpha", answer(SAID))
    told = OPENAI.ask(url, "alpha", content=SAID, max_tokens=900)
    assert CARD in told.text
    assert CARD in upstream.calls[0].raw_body
    assert "guardrails" not in recorded(url, told, API_KEY)


# --- answers


STREAMING_DOORS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "responses": ("/v1/responses", {"model": "alpha", "input": "what?", "stream": True}),
    "completions": (
        "/v1/completions",
        {"model": "alpha", "prompt": "what?", "stream": True, "max_tokens": 900},
    ),
    "gemini": (
        "/v1beta/models/alpha:streamGenerateContent?alt=sse",
        {"contents": [{"role": "user", "parts": [{"text": "what?"}]}]},
    ),
    "native": ("/api/v1/llm/stream", {"model": "alpha", "prompt": "what?"}),
}


@pytest.mark.parametrize("door", STREAMING_DOORS)
def test_every_door_that_streams_holds_a_match_back(
    url: str, upstream: Upstream, door: str
) -> None:
    path, body = STREAMING_DOORS[door]
    raw = json.dumps(body).encode()
    upstream.script("alpha", pieces("Now listen. " * 40 + SAID))
    told = fetch(url, "POST", path, raw, {"Authorization": f"Bearer {REDACTING}"})
    assert told.status == 200, told.text
    assert (SECRET in told.text, "4111" in told.text) == (False, False)
    assert ("[secret]" in told.text, "[card]" in told.text) == (True, True)
    assert "content_blocked" not in told.text
    told = fetch(url, "POST", path, raw, {"Authorization": f"Bearer {BLOCKING}"})
    assert (told.status, "4111" in told.text) == (200, False)
    assert "'no-cards'" in told.text
    assert "Now" in told.text


@pytest.mark.usefixtures("url")
def test_the_websocket_is_no_way_past_them(guarded: GatewayProcess, upstream: Upstream) -> None:
    upstream.script("alpha", pieces(SAID))
    request = {"model": "alpha", "messages": [{"role": "user", "content": SAID}]}
    message = json.dumps({"type": "chat.create", "id": "1", "request": request})
    told = {}
    for api_key in (REDACTING, BLOCKING):
        headers = {"authorization": f"Bearer {api_key}"}
        address = f"ws://127.0.0.1:{guarded.port}/ws/v1/llm"
        with connect(address, additional_headers=headers, open_timeout=10) as socket:
            socket.send(message)
            said = [json.loads(socket.recv(timeout=10))]
            while said[-1]["type"] == "chat.chunk":
                said.append(json.loads(socket.recv(timeout=10)))
        told[api_key] = said
    assert told[REDACTING][-1]["type"] == "chat.done"
    assert "[card]" in json.dumps(told[REDACTING])
    assert told[BLOCKING][-1]["error"]["code"] == "content_blocked"
    assert "4111" not in json.dumps([told, [call.raw_body for call in upstream.calls]])


@DIALECTS
@MODELS
@STREAMED
def test_what_is_answered_comes_back_redacted(
    url: str, upstream: Upstream, books: Books, dialect: Dialect, model: str, streamed: bool
) -> None:
    upstream.script(model, pieces(SAID))
    told = dialect.ask(url, model, stream=streamed, key=REDACTING, content="what?", max_tokens=900)
    assert told.status == 200, told.text
    assert text_of(dialect, told, streamed=streamed) == CLEAN
    if streamed:
        assert told.clean
        assert dialect.end in told.text
    (bill,) = upstream.bill().rows
    (entry,) = books.entries(told.request_id)
    assert entry["amount_nano"] == bill.cost_nano_usd


@pytest.fixture
def books(guarded: GatewayProcess) -> Books:
    return Books(guarded)


@DIALECTS
@MODELS
def test_a_whole_answer_is_refused_and_paid(
    url: str, upstream: Upstream, books: Books, dialect: Dialect, model: str
) -> None:
    upstream.script(model, answer(SAID))
    told = dialect.ask(url, model, key=BLOCKING, content="what?", max_tokens=900)
    assert (told.status, told.code) == (400, "content_blocked"), told.text
    assert "4111" not in told.text
    assert len(upstream.calls) == 1
    (entry,) = books.entries(told.request_id)
    assert entry["amount_nano"] == upstream.bill().total_nano_usd


@DIALECTS
@MODELS
def test_a_stream_is_ended_by_an_error_before_a_match(
    url: str, upstream: Upstream, books: Books, dialect: Dialect, model: str
) -> None:
    upstream.script(model, pieces("Now listen. " * 40 + SAID + " And so on." * 40))
    told = dialect.ask(url, model, stream=True, key=BLOCKING, content="what?", max_tokens=900)
    assert told.status == 200
    error = dialect.stream_error(told)
    assert (error["code"], "'no-cards'" in error["message"]) == ("content_blocked", True)
    assert "4111" not in told.text
    assert text_of(dialect, told, streamed=True).startswith("Now listen. Now listen.")
    (entry,) = books.entries(told.request_id)
    assert entry["amount_nano"] > 0


@DIALECTS
@STREAMED
def test_what_tools_are_called_with_is_looked_at(
    url: str, upstream: Upstream, dialect: Dialect, streamed: bool
) -> None:
    upstream.script("alpha", calling(("pay", '{"card":4111111111111111,"to":"a@b.example"}')))
    told = dialect.ask(url, "alpha", stream=streamed, key=REDACTING, content="pay")
    assert told.status == 200
    assert "4111" not in told.text
    assert "[card]" in told.text
    assert "[email]" in told.text


def test_a_kept_answer_is_not_given_under_other_guardrails(url: str, upstream: Upstream) -> None:
    """The cache is asked under the name of the guardrails that looked at the answer."""
    headers = {"Authorization": f"Bearer {KEEPING}"}
    upstream.script("beta", answer("It is K-1234."))
    first = OPENAI.ask(url, "beta", key=KEEPING, content="which?")
    again = OPENAI.ask(url, "beta", key=KEEPING, content="which?")
    assert (first.headers["x-mobius-cache"], again.headers["x-mobius-cache"]) == ("miss", "hit")
    made = httpx2.post(
        f"{url}/api/v1/guardrails",
        headers=headers,
        json={"name": "codes", "kind": "pattern", "action": "redact", "patterns": [r"K-\d+"]},
    )
    assert made.status_code == 201, made.text
    told = again
    for _ in range(400):
        told = OPENAI.ask(url, "beta", key=KEEPING, content="which?")
        if "K-1234" not in told.text:
            break
    assert "It is [codes]." in told.text
    path = f"{url}/api/v1/guardrails/{made.json()['id']}"
    assert httpx2.delete(path, headers=headers).status_code == 204
