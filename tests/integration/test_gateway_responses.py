"""Responses are kept with the provider that has them, within the tenant, and held to budgets."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from openai import BadRequestError, NotFoundError, OpenAI

from tests.harness.books import Books
from tests.harness.canary import canary
from tests.harness.config import (
    API_KEY,
    anthropic_provider,
    budget,
    configuration,
    key,
    model,
    nano_prices,
    provider,
    tenant,
)
from tests.harness.database import SqliteDatabases
from tests.harness.dialects import Told, fetch
from tests.harness.gateway import GatewayProcess, installed
from tests.upstream.client import Upstream
from tests.upstream.scripts import answer, cut, failing, paced, stream

if TYPE_CHECKING:
    from openai.types.responses import Response

OTHER_KEY, POOR_KEY, CLAMPED_KEY = (
    canary(f"api-key-{name}") for name in ("other-tenant", "responses-poor", "responses-clamped")
)
BOTH = ["chat", "responses", "stream", "tools"]


def models() -> list[dict[str, Any]]:
    return [
        model("gpt", capabilities=BOTH),
        model("gpt-mini", capabilities=BOTH),
        model("spread", capabilities=BOTH),
        model("spread", "second", capabilities=BOTH),
        model("second-only", "second", capabilities=BOTH),
        model("deep", capabilities=["responses", "stream", "tools", "reasoning"]),
        model("plain", capabilities=["chat", "stream", "tools"]),
        model("instruct", capabilities=["completions", "stream"]),
        model("claude", "anthropic", price=("3.00", "15.00")),
    ]


def wanted(url: str) -> dict[str, Any]:
    keys = [{"name": name, "value": canary(f"provider-{name}")} for name in ("one", "two", "three")]
    return configuration(
        url,
        providers=[
            provider("openai", "openai", f"{url}/v1", keys=keys),
            provider("second", "openai", f"{url}/second/v1", keys=keys),
            anthropic_provider(url),
        ],
        models=models(),
        routes=[],
        tenants=[
            tenant(budgets=[budget("100")]),
            tenant("other", keys=[key("dev", OTHER_KEY)]),
            tenant("poor", budgets=[budget("0.00003")], keys=[key("dev", POOR_KEY)]),
            tenant(
                "clamped", budgets=[budget("0.0040", mode="clamp")], keys=[key("dev", CLAMPED_KEY)]
            ),
        ],
    )


@pytest.fixture(scope="module")
def installation(
    sqlite_databases: SqliteDatabases,
    upstream_process: Upstream,
    tmp_path_factory: pytest.TempPathFactory,
    output: Path,
) -> Iterator[GatewayProcess]:
    with installed(sqlite_databases, tmp_path_factory.mktemp("responses"), output) as gateway:
        gateway.apply(wanted(upstream_process.base_url))
        yield gateway.serve()


@pytest.fixture
def served(installation: GatewayProcess, upstream: Upstream) -> GatewayProcess:
    upstream.prices(**nano_prices(models()))
    return installation


def client(gateway: GatewayProcess, secret: str = API_KEY) -> OpenAI:
    return OpenAI(base_url=f"{gateway.url}/v1", api_key=secret, max_retries=0, timeout=30)


def ask(gateway: GatewayProcess, path: str = "/v1/responses", **body: Any) -> Told:
    secret = body.pop("secret", API_KEY)
    headers = {"Authorization": f"Bearer {secret}"}
    return fetch(gateway.url, "POST", path, json.dumps(body).encode(), headers)


# --- going on from what is kept ------------------------------------------------------------------


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_a_conversation_stays_with_the_key_and_provider_that_keep_it(
    served: GatewayProcess, upstream: Upstream, streamed: bool
) -> None:
    asking, previous = client(served), None
    for _ in range(8):
        response: Response
        if streamed:
            with asking.responses.stream(
                model="spread", input="hi", previous_response_id=previous
            ) as events:
                response = events.get_final_response()
        else:
            response = asking.responses.create(
                model="spread", input="hi", previous_response_id=previous
            )
        assert (response.status, response.model) == ("completed", "spread")
        previous = response.id
    assert len({(call.path, call.headers["authorization"]) for call in upstream.calls}) == 1


def test_another_model_of_the_same_provider_may_go_on(
    served: GatewayProcess, upstream: Upstream
) -> None:
    first = client(served).responses.create(model="gpt", input="hi")
    client(served).responses.create(model="gpt-mini", input="on", previous_response_id=first.id)
    assert [call.model for call in upstream.calls] == ["gpt", "gpt-mini"]


def test_an_item_may_be_referred_to(served: GatewayProcess, upstream: Upstream) -> None:
    first = client(served).responses.create(model="gpt", input="hi")
    reference: Any = {"type": "item_reference", "id": first.output[0].id}
    said: Any = [{"role": "user", "content": "hi"}, reference, {"role": "user", "content": "on"}]
    for _ in range(4):
        client(served).responses.create(model="gpt", input=said)
    assert len({call.headers["authorization"] for call in upstream.calls}) == 1
    reference["id"] = "msg_of_nobody"
    with pytest.raises(NotFoundError, match="msg_of_nobody"):
        client(served).responses.create(model="gpt", input=said)


@pytest.mark.parametrize("model_name", ["gpt", "plain", "claude"])
@pytest.mark.parametrize("field", ["previous_response_id", "conversation"])
def test_an_unknown_id_is_not_found(
    served: GatewayProcess, upstream: Upstream, model_name: str, field: str
) -> None:
    told = ask(served, model=model_name, input="hi", **{field: "resp_of_nobody"})
    assert (told.status, told.code) == (404, "not_found")
    assert told.json["error"]["param"] == field
    assert not upstream.calls


def test_what_another_tenant_has_is_unknown_in_the_same_words(
    served: GatewayProcess, upstream: Upstream
) -> None:
    kept = client(served).responses.create(model="gpt", input="hi").id
    foreign = ask(served, model="gpt", input="hi", previous_response_id=kept, secret=OTHER_KEY)
    unknown = ask(served, model="gpt", input="hi", previous_response_id="resp_x", secret=OTHER_KEY)
    assert foreign.status == unknown.status == 404
    assert (
        foreign.json["error"]["message"].replace(kept, "resp_x")
        == (unknown.json["error"]["message"])
    )
    assert len(upstream.calls) == 1


@pytest.mark.parametrize("model_name", ["second-only", "plain", "claude"])
def test_a_model_that_the_owner_does_not_serve_is_refused_by_name(
    served: GatewayProcess, upstream: Upstream, model_name: str
) -> None:
    kept = client(served).responses.create(model="gpt", input="hi").id
    with pytest.raises(BadRequestError, match="kept at provider openai") as refused:
        client(served).responses.create(model=model_name, input="hi", previous_response_id=kept)
    assert refused.value.param == "previous_response_id"
    assert len(upstream.calls) == 1


@pytest.mark.parametrize(
    "asked", [{"model": "gpt", "store": False}, {"model": "plain"}, {"model": "claude"}], ids=str
)
def test_what_nobody_keeps_is_not_found(served: GatewayProcess, asked: dict[str, Any]) -> None:
    response = client(served).responses.create(input="hi", **asked)
    assert response.store is False or asked["model"] == "gpt"
    with pytest.raises(NotFoundError):
        client(served).responses.create(model="gpt", input="hi", previous_response_id=response.id)


def test_a_kept_response_is_shown_stopped_and_let_go_of(
    served: GatewayProcess, upstream: Upstream
) -> None:
    asking, stranger = client(served), client(served, OTHER_KEY)
    kept = asking.responses.create(model="gpt", input="what went in")
    shown = asking.responses.retrieve(kept.id)
    assert (shown.id, shown.model, shown.output_text) == (kept.id, "gpt", kept.output_text)
    page = asking.responses.input_items.list(kept.id, order="asc", limit=5)
    assert list[Any](page.data) == ["what went in"]
    assert asking.responses.cancel(kept.id).status == "cancelled"
    for what in (stranger.responses.retrieve, stranger.responses.delete, stranger.responses.cancel):
        with pytest.raises(NotFoundError):
            what(kept.id)
    asking.responses.delete(kept.id)
    with pytest.raises(NotFoundError):
        asking.responses.retrieve(kept.id)
    with pytest.raises(NotFoundError):
        asking.responses.create(model="gpt", input="hi", previous_response_id=kept.id)
    asked = upstream.seen().asked
    assert asked == [
        f"GET /v1/responses/{kept.id}",
        f"GET /v1/responses/{kept.id}/input_items?limit=5&order=asc",
        f"POST /v1/responses/{kept.id}/cancel",
        f"DELETE /v1/responses/{kept.id}",
    ]


def test_what_cannot_be_asked_of_a_kept_response_is_refused(served: GatewayProcess) -> None:
    kept = client(served).responses.create(model="gpt", input="hi").id
    headers = {"Authorization": f"Bearer {API_KEY}"}
    path = f"/v1/responses/{kept}"
    assert fetch(served.url, "GET", f"{path}?stream=true", None, headers).status == 400
    assert fetch(served.url, "PUT", path, None, headers).status == 405
    assert fetch(served.url, "GET", f"{path}/else", None, headers).status == 404
    assert fetch(served.url, "GET", f"{path}%2F..%2Fmodels", None, headers).status == 400
    assert (
        fetch(served.url, "GET", path, None, {"Authorization": "Bearer no-such-key"}).status == 401
    )


def test_a_conversation_is_kept_where_it_was_begun(
    served: GatewayProcess, upstream: Upstream
) -> None:
    asking, stranger = client(served), client(served, OTHER_KEY)
    with pytest.raises(BadRequestError, match="openai, second"):
        asking.conversations.create()
    begun = asking.conversations.create(extra_headers={"x-mobius-provider": "second"})
    response = asking.responses.create(model="spread", input="hi", conversation=begun.id)
    assert response.conversation is not None
    assert upstream.calls[-1].path == "/second/v1/responses"
    with pytest.raises(BadRequestError, match="kept at provider second"):
        asking.responses.create(model="gpt", input="hi", conversation=begun.id)
    for lookup in (stranger.conversations.retrieve, stranger.conversations.items.list):
        with pytest.raises(NotFoundError):
            lookup(begun.id)
    with pytest.raises(NotFoundError):
        stranger.responses.create(model="spread", input="hi", conversation=begun.id)
    asking.conversations.delete(begun.id)
    with pytest.raises(NotFoundError):
        asking.responses.create(model="spread", input="hi", conversation=begun.id)


def test_background_without_a_stream_is_refused_by_name(served: GatewayProcess) -> None:
    told = ask(served, model="gpt", input="hi", background=True)
    assert (told.status, told.json["error"]["param"]) == (400, "background")


# --- every way through ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "spoken"),
    [("gpt", "openai.responses"), ("plain", "openai.chat"), ("claude", "anthropic.messages")],
)
def test_a_caller_of_responses_reaches_every_protocol(
    served: GatewayProcess, upstream: Upstream, name: str, spoken: str
) -> None:
    upstream.script(name, answer("Good morning to you"))
    response = client(served).responses.create(model=name, input="hi", instructions="Be kind.")
    assert response.output_text == "Good morning to you"
    assert response.usage is not None
    assert response.usage.output_tokens == 4
    asked: Any = {"model": name, "input": "hi", "instructions": "Be kind."}
    with client(served).responses.stream(**asked) as events:
        said = [event.delta for event in events if event.type == "response.output_text.delta"]
        final = events.get_final_response()
    assert "".join(said) == final.output_text == "Good morning to you"
    assert final.usage == response.usage
    assert {call.dialect for call in upstream.calls} == {spoken}


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_a_model_with_responses_alone_answers_callers_of_chat(
    served: GatewayProcess, upstream: Upstream, streamed: bool
) -> None:
    upstream.script("deep", answer("Good morning to you"))
    said: Any = [{"role": "user", "content": "hi"}]
    told = ask(
        served, "/v1/chat/completions", model="deep", messages=said, stream=streamed, max_tokens=100
    )
    assert told.status == 200, told.text
    pieces = told.events[:-1] if streamed else [told.json]
    said_back = [
        choice["delta" if streamed else "message"].get("content") or ""
        for piece in pieces
        for choice in piece["choices"]
    ]
    assert "".join(said_back) == "Good morning to you"
    (call,) = upstream.calls
    assert call.dialect == "openai.responses"
    assert call.body["include"] == ["reasoning.encrypted_content"]  # it is known to think
    assert (call.body["store"], call.body["stream"]) == (False, True)
    refused = ask(served, "/v1/chat/completions", model="deep", messages=said, stop="x")
    assert (refused.status, refused.json["error"]["param"]) == (400, "stop")


def test_legacy_completions_are_passed_on_or_cross(
    served: GatewayProcess, upstream: Upstream
) -> None:
    asking = client(served)
    upstream.script("instruct", answer("upon a time"))
    upstream.script("plain", answer("upon a time"))
    upstream.script("deep", answer("upon a time"))
    for name in ("instruct", "plain", "deep"):
        whole = asking.completions.create(model=name, prompt="Once", max_tokens=16)
        assert (whole.object, whole.choices[0].text, whole.model) == (
            "text_completion",
            "upon a time",
            name,
        )
        assert whole.usage is not None
        chunks = list(asking.completions.create(model=name, prompt="Once", stream=True))
        assert "".join(chunk.choices[0].text for chunk in chunks) == "upon a time"
        assert chunks[-1].choices[0].finish_reason == "stop"
    spoken = [call.dialect for call in upstream.calls]
    assert spoken == [
        *["openai.completions"] * 2,
        *["openai.chat"] * 2,
        *["openai.responses"] * 2,
    ]
    for field, value in (("suffix", "end"), ("echo", True), ("best_of", 2), ("prompt", ["a", "b"])):
        body = {"prompt": "Once", field: value}
        told = ask(served, "/v1/completions", model="plain", **body)
        assert (told.status, told.json["error"]["param"]) == (400, field)
        assert ask(served, "/v1/completions", model="instruct", **body).status == 200
    assert ask(served, "/v1/chat/completions", model="instruct", messages=[]).status == 400


# --- money ---------------------------------------------------------------------------------------


def test_a_hard_budget_refuses_and_a_clamping_one_shortens(
    served: GatewayProcess, upstream: Upstream
) -> None:
    refused = ask(served, model="gpt", input="hi", secret=POOR_KEY)
    assert (refused.status, refused.code) == (402, "insufficient_quota")
    assert not upstream.calls
    told = ask(served, model="gpt", input="hi", max_output_tokens=4000, secret=CLAMPED_KEY)
    assert told.status == 200
    (call,) = upstream.calls
    assert call.body["max_output_tokens"] == int(told.headers["x-mobius-max-tokens"])


def test_under_a_hard_budget_a_bound_is_sent(served: GatewayProcess, upstream: Upstream) -> None:
    assert ask(served, model="gpt", input="hi").status == 200
    assert upstream.calls[-1].body["max_output_tokens"] == 4096


@pytest.mark.parametrize("name", ["gpt", "plain", "claude"])
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_an_answer_longer_than_its_limit_ends_when_its_hold_is_used_up(
    served: GatewayProcess, upstream: Upstream, name: str, streamed: bool
) -> None:
    if name == "gpt" and not streamed:
        return  # the whole answer of one's own dialect comes in one piece
    upstream.script(
        name, paced(1) + stream(*(f"w{n} " for n in range(3000))).but(obeys_limit=False)
    )
    told = ask(served, model=name, input="hi", max_output_tokens=32, stream=streamed)
    assert (told.status, told.clean) == (200, True)
    last = told.events[-1]["response"] if streamed else told.json
    assert (last["status"], last["incomplete_details"]) == (
        "incomplete",
        {"reason": "max_output_tokens"},
    )
    assert last["usage"]["output_tokens"] >= 16
    assert "w2000" not in told.text
    if streamed:
        text = "".join(e["delta"] for e in told.events if e["type"].endswith("text.delta"))
        assert last["output"][0]["content"][0]["text"] == text
        assert [event["sequence_number"] for event in told.events] == list(range(len(told.events)))
    entry = Books(served).entries(told.request_id)[0]
    assert (entry["outcome"], bool(entry["estimated"])) == ("settled", True)


@pytest.mark.parametrize("name", ["gpt", "plain", "claude"])
def test_an_answer_within_its_limit_is_never_ended_early(
    served: GatewayProcess, upstream: Upstream, name: str
) -> None:
    upstream.script(name, stream(*(f"w{n} " for n in range(32))))
    told = ask(served, model=name, input="hi", max_output_tokens=32, stream=True)
    assert "w31" in told.text
    assert told.events[-1]["response"]["usage"]["output_tokens"] == 32


def test_what_is_kept_counts_as_input_of_what_goes_on_from_it(
    served: GatewayProcess, upstream: Upstream
) -> None:
    upstream.script("gpt", stream(*(f"w{n} " for n in range(900))))
    first = ask(served, model="gpt", input="hi")
    upstream.script("gpt", answer("short"))
    body: dict[str, Any] = {"model": "gpt", "input": "on", "max_output_tokens": 20}
    on = ask(served, previous_response_id=first.json["id"], **body)
    alone = ask(served, **body)
    holds = [Books(served).entries(told.request_id)[0]["hold_nano"] for told in (on, alone)]
    assert holds[0] - holds[1] >= 900 * 1000  # a dollar for a million tokens of input


# --- what breaks ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["gpt", "plain", "claude"])
def test_a_broken_stream_ends_in_a_numbered_error_and_never_looks_whole(
    served: GatewayProcess, upstream: Upstream, name: str
) -> None:
    upstream.script(name, cut("rst", at_event=6) + answer("one two three four five six"))
    told = ask(served, model=name, input="hi", stream=True)
    assert not told.clean
    last = told.events[-1]
    assert (last["type"], last["code"]) == ("error", "upstream_error")
    assert [event["sequence_number"] for event in told.events] == list(range(len(told.events)))
    assert not {"response.completed", "response.incomplete"} & {e["type"] for e in told.events}


def test_errors_are_those_of_the_dialect(served: GatewayProcess, upstream: Upstream) -> None:
    upstream.script("gpt", failing(400, "Invalid 'temperature'."))
    told = ask(served, model="gpt", input="hi")
    assert (told.status, told.json["error"]["type"]) == (400, "invalid_request_error")
    assert "temperature" in told.json["error"]["message"]
    assert ask(served, model="nobody", input="hi").code == "model_not_found"
    for body in ({}, {"model": "gpt", "input": 5}, {"model": "gpt", "input": "x", "api_key": "k"}):
        assert ask(served, **body).status == 400


# --- all processes, both databases ---------------------------------------------------------------


def test_every_process_finds_what_any_of_them_kept_and_none_forgets_it(
    gateway: GatewayProcess, upstream: Upstream
) -> None:
    gateway.apply(wanted(upstream.base_url))
    workers = 2 if gateway.environment["REDIS_URL"] else 1
    gateway.serve(workers=workers)
    previous: str | None = None
    for _ in range(12):  # each on a connection of its own, so on any worker
        told = ask(gateway, model="spread", input="hi", previous_response_id=previous)
        assert told.status == 200, told.text
        previous = told.json["id"]
    gateway.kill9()
    gateway.serve(workers=workers)
    assert ask(gateway, model="spread", input="hi", previous_response_id=previous).status == 200
