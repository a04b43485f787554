"""What a relay must not be fooled by, and which answers are none."""

import json

import pytest

from llm_gateway import errors
from llm_gateway.adapters import ADAPTERS, CHAT_ADAPTERS, anthropic_messages, openai_chat
from llm_gateway.adapters.base import Relay
from llm_gateway.types import Facts, Usage
from tests.unit.adapters.test_calls import CHAT, MESSAGES

BAD_BODIES = [b"", b"<html>", b"[]", b"{}", b'{"choices":[]}', b'{"a":1,"a":2}', b'{"x":"\xff"}']


def facts_of(relay: Relay) -> Facts:
    """Return the facts as they are now: a type checker does not see that `feed` changes them."""
    return relay.facts


def usage_of(relay: Relay) -> Usage:
    usage = facts_of(relay).usage
    assert usage is not None
    return usage


def openai_relay(*, usage: bool = False) -> Relay:
    body = {**CHAT, "stream": True, "stream_options": {"include_usage": usage}}
    return openai_chat.relay(openai_chat.parse_call(body, size=1), model="new")


def anthropic_relay() -> Relay:
    return anthropic_messages.relay(anthropic_messages.parse_call(MESSAGES, size=1), model="new")


def frame(value: object) -> bytes:
    return b"data: " + (value if isinstance(value, bytes) else json.dumps(value).encode()) + b"\n\n"


@pytest.mark.parametrize("name", ADAPTERS)
@pytest.mark.parametrize("body", BAD_BODIES)
def test_a_body_that_is_no_answer_is_invalid(name: str, body: bytes) -> None:
    with pytest.raises(errors.InvalidAnswerError):
        ADAPTERS[name].relay_answer(body, model="m")


@pytest.mark.parametrize("name", ADAPTERS)
def test_an_error_in_a_200_is_the_error_it_names(name: str) -> None:
    body = b'{"error":{"type":"rate_limit_error","status":"RESOURCE_EXHAUSTED","message":"no"}}'
    with pytest.raises(errors.ThrottledError):
        ADAPTERS[name].relay_answer(body, model="m")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"code": 429}, errors.ThrottledError), ({"code": 502}, errors.ServerFaultError),
        ({"code": "rate_limit_exceeded"}, errors.ThrottledError),
        ({"type": "server_error"}, errors.ServerFaultError),
        ({"type": "invalid_request_error", "message": "bad"}, errors.RejectedError),
        ({"code": 7}, errors.ServerFaultError), ("oops", errors.ServerFaultError),
    ],
)  # fmt: skip
def test_an_error_in_a_stream_is_the_error_it_names(
    error: object, kind: type[errors.GatewayError]
) -> None:
    relay = openai_relay()
    assert relay.feed(frame({"error": error})) == b""
    assert type(facts_of(relay).error) is kind
    reader = openai_chat.reader()
    with pytest.raises(kind):
        list(reader.feed(frame({"error": error})))


def test_the_start_of_a_frame_is_not_taken_for_that_of_another() -> None:
    relay = openai_relay()
    first = b'{"id":"1","model":"m","choices":[{"delta":{"content":"a"}}]}'
    second = b'{"id":"1","model":"mm","choices":[]}'
    third = b'{"id":"1", "object":"x","choices":[{"delta":{"model":"m"}}],"model":"m"}'
    assert relay.feed(frame(first)) == frame(first.replace(b'"m"', b'"new"'))
    assert relay.feed(frame(second)) == frame(second.replace(b'"mm"', b'"new"'))
    want = third[:-4] + b'"new"}'
    assert relay.feed(frame(third)) == frame(want)
    assert relay.feed(frame(first)) == frame(first.replace(b'"m"', b'"new"'))


@pytest.mark.parametrize(
    ("data", "kept"),
    [
        (b'{"model":"m","choices":[{}],"usage":null}', b'{"model":"new","choices":[{}]}'),
        (b'{"model":"m","usage":null,"choices":[{}]}', b'{"model":"new","choices":[{}]}'),
        (b'{"usage":null,"model":"m","choices":[{}]}', b'{"model":"new","choices":[{}]}'),
        (
            b'{"model":"m","choices":[{"x":1,"usage":null}]}',
            b'{"model":"new","choices":[{"x":1,"usage":null}]}',
        ),
        (
            b'{"model":"m","choices":[{"x":1,"usage":null}],"usage":null,"o":"a"}',
            b'{"model":"new","choices":[{"x":1,"usage":null}],"o":"a"}',
        ),
        (
            b'{"model":"m", "usage": null,"choices":[{"x":1,"usage":null}]}',
            b'{"model":"new","choices":[{"x":1,"usage":null}]}',
        ),
        (b'{"model":"m","choices":[],"usage":{"prompt_tokens":1}}', b""),
        (
            b'{"model":"m","choices":[],"prompt_filter_results":[]}',
            b'{"model":"new","choices":[],"prompt_filter_results":[]}',
        ),
    ],
)
def test_only_what_our_own_request_caused_is_taken_out(data: bytes, kept: bytes) -> None:
    assert openai_relay().feed(frame(data)) == (frame(kept) if kept else b"")
    asked = openai_relay(usage=True).feed(frame(data))
    assert asked == frame(data.replace(b'"m"', b'"new"', 1))


@pytest.mark.parametrize("bad", [-1, 1.5, "12", True, 2**53 + 1, [], {}])
def test_a_usage_that_is_no_count_is_kept_as_text_and_never_used(bad: object) -> None:
    relay = openai_relay()
    good = {"prompt_tokens": 3, "completion_tokens": 2}
    relay.feed(frame({"choices": [], "usage": good}))
    relay.feed(frame({"choices": [], "usage": {**good, "completion_tokens": bad}}))
    assert usage_of(relay).output == 2
    assert json.dumps(bad) in str(facts_of(relay).usage_invalid)


def test_an_explicit_zero_stays_zero_and_null_is_no_report() -> None:
    relay = openai_relay()
    relay.feed(frame({"choices": [], "usage": None}))
    assert facts_of(relay).usage is None
    assert facts_of(relay).usage_invalid is None
    relay.feed(frame({"choices": [], "usage": {"prompt_tokens": 0, "completion_tokens": 0}}))
    assert (usage_of(relay).input, usage_of(relay).output) == (0, 0)


def test_what_is_malformed_or_unknown_does_not_stop_a_stream() -> None:
    for relay in (openai_relay(), anthropic_relay()):
        assert relay.feed(b'data: {"choices":[{"del\n\n') == b""
        assert relay.feed(b"data: 5\n\n") == b""
        assert relay.feed(b": ping\n\n") == b": ping\n\n"
        assert facts_of(relay).skipped == 2
    odd = b'event: new\ndata: {"type":"new_kind","index":0,"delta":{"type":"x","text":{"a":1}}}\n\n'
    assert anthropic_relay().feed(odd) == odd


def test_the_name_inside_a_beginning_message_is_the_only_one_exchanged() -> None:
    start = (
        b'event: message_start\ndata: {"type":"message_start","model":"outer","message":'
        b'{"usage":{"iterations":[{"model":"m"}]},"content":[],"model":"m"}}\n\n'
    )
    assert anthropic_relay().feed(start) == start.replace(b'[],"model":"m"', b'[],"model":"new"')


def test_output_is_counted_in_bytes_and_seen_as_a_first_token() -> None:
    relay = openai_relay()
    relay.feed(frame({"choices": [{"delta": {"role": "assistant", "content": ""}}]}))
    assert not facts_of(relay).content
    relay.feed(frame({"choices": [{"delta": {"content": "é", "reasoning_content": "abc"}}]}))
    call = {"index": 0, "id": "i", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    relay.feed(frame({"choices": [{"delta": {"tool_calls": [call]}}]}))
    assert facts_of(relay).content
    assert facts_of(relay).output_bytes == 2 + 3 + 3


def test_a_stream_is_complete_by_the_providers_own_last_word() -> None:
    for name, last in (
        ("openai_chat", b"[DONE]"),
        ("anthropic_messages", {"type": "message_stop"}),
    ):
        relay = openai_relay() if name == "openai_chat" else anthropic_relay()
        reader = CHAT_ADAPTERS[name].reader()
        assert not facts_of(relay).complete
        relay.feed(frame(last))
        list(reader.feed(frame(last)))
        assert facts_of(relay).complete
        assert reader.facts.complete
