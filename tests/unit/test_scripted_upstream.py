"""The scripted upstream does what its scripts say, over real sockets, and its bill is right."""

import asyncio
import socket
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx2
import openai
import pytest

from tests.upstream.client import Upstream
from tests.upstream.scripts import (
    Script,
    answer,
    calling,
    cut,
    ended_early,
    error_in_stream,
    failing,
    garbage,
    gated,
    gzip_bomb,
    paced,
    raw,
    split,
    stalled,
    stream,
    throttled,
    words,
)

ASK = [{"role": "user", "content": "one two three"}]


@pytest.fixture
def gpt(upstream: Upstream) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=f"{upstream.base_url}/v1", api_key="unused", max_retries=0, timeout=5
    ) as client:
        yield client


@pytest.fixture
def claude(upstream: Upstream) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(
        base_url=upstream.base_url, api_key="unused", max_retries=0, timeout=5
    ) as client:
        yield client


@pytest.fixture
def http(upstream: Upstream) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=upstream.base_url, timeout=5) as client:
        yield client


def chat(model: str = "alpha", *, streamed: bool = False, **fields: Any) -> dict[str, object]:
    return {"model": model, "messages": ASK, "stream": streamed, **fields}


def events_of(http: httpx2.Client, body: dict[str, object]) -> list[str]:
    """Return the events that arrived, up to the end or to where the connection broke."""
    received = b""
    with http.stream("POST", "/v1/chat/completions", json=body) as response:
        try:
            for piece in response.iter_raw():
                received += piece
        except httpx2.TransportError:
            received += b"BROKEN"
    return [event for event in received.decode().split("\n\n") if event]


# --- honest answers


def test_an_answer_nobody_scripted_is_numbered_words(gpt: openai.OpenAI) -> None:
    found = gpt.chat.completions.create(model="alpha", messages=ASK)  # type: ignore[arg-type]
    assert found.choices[0].message.content == "w1 w2 w3 w4 w5 w6 w7 w8"
    assert found.usage is not None
    assert (found.usage.prompt_tokens, found.usage.completion_tokens) == (3, 8)
    assert found.choices[0].finish_reason == "stop"


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_a_token_limit_is_honoured(http: httpx2.Client, field: str) -> None:
    found = http.post("/v1/chat/completions", json=chat() | {field: 3}).json()
    assert found["choices"][0]["message"]["content"] == "w1 w2 w3"
    assert found["choices"][0]["finish_reason"] == "length"
    assert found["usage"]["completion_tokens"] == 3


@pytest.mark.parametrize("asked", [True, False])
def test_openai_usage_is_streamed_when_asked_for(gpt: openai.OpenAI, asked: bool) -> None:
    chunks = list(
        gpt.chat.completions.create(  # type: ignore[call-overload]
            model="alpha", messages=ASK, stream=True, stream_options={"include_usage": asked}
        )
    )
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == "w1 w2 w3 w4 w5 w6 w7 w8"
    assert [c.usage.total_tokens for c in chunks if c.usage] == ([11] if asked else [])


TOOLS = (("weather", '{"city":"Oslo"}'), ("time", "{}"))


@pytest.mark.parametrize("text", [0, 2])
def test_openai_tools_are_called_whole_and_streamed_alike(
    upstream: Upstream, gpt: openai.OpenAI, text: int
) -> None:
    upstream.script("alpha", calling(*TOOLS, text=text))
    whole = gpt.chat.completions.create(model="alpha", messages=ASK)  # type: ignore[arg-type]
    with gpt.chat.completions.stream(model="alpha", messages=ASK) as events:  # type: ignore[arg-type]
        streamed = events.get_final_completion()
    for found in (whole, streamed):
        choice = found.choices[0]
        calls = choice.message.tool_calls or []
        assert [(c.function.name, c.function.arguments) for c in calls] == list(TOOLS)  # type: ignore[union-attr]
        assert choice.finish_reason == "tool_calls"
    assert [row.output for row in upstream.bill().rows] == [text + 2] * 2
    assert [row.sent for row in upstream.bill().rows] == [text + 2] * 2


@pytest.mark.parametrize("text", [0, 2])
def test_anthropic_tools_are_called_whole_and_streamed_alike(
    upstream: Upstream, claude: anthropic.Anthropic, text: int
) -> None:
    upstream.script("haiku", calling(*TOOLS, text=text))
    whole = claude.messages.create(model="haiku", max_tokens=9, messages=ASK)  # type: ignore[arg-type]
    with claude.messages.stream(model="haiku", max_tokens=9, messages=ASK) as events:  # type: ignore[arg-type]
        streamed = events.get_final_message()
    for found in (whole, streamed):
        calls = [(b.name, b.input) for b in found.content if b.type == "tool_use"]
        assert calls == [("weather", {"city": "Oslo"}), ("time", {})]
        assert (found.stop_reason, found.usage.output_tokens) == ("tool_use", text + 2)
    assert [row.sent for row in upstream.bill().rows] == [text + 2] * 2


def test_every_choice_is_answered_and_billed(upstream: Upstream, gpt: openai.OpenAI) -> None:
    found = gpt.chat.completions.create(model="alpha", messages=ASK, n=3)  # type: ignore[arg-type]
    assert len(found.choices) == 3
    assert upstream.bill().rows[0].output == 24


def test_anthropic_answers_whole_and_streamed_alike(
    upstream: Upstream, claude: anthropic.Anthropic
) -> None:
    upstream.script("haiku", stream("Hel", "lo").but(cache_read=1))
    whole = claude.messages.create(model="haiku", max_tokens=9, messages=ASK)  # type: ignore[arg-type]
    with claude.messages.stream(model="haiku", max_tokens=9, messages=ASK) as events:  # type: ignore[arg-type]
        streamed = events.get_final_message()
    assert whole.content == [anthropic.types.TextBlock(type="text", text="Hello", citations=None)]
    assert streamed.content[0].text == "Hello"  # type: ignore[union-attr]
    for message in (whole, streamed):
        usage = message.usage
        assert (usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens) == (2, 1, 2)
        assert message.stop_reason == "end_turn"


def test_counting_tokens_costs_nothing(upstream: Upstream, claude: anthropic.Anthropic) -> None:
    upstream.prices(haiku={"input": 1000, "output": 5000})
    found = claude.messages.count_tokens(model="haiku", system="be brief", messages=ASK)  # type: ignore[arg-type]
    assert found.input_tokens == 5
    assert upstream.bill().total_nano_usd == 0


@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_embeddings_are_the_same_in_both_encodings(
    upstream: Upstream, gpt: openai.OpenAI, encoding: str
) -> None:
    upstream.prices(embed={"input": 20})
    found = gpt.embeddings.create(model="embed", input=["a b", "c"], dimensions=4)
    plain = gpt.embeddings.create(
        model="embed",
        input=["a b", "c"],
        dimensions=4,
        encoding_format=encoding,  # type: ignore[arg-type]
    )
    assert [len(item.embedding) for item in found.data] == [4, 4]
    assert found.usage.prompt_tokens == 3
    if encoding == "float":
        assert plain.data[0].embedding == pytest.approx(found.data[0].embedding)
    assert upstream.bill().total_nano_usd == 2 * 3 * 20


def test_models_are_listed_for_both_sdks(
    upstream: Upstream, gpt: openai.OpenAI, claude: anthropic.Anthropic
) -> None:
    upstream.script("beta", words(1))
    upstream.prices(alpha={"input": 1})
    assert [model.id for model in gpt.models.list()] == ["alpha", "beta"]
    assert [model.id for model in claude.models.list()] == ["alpha", "beta"]


def test_canaries_of_the_request_come_back_with_one_of_the_answer(http: httpx2.Client) -> None:
    body = chat(messages=[{"role": "user", "content": "say CANARY-prompt-0123456789abcdef"}])
    text = http.post("/v1/chat/completions", json=body).json()["choices"][0]["message"]["content"]
    assert text.startswith("CANARY-prompt-0123456789abcdef CANARY-answer-00000001 w1 ")


# --- choosing a script


def test_attempts_follow_the_sequence_and_the_last_one_stays(
    upstream: Upstream, gpt: openai.OpenAI
) -> None:
    upstream.script("alpha", throttled(retry_after_s=1), stream("Hel", "lo"))
    with pytest.raises(openai.RateLimitError) as refused:
        gpt.chat.completions.create(model="alpha", messages=ASK)  # type: ignore[arg-type]
    assert refused.value.response.headers["retry-after"] == "1"
    for _ in range(2):
        found = gpt.chat.completions.create(model="alpha", messages=ASK)  # type: ignore[arg-type]
        assert found.choices[0].message.content == "Hello"
    assert upstream.order == ["alpha"] * 3
    assert [call.attempt for call in upstream.calls] == [1, 2, 3]


def test_a_marker_in_the_last_user_message_chooses_too(
    upstream: Upstream, http: httpx2.Client
) -> None:
    upstream.script("greeting", answer("Hello there"))
    body = chat(messages=[*ASK, {"role": "user", "content": "hi [[script:greeting]]"}])
    found = http.post("/v1/chat/completions", json=body).json()
    assert found["choices"][0]["message"]["content"] == "Hello there"
    assert found["usage"]["prompt_tokens"] == 5


@pytest.mark.parametrize(
    "wrong", [Script(bill="half"), Script(usage="odd"), Script(steps=({"dance": 1},))]
)
def test_a_script_that_is_not_understood_is_refused(upstream: Upstream, wrong: Script) -> None:
    with pytest.raises(ValueError, match="/__script"):
        upstream.script("alpha", wrong)


# --- faults


@pytest.mark.parametrize(
    ("status", "raised"),
    [
        (400, openai.BadRequestError),
        (401, openai.AuthenticationError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
        (529, openai.InternalServerError),
    ],
)
def test_errors_have_openais_shape(
    upstream: Upstream, gpt: openai.OpenAI, status: int, raised: type[openai.APIStatusError]
) -> None:
    upstream.script("alpha", failing(status, "no, thanks"))
    with pytest.raises(raised, match="no, thanks"):
        gpt.chat.completions.create(model="alpha", messages=ASK)  # type: ignore[arg-type]
    assert upstream.bill().rows[0].policy == "none"


def test_errors_have_anthropics_shape(upstream: Upstream, claude: anthropic.Anthropic) -> None:
    upstream.script("haiku", failing(529))
    with pytest.raises(anthropic.APIStatusError) as refused:
        claude.messages.create(model="haiku", max_tokens=9, messages=ASK)  # type: ignore[arg-type]
    assert refused.value.status_code == 529
    body = refused.value.response.json()
    assert body["error"] == {"type": "overloaded_error", "message": "Overloaded"}


def test_an_error_event_comes_after_the_events_and_nothing_after_it(
    upstream: Upstream, http: httpx2.Client
) -> None:
    upstream.script("alpha", error_in_stream(3))
    events = events_of(http, chat(streamed=True))
    assert len(events) == 4
    assert events[3].startswith('data: {"error":{"message":"Overloaded"')
    assert upstream.bill().rows[0].output == 2  # of three events the first is the role


@pytest.mark.parametrize("how", ["fin", "rst"])
def test_a_stream_is_cut_after_that_many_events(
    upstream: Upstream, http: httpx2.Client, how: str
) -> None:
    upstream.script("alpha", cut(how, at_event=4))  # type: ignore[arg-type]
    events = events_of(http, chat(streamed=True))
    assert (len(events), events[-1]) == (5, "BROKEN")
    (row,) = upstream.bill().rows
    assert (row.outcome, row.input, row.output, row.planned) == ("cut", 3, 3, 8)
    assert upstream.calls[0].closed_by == "upstream"


@pytest.mark.parametrize("at_byte", [1, 100, 333])
def test_a_stream_is_cut_at_a_byte(upstream: Upstream, http: httpx2.Client, at_byte: int) -> None:
    upstream.script("alpha", cut("fin", at_byte=at_byte))
    received = "\n\n".join(events_of(http, chat(streamed=True))).removesuffix("BROKEN")
    assert len(received) == at_byte


@pytest.mark.parametrize("script", [cut("short_length"), cut("short_length", at_byte=20)])
@pytest.mark.parametrize("streamed", [True, False])
def test_a_short_length_is_noticed_as_one(
    upstream: Upstream, http: httpx2.Client, script: Script, streamed: bool
) -> None:
    upstream.script("alpha", script)
    with pytest.raises(httpx2.RemoteProtocolError, match="body"):
        http.post("/v1/chat/completions", json=chat(streamed=streamed))


def test_a_call_can_be_cut_before_its_head(upstream: Upstream, http: httpx2.Client) -> None:
    upstream.script("alpha", cut("rst"), cut("fin"))
    with pytest.raises(httpx2.ReadError):
        http.post("/v1/chat/completions", json=chat())
    with pytest.raises(httpx2.RemoteProtocolError):
        http.post("/v1/chat/completions", json=chat())
    assert [call.status for call in upstream.calls] == [0, 0]


def test_a_stream_can_end_cleanly_without_its_terminal_event(
    upstream: Upstream, http: httpx2.Client
) -> None:
    upstream.script("alpha", ended_early(5))
    events = events_of(http, chat(streamed=True))
    assert len(events) == 5
    assert "DONE" not in events[-1]
    assert upstream.calls[0].outcome == "ended"


@pytest.mark.parametrize("after_events", [None, 0, 2])
def test_a_stalled_call_ends_when_its_client_leaves(
    upstream: Upstream, http: httpx2.Client, after_events: int | None
) -> None:
    upstream.script("alpha", stalled(after_events))
    with pytest.raises(httpx2.ReadTimeout):
        http.post("/v1/chat/completions", json=chat(streamed=True), timeout=0.2)
    upstream.wait_ended(1)
    (call,) = upstream.calls
    assert (call.outcome, call.closed_by) == ("client_left", "client")
    assert call.status == (0 if after_events is None else 200)


def test_split_and_paced_answers_are_the_same_answer(
    upstream: Upstream, http: httpx2.Client
) -> None:
    plain = events_of(http, chat(streamed=True))
    upstream.script("alpha", split(7), paced(every_ms=1))
    for _ in range(2):
        again = events_of(http, chat(streamed=True))
        assert [event[40:] for event in again] == [event[40:] for event in plain]


def test_raw_bytes_garbage_and_foreign_types_are_sent_as_they_are(
    upstream: Upstream, http: httpx2.Client
) -> None:
    page = b"<html>gateway</html>"
    upstream.script("alpha", raw(page, content_type="text/html"), garbage(64))
    found = http.post("/v1/chat/completions", json=chat())
    assert (found.content, found.headers["content-type"]) == (page, "text/html")
    assert len(http.post("/v1/chat/completions", json=chat()).content) == 64
    upstream.script("alpha", raw(b"SSH-2.0-no\r\n", bare=True))
    with pytest.raises(httpx2.RemoteProtocolError):
        http.post("/v1/chat/completions", json=chat())


def test_a_gzip_bomb_is_small_on_the_wire(upstream: Upstream, http: httpx2.Client) -> None:
    upstream.script("alpha", gzip_bomb(16 << 20))
    found = http.post("/v1/chat/completions", json=chat())
    assert len(found.content) == 16 << 20
    assert found.num_bytes_downloaded < 64 << 10


@pytest.mark.parametrize(
    ("variant", "reported"),
    [
        ("absent", []),
        ("zero", [0]),
        ("negative", [-12]),
        ("text", ["11"]),
        ("huge", [2**63]),
        ("twice", [11, 11]),
        ("decreasing", [23, 11]),
        ("misplaced", []),
    ],
)
def test_usage_is_reported_as_badly_as_asked(
    upstream: Upstream, http: httpx2.Client, variant: str, reported: list[object]
) -> None:
    upstream.script("alpha", Script(usage=variant))
    body = chat(streamed=True, stream_options={"include_usage": True})
    chunks = [httpx2.Response(200, content=e[6:]).json() for e in events_of(http, body)[:-1]]
    assert [c["usage"]["total_tokens"] for c in chunks if c.get("usage")] == reported


def test_not_a_number_is_written_where_a_number_should_be(
    upstream: Upstream, http: httpx2.Client
) -> None:
    upstream.script("alpha", Script(usage="nan"))
    assert b'"prompt_tokens":NaN' in http.post("/v1/chat/completions", json=chat()).content


# --- the bill and the memory


@pytest.mark.parametrize(
    ("policy", "cost"),
    [("full", 3 + 80), ("generated", 3 + 20), ("sent", 3 + 10), ("reported", 0), ("none", 0)],
)
def test_a_dropped_call_is_billed_by_its_policy(
    upstream: Upstream, http: httpx2.Client, policy: str, cost: int
) -> None:
    upstream.prices(alpha={"input": 1, "output": 10})
    events = events_of(http, chat(streamed=True))
    upstream.reset()
    upstream.prices(alpha={"input": 1, "output": 10})
    in_second_word = sum(len(event) + 2 for event in events[:2]) + 30
    upstream.script("alpha", cut("fin", at_byte=in_second_word).but(bill=policy))
    events_of(http, chat(streamed=True))
    assert upstream.bill().total_nano_usd == cost


def test_what_was_reported_can_be_what_is_billed(upstream: Upstream, http: httpx2.Client) -> None:
    usage = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}
    upstream.prices(alpha={"input": 1, "output": 10})
    upstream.script("alpha", Script(usage=usage, bill="reported"))
    assert http.post("/v1/chat/completions", json=chat()).json()["usage"] == usage
    assert upstream.bill().total_nano_usd == 57


def test_cached_tokens_have_their_own_price(upstream: Upstream, http: httpx2.Client) -> None:
    upstream.prices(alpha={"input": 10, "cache_read": 1, "cache_write": 12, "output": 0})
    upstream.script("alpha", Script(cache_read=1, cache_write=1))
    found = http.post("/v1/chat/completions", json=chat()).json()
    assert found["usage"]["prompt_tokens_details"]["cached_tokens"] == 1
    assert upstream.bill().total_nano_usd == 10 + 1 + 12


def test_what_arrived_is_remembered_to_the_byte(upstream: Upstream) -> None:
    body = b'{"model":"alpha", "messages":[]}'
    head = (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nX-Odd:  Two \r\nContent-Length: %d\r\n"
        b"Connection: keep-alive\r\n\r\n" % len(body)
    )
    with socket.create_connection(("127.0.0.1", upstream.port)) as line:
        for piece in (head[:30], head[30:] + body[:5], body[5:]):
            line.sendall(piece)
        assert line.recv(65536).startswith(b"HTTP/1.1 200 OK\r\n")
    (call,) = upstream.calls
    assert (call.raw_head.encode(), call.raw_body.encode()) == (head, body)
    assert call.headers["x-odd"] == "Two"
    assert call.first_byte_at is not None
    assert call.received_at <= call.first_byte_at


def test_connections_are_kept_alive_and_counted(upstream: Upstream, http: httpx2.Client) -> None:
    before = upstream.seen().connections
    for _ in range(3):
        http.post("/v1/chat/completions", json=chat())
    seen = upstream.seen()
    assert len({call.connection for call in seen.calls}) == 1
    assert seen.connections - before == 2  # the client's and the one that asks


async def test_256_calls_at_once_wait_at_a_gate_and_are_all_answered(upstream: Upstream) -> None:
    upstream.script("alpha", gated("go"))
    limits = httpx2.Limits(max_connections=256)
    async with httpx2.AsyncClient(base_url=upstream.base_url, timeout=30, limits=limits) as client:
        asked = [
            asyncio.create_task(client.post("/v1/chat/completions", json=chat()))
            for _ in range(256)
        ]
        await asyncio.to_thread(upstream.wait_seen, 256, 30)
        assert upstream.seen().running == 256
        upstream.open_gate("go")
        answers = await asyncio.gather(*asked)
    assert {found.status_code for found in answers} == {200}
    seen = upstream.seen()
    assert (seen.peak, seen.peaks, seen.running) == (256, {"alpha": 256}, 0)


def test_a_gate_can_stand_in_the_middle_of_a_stream(
    upstream: Upstream, http: httpx2.Client
) -> None:
    upstream.script("alpha", gated("middle", after_events=1))
    with http.stream("POST", "/v1/chat/completions", json=chat(streamed=True)) as response:
        pieces = response.iter_raw()
        assert b"w1" not in next(pieces)
        upstream.open_gate("middle")
        assert b"".join(pieces).endswith(b"data: [DONE]\n\n")


def test_scripts_add_up(upstream: Upstream, http: httpx2.Client) -> None:
    upstream.open_gate("go")
    upstream.script("alpha", gated("go") + words(3) + cut("fin", at_event=2).but(bill="full"))
    assert len(events_of(http, chat(streamed=True))) == 3
    assert upstream.bill().rows[0].output == 3


def test_waiting_for_calls_that_do_not_come_fails_by_name(upstream: Upstream) -> None:
    with pytest.raises(TimeoutError, match="seen=1"):
        upstream.wait_seen(1, timeout_s=0.05)


def test_a_reset_forgets_and_cuts_what_still_runs(upstream: Upstream, http: httpx2.Client) -> None:
    upstream.script("alpha", gated("never", after_events=1))
    with http.stream("POST", "/v1/chat/completions", json=chat(streamed=True)) as response:
        pieces = response.iter_raw()
        next(pieces)
        upstream.reset()
        with pytest.raises(httpx2.ReadError):
            next(pieces)
    assert upstream.calls == []
    assert upstream.bill().rows == []
