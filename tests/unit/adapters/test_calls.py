"""What steers the gateway is read strictly; what steers a gateway from outside is refused."""

import json
from typing import Any

import pytest

from llm_gateway.adapters import (
    ADAPTERS,
    CHAT_ADAPTERS,
    anthropic_messages,
    openai_chat,
    openai_embeddings,
)
from llm_gateway.adapters.steering import STEERING
from llm_gateway.errors import InvalidRequestError
from llm_gateway.types import Quirks
from tests.unit.adapters.golden import Bound

CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
MESSAGES: dict[str, Any] = {**CHAT, "max_tokens": 10}
EMBEDDINGS: dict[str, Any] = {"model": "m", "input": "hi"}
BODIES = {"openai_chat": CHAT, "anthropic_messages": MESSAGES, "openai_embeddings": EMBEDDINGS}


class Clamped:
    upstream_name = "up"
    max_output_tokens: int | None = 7


def refused(name: str, body: dict[str, Any]) -> str | None:
    with pytest.raises(InvalidRequestError) as caught:
        ADAPTERS[name].parse_call(body, size=1)
    assert str(caught.value.param) in caught.value.message
    return caught.value.param


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("field", sorted(STEERING))
def test_a_name_that_steers_a_gateway_is_refused_in_any_spelling(name: str, field: str) -> None:
    camel = field.split("_", maxsplit=1)[0] + "".join(word.title() for word in field.split("_")[1:])
    for spelling in (field, field.upper(), field.title(), field.replace("_", "-"), camel):
        assert refused(name, {**BODIES[name], spelling: "x"}) == spelling
    nested = {**BODIES[name], "options": [{"deep": 1}, {field: "x"}]}
    assert refused(name, nested) == f"options.{field}"
    assert refused(name, {**BODIES[name], "metadata": {field: "x"}}) == f"metadata.{field}"


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("field", ["Model", "MODEL", "model "])
def test_a_known_name_in_another_letter_case_is_refused(name: str, field: str) -> None:
    body = {**BODIES[name], field: "other"}
    if field.strip() == "model":
        assert ADAPTERS[name].parse_call(body, size=1).model == "m"  # unknown: passed on
    else:
        assert refused(name, body) == field


def test_what_the_model_reads_may_have_any_key() -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"api_key": {}}}}
    body = {**CHAT, "tools": [tool], "response_format": {"type": "text", "api_base": 1}}
    assert openai_chat.parse_call(body, size=1).items == 2


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model", None), ("model", ""), ("model", 3), ("messages", []), ("messages", "hi"),
        ("stream", "true"), ("stream", 1), ("max_tokens", 0),
        ("max_tokens", True), ("max_tokens", 1.5), ("max_completion_tokens", -1), ("n", 0),
        ("n", 129), ("n", "2"), ("stop", 3), ("tools", {}), ("tools", [1]), ("user", 3),
        ("stream_options", []), ("response_format", "json"),
    ],
)  # fmt: skip
def test_a_steering_field_of_the_wrong_type_is_named(field: str, value: object) -> None:
    assert str(refused("openai_chat", {**CHAT, field: value})).startswith(field)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("messages", None), ("max_tokens", "9"), ("stop_sequences", "END"), ("metadata", "me"),
        ("metadata", {"user_id": 3}), ("thinking", True), ("stream", None.__class__),
    ],
)  # fmt: skip
def test_the_other_dialect_is_as_strict(field: str, value: object) -> None:
    assert str(refused("anthropic_messages", {**MESSAGES, field: value})).startswith(field)


@pytest.mark.parametrize("name", ["openai_chat", "anthropic_messages"])
@pytest.mark.parametrize("entry", ["hi", 3, None, []])
def test_a_message_that_is_no_object_is_the_providers_to_refuse(name: str, entry: object) -> None:
    adapter, body = CHAT_ADAPTERS[name], {**BODIES[name], "messages": [entry]}
    call = adapter.parse_call(body, size=1)
    sent = json.loads(adapter.render_relay(call, Bound(), Quirks()).body)
    assert sent["messages"] == [entry]
    with pytest.raises(InvalidRequestError) as caught:  # but what cannot be read cannot cross
        adapter.parse_request(body)
    assert caught.value.param == "messages[0]"


@pytest.mark.parametrize("given", [None, [], "", 3, {}])
def test_an_embedding_needs_an_input(given: object) -> None:
    body = {**EMBEDDINGS, "input": given}
    if given == "":
        assert openai_embeddings.parse_call(body, size=1).items == 1  # the provider's to refuse
    else:
        assert refused("openai_embeddings", body) == "input"


def test_a_call_tells_what_it_needs() -> None:
    call = openai_chat.parse_call(
        {
            **CHAT,
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                        {
                            "type": "image_url",
                            "image_url": {"url": "https://pictures.example/a.png"},
                        },
                    ],
                }
            ],
            "stream": True,
            "stream_options": {"include_usage": True},
            "tools": [{"type": "function", "function": {"name": "f"}}],
            "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}}},
            "reasoning_effort": "low",
            "max_tokens": 5,
            "max_completion_tokens": 9,
            "n": 2,
            "user": "u",
        },
        size=77,
    )
    assert call.needs == {"chat", "stream", "tools", "vision", "json_schema", "reasoning"}
    assert (call.max_output_tokens, call.choices, call.end_user, call.size) == (9, 2, "u", 77)
    assert (call.items, call.images, call.media_bytes) == (2, 2, 26)
    assert call.stream
    assert call.wants_usage


def test_a_call_of_the_other_dialect_tells_it_too() -> None:
    image = {
        "type": "image",
        "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"},
    }
    result = {"type": "tool_result", "tool_use_id": "t", "content": [image]}
    document = {"type": "document", "source": {"type": "text", "data": "words"}}
    call = anthropic_messages.parse_call(
        {
            **MESSAGES,
            "messages": [{"role": "user", "content": [result, document]}],
            "thinking": {"type": "enabled", "budget_tokens": 1024},
            "output_config": {"format": {"type": "json_schema", "schema": {}}},
            "metadata": {"user_id": "u"},
        },
        size=1,
    )
    assert call.needs == {"chat", "vision", "json_schema", "reasoning"}
    assert (call.images, call.documents, call.media_bytes, call.end_user) == (1, 0, 4, "u")


def test_counting_tokens_is_a_call_of_its_own() -> None:
    body = {**CHAT, "stream": True}
    call = anthropic_messages.parse_call(body, size=1, operation="count_tokens")
    out = anthropic_messages.render_relay(call, Clamped(), Quirks())
    assert out.path == "/v1/messages/count_tokens"
    assert not out.stream
    assert "max_tokens" not in json.loads(out.body)
    answer, facts = anthropic_messages.relay_answer(b'{"input_tokens": 9}', model="m")
    assert answer == b'{"input_tokens": 9}'
    assert facts.complete


def test_a_bound_goes_where_the_caller_wrote_one() -> None:
    def sent(body: dict[str, Any], quirks: Quirks) -> dict[str, Any]:
        call = openai_chat.parse_call(body, size=1)
        out: dict[str, Any] = json.loads(openai_chat.render_relay(call, Clamped(), quirks).body)
        return out

    old = Quirks(max_tokens_field="max_tokens")
    assert sent({**CHAT, "max_tokens": 9}, Quirks())["max_tokens"] == 7
    assert "max_completion_tokens" not in sent({**CHAT, "max_tokens": 9}, Quirks())
    assert sent(CHAT, Quirks())["max_completion_tokens"] == 7
    assert sent(CHAT, old)["max_tokens"] == 7
    both = sent({**CHAT, "max_tokens": 9, "max_completion_tokens": 8}, Quirks())
    assert (both["max_tokens"], both["max_completion_tokens"]) == (7, 7)
    call = anthropic_messages.parse_call(MESSAGES, size=1)
    body = json.loads(anthropic_messages.render_relay(call, Clamped(), Quirks()).body)
    assert body == {**MESSAGES, "model": "up", "max_tokens": 7}


def test_usage_is_asked_for_only_where_the_server_understands() -> None:
    body = {**CHAT, "stream": True, "stream_options": {"include_obfuscation": False}}
    call = openai_chat.parse_call(body, size=1)
    sent = json.loads(openai_chat.render_relay(call, Bound(), Quirks()).body)
    assert sent["stream_options"] == {"include_obfuscation": False, "include_usage": True}
    plain = json.loads(openai_chat.render_relay(call, Bound(), Quirks(include_usage=False)).body)
    assert plain == {**body, "model": "upstream-name"}
    assert call.body == body


def test_half_a_surrogate_pair_is_refused() -> None:
    call = openai_chat.parse_call({**CHAT, "user": "\ud800"}, size=1)
    with pytest.raises(InvalidRequestError):
        openai_chat.render_relay(call, Bound(), Quirks())


def test_headers_of_a_row_are_sent_and_may_replace_the_version() -> None:
    call = anthropic_messages.parse_call(MESSAGES, size=1)
    plain = anthropic_messages.render_relay(call, Bound(), Quirks())
    assert plain.headers == (("anthropic-version", "2023-06-01"),)
    newer = Quirks(default_headers=(("anthropic-version", "2030-01-01"), ("x-a", "1")))
    assert anthropic_messages.render_relay(call, Bound(), newer).headers == newer.default_headers
