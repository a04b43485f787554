"""What one dialect says is carried to the other, or refused by its name."""

import json
from typing import Any

import pytest

from llm_gateway.adapters import anthropic_messages, openai_chat
from llm_gateway.adapters.anthropic_messages.blocks_out import BlockEvents
from llm_gateway.adapters.base import ChatAdapter
from llm_gateway.adapters.crossing import cross
from llm_gateway.errors import InvalidRequestError, UnexpressibleError
from llm_gateway.types import (
    Call,
    End,
    Event,
    Finish,
    Quirks,
    Start,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    ToolCallStart,
)
from tests.unit.adapters.test_calls import CHAT, MESSAGES

OTHER: dict[str, ChatAdapter] = {
    "openai_chat": anthropic_messages,
    "anthropic_messages": openai_chat,
}


def over(source: ChatAdapter, body: dict[str, Any], quirks: Quirks | None = None) -> Any:
    request, target = source.parse_request(body), OTHER[source.name]
    out = cross(source, target, request, quirks or Quirks(), default_max_tokens=500)
    return json.loads(out.body)


def to_anthropic(**fields: object) -> Any:
    return over(openai_chat, {**CHAT, **fields})


def to_openai(**fields: object) -> Any:
    return over(anthropic_messages, {**MESSAGES, **fields})


@pytest.mark.parametrize(
    "fields",
    [
        {"n": 2}, {"seed": 1}, {"frequency_penalty": 0.5}, {"presence_penalty": -1},
        {"logit_bias": {"5": 1}}, {"logprobs": True}, {"top_logprobs": 2}, {"temperature": 1.1},
        {"response_format": {"type": "json_object"}}, {"metadata": {"a": "b"}}, {"store": True},
        {"service_tier": "priority"}, {"modalities": ["audio"]}, {"verbosity": "low"},
        {"prediction": {"type": "content"}}, {"web_search_options": {}}, {"new_parameter": 1},
        {"prompt_cache_key": "k"}, {"functions": [{"name": "f"}]}, {"function_call": "auto"},
        {"audio": {"voice": "v"}}, {"reasoning_effort": "unknown"},
    ],
)  # fmt: skip
def test_what_anthropic_has_no_word_for_is_refused_by_name(fields: dict[str, Any]) -> None:
    with pytest.raises(UnexpressibleError) as caught:
        to_anthropic(**fields)
    assert caught.value.param == next(iter(fields))


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"top_k": 5}, "top_k"), ({"container": "c"}, "container"),
        ({"stop_sequences": list("abcde")}, "stop_sequences"),
        ({"thinking": {"type": "adaptive", "display": "omitted"}}, "thinking.display"),
        ({"tools": [{"type": "bash_20250124", "name": "bash"}]}, "tools[0].type"),
        ({"metadata": {"user_id": "u", "x": 1}}, "metadata.x"), ({"new": 1}, "new"),
        ({"output_config": {"new": 1}}, "output_config.new"),
    ],
)  # fmt: skip
def test_what_openai_has_no_word_for_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(UnexpressibleError) as caught:
        to_openai(**fields)
    assert caught.value.param == param


@pytest.mark.parametrize(
    "part",
    [
        {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
        {"type": "file", "file": {"file_id": "file-1"}},
        {"type": "file", "file": {"filename": "a.txt", "file_data": "data:text/csv;base64,AA=="}},
        {"type": "image_url", "image_url": {"url": "https://a.example/", "detail": "high"}},
        {"type": "new", "new": 1},
    ],
)
def test_a_part_that_cannot_cross_is_refused_by_name(part: dict[str, Any]) -> None:
    with pytest.raises(UnexpressibleError) as caught:
        to_anthropic(messages=[{"role": "user", "content": [part]}])
    assert str(part["type"]).removesuffix("_id") in str(caught.value.param)


@pytest.mark.parametrize(
    "block",
    [
        {"type": "document", "source": {"type": "url", "url": "https://a.example/a.pdf"}},
        {"type": "image", "source": {"type": "file", "file_id": "f"}},
        {"type": "search_result", "source": "s", "title": "t", "content": []},
        {"type": "text", "text": "x", "citations": [{"type": "char_location"}]},
        {"type": "tool_result", "tool_use_id": "t", "content": [
            {"type": "image", "source": {"type": "url", "url": "https://a.example/"}}
        ]},
    ],
)  # fmt: skip
def test_a_block_that_cannot_cross_is_refused_by_name(block: dict[str, Any]) -> None:
    with pytest.raises(UnexpressibleError) as caught:
        to_openai(messages=[{"role": "user", "content": [block]}])
    assert str(caught.value.param).startswith("messages[")


def test_a_speakers_name_is_refused() -> None:
    with pytest.raises(UnexpressibleError):
        to_anthropic(messages=[{"role": "user", "content": "hi", "name": "ann"}])


def test_a_tools_name_beside_its_result_says_what_the_calls_id_says() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "clock", "arguments": "{}"}}
    result = {"role": "tool", "tool_call_id": "c", "content": "noon"}
    called = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "tool_calls": [call]},
    ]
    named = to_anthropic(messages=[*called, {**result, "name": "clock"}])
    assert named == to_anthropic(messages=[*called, result])


def test_arguments_as_they_are_written_are_what_others_stream_anyway() -> None:
    tool = {"name": "f", "input_schema": {"type": "object"}}
    assert to_openai(tools=[{**tool, "eager_input_streaming": True}]) == to_openai(tools=[tool])


def test_citations_are_a_list_from_the_start_also_where_nothing_is_cited() -> None:
    written = BlockEvents().of(TextDelta(text="hi"))
    assert written[0]["content_block"] == {"type": "text", "text": "", "citations": []}


def test_fields_that_say_the_default_are_left_out() -> None:
    plain = to_anthropic()
    same = to_anthropic(
        n=1, logprobs=False, store=False, frequency_penalty=0, tools=[], seed=None, audio=None,
        modalities=["text"], verbosity="medium", logit_bias={}, functions=[], metadata={},
        top_logprobs=0, response_format={"type": "text"}, stream=False, stop=None,
    )  # fmt: skip
    assert same == plain == {**CHAT, "max_tokens": 500}


def test_system_prompts_keep_their_order_wherever_they_stood() -> None:
    sent = to_anthropic(
        messages=[
            {"role": "system", "content": "one"},
            {"role": "user", "content": "hi"},
            {"role": "developer", "content": "two"},
        ]
    )
    assert [block["text"] for block in sent["system"]] == ["one", "two"]
    assert sent["messages"] == [{"role": "user", "content": "hi"}]


def test_a_developer_is_a_system_where_the_server_does_not_know_the_role() -> None:
    request = openai_chat.parse_request(
        {**CHAT, "messages": [{"role": "developer", "content": "a"}]}
    )
    for known, role in ((True, "developer"), (False, "system")):
        out = openai_chat.render_request(
            request, Quirks(developer_role=known), default_max_tokens=1
        )
        assert json.loads(out.body)["messages"] == [{"role": role, "content": "a"}]


@pytest.mark.parametrize(
    ("effort", "max_tokens", "thinking"),
    [
        ("none", 100, {"type": "disabled"}),
        ("low", 9000, {"type": "enabled", "budget_tokens": 2048}),
        ("high", 64000, {"type": "enabled", "budget_tokens": 16384}),
        ("high", 8000, {"type": "enabled", "budget_tokens": 4000}),
    ],
)
def test_effort_becomes_a_budget(effort: str, max_tokens: int, thinking: object) -> None:
    sent = to_anthropic(reasoning_effort=effort, max_completion_tokens=max_tokens)
    assert sent["thinking"] == thinking


def test_effort_that_does_not_fit_is_refused() -> None:
    with pytest.raises(UnexpressibleError):
        to_anthropic(reasoning_effort="high", max_completion_tokens=1000)


@pytest.mark.parametrize(
    ("fields", "effort"),
    [
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "low"),
        ({"thinking": {"type": "enabled", "budget_tokens": 8000}}, "medium"),
        ({"thinking": {"type": "enabled", "budget_tokens": 32000}}, "high"),
        ({"thinking": {"type": "adaptive"}}, None), ({"thinking": {"type": "disabled"}}, None),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}}, "max"),
        ({"output_config": {"effort": "low"}}, "low"),
    ],
)  # fmt: skip
def test_a_budget_becomes_effort(fields: dict[str, Any], effort: str | None) -> None:
    assert to_openai(**fields).get("reasoning_effort") == effort


def test_signed_thinking_comes_back_as_it_was_given() -> None:
    events: list[Event] = [
        Start(id="msg_1", model="m"),
        ThinkingDelta(text="Hm", signature="c2ln"),
        ThinkingDelta(redacted="eA=="),
        TextDelta(text="42"),
        Finish(reason="stop"),
        End(),
    ]
    call = Call(dialect="openai_chat", operation="chat", model="m", body={}, size=1)
    body = openai_chat.render_answer(events, call, model="m", request_id="r")
    message = json.loads(body)["choices"][0]["message"]
    sent = to_anthropic(messages=[{"role": "user", "content": "6 * 7"}, message])
    assert sent["messages"][1]["content"] == [
        {"type": "thinking", "thinking": "Hm", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "eA=="},
        {"type": "text", "text": "42"},
    ]
    with pytest.raises(UnexpressibleError):
        to_anthropic(messages=[{"role": "assistant", "content": "", "reasoning_content": "Hm"}])


def test_unsigned_thinking_goes_back_where_it_came_from() -> None:
    block = {"type": "thinking", "thinking": "Hm", "signature": ""}
    sent = to_openai(messages=[{"role": "assistant", "content": [block]}])
    assert sent["messages"] == [{"role": "assistant", "content": None, "reasoning_content": "Hm"}]


def test_arguments_that_are_no_object_are_the_callers_fault() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "[1"}}
    with pytest.raises(InvalidRequestError) as caught:
        to_anthropic(messages=[{"role": "assistant", "content": None, "tool_calls": [call]}])
    assert "arguments" in str(caught.value.param)


def test_arguments_cut_by_a_limit_are_read_as_far_as_they_go() -> None:
    events: list[Event] = [
        ToolCallStart(index=0, id="a", name="f"),
        ToolCallDelta(index=0, arguments='{"town": "Ro'),
        Finish(reason="length"),
    ]
    call = Call(dialect="anthropic_messages", operation="chat", model="m", body={}, size=1)
    body = anthropic_messages.render_answer(events, call, model="m", request_id="r")
    answer = json.loads(body)
    assert answer["content"][0]["input"] == {}
    assert answer["stop_reason"] == "max_tokens"


def test_a_server_that_numbers_every_call_0_still_makes_two_calls() -> None:
    reader = openai_chat.reader()
    entry = {"index": 0, "type": "function"}
    frames = [
        {"tool_calls": [{**entry, "id": "a", "function": {"name": "f", "arguments": "{}"}}]},
        {"tool_calls": [{**entry, "id": "b", "function": {"name": "g", "arguments": "{}"}}]},
    ]
    events = [
        event
        for delta in frames
        for event in reader.feed(
            b"data: " + json.dumps({"choices": [{"delta": delta}]}).encode() + b"\n\n"
        )
    ]
    assert [event for event in events if isinstance(event, ToolCallStart)] == [
        ToolCallStart(index=0, id="a", name="f"),
        ToolCallStart(index=1, id="b", name="g"),
    ]


def test_cache_marks_reach_who_knows_them() -> None:
    mark = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    body = {
        **MESSAGES,
        "system": [{"type": "text", "text": "long", **mark}],
        "tools": [{"name": "f", "input_schema": {"type": "object"}, **mark}],
        "cache_control": {"type": "ephemeral"},
    }
    request = anthropic_messages.parse_request(body)
    out = anthropic_messages.render_request(request, Quirks(), default_max_tokens=1)
    sent = json.loads(out.body)
    assert sent["system"][0]["cache_control"] == {"type": "ephemeral", "ttl": "1h"}
    assert sent["tools"][0]["cache_control"] == {"type": "ephemeral", "ttl": "1h"}
    assert sent["messages"][0]["content"][0]["cache_control"] == {"type": "ephemeral"}
    assert "cache" not in json.dumps(over(anthropic_messages, body))


def test_a_field_that_a_server_refuses_is_refused_before_it() -> None:
    quirks = Quirks(unsupported=frozenset({"temperature"}))
    with pytest.raises(UnexpressibleError):
        over(anthropic_messages, {**MESSAGES, "temperature": 0.5}, quirks)
    with pytest.raises(UnexpressibleError):
        over(openai_chat, {**CHAT, "temperature": 0.5}, quirks)


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [{"type": "function"}]}, {"tools": [3]}, {"tool_choice": {"type": 3}},
        {"messages": [{"role": 3}]}, {"messages": [{"role": "tool", "content": "x"}]},
        {"messages": [{"role": "user", "content": 3}]}, {"temperature": "hot"}, {"stop": [1]},
        {"messages": [{"role": "user", "content": [{"text": "x"}]}]}, {"logit_bias": []},
        {"response_format": {"type": "json_schema"}}, {"seed": 1.5}, {"logprobs": "yes"},
    ],
)  # fmt: skip
def test_a_body_that_is_not_understood_names_the_place(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        to_anthropic(**fields)
    assert str(caught.value.param).startswith(next(iter(fields)))
