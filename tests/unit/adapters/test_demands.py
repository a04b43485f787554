"""A body shows what it may cost beside its text: tools of the provider, media, files elsewhere."""

import json
from typing import Any

import pytest

from llm_gateway.adapters import anthropic_messages, gemini, openai_chat, openai_responses
from llm_gateway.adapters.anthropic_messages.wire import read_usage
from llm_gateway.adapters.openai_chat.wire import read_usage as read_chat_usage
from llm_gateway.adapters.server_tools import CALLS, MOST_ROUNDS
from llm_gateway.types import Call

ONE_HOUR = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
PDF = {"type": "base64", "media_type": "application/pdf", "data": "JVBE"}


def message(*content: Any, **fields: Any) -> Call:
    body = {"model": "m", "max_tokens": 8, "messages": [{"role": "user", "content": list(content)}]}
    return anthropic_messages.parse_call({**body, **fields}, size=1)


def chat(*content: Any, **fields: Any) -> Call:
    body = {"model": "m", "messages": [{"role": "user", "content": list(content)}]}
    return openai_chat.parse_call({**body, **fields}, size=1)


def test_plain_text_shows_nothing() -> None:
    tools = [{"name": "f", "input_schema": {}}, {"type": "bash_20250124", "name": "bash"}]
    for call in (message({"type": "text", "text": "hi"}, tools=tools), chat("hi")):
        assert (call.units, call.unsized, call.rounds, call.documents) == (frozenset(), "", 1, 0)
        assert (call.searches, call.unreported_calls) == (0, 0)


@pytest.mark.parametrize(
    ("tool", "calls", "rounds", "units"),
    [
        ({"type": "web_search_20250305", "max_uses": 3}, 3, 4, {"tool_call"}),
        ({"type": "web_search_20250305"}, CALLS, MOST_ROUNDS, {"tool_call"}),
        ({"type": "code_execution_20260120"}, CALLS, MOST_ROUNDS, {"tool_call"}),
        ({"type": "web_fetch_20250910", "max_uses": 2}, 0, 3, set()),
        ({"type": "tool_search_tool_bm25_20251119"}, 0, MOST_ROUNDS, set()),
        ({"type": "advisor_20260301", "model": "o"}, 0, MOST_ROUNDS, {"other_model_token"}),
        ({"type": "nobody_knows_20300101"}, CALLS, MOST_ROUNDS, {"tool_call"}),
    ],
)
def test_tools_of_the_provider_bring_calls_and_more_input(
    tool: dict[str, Any], calls: int, rounds: int, units: set[str]
) -> None:
    call = message("hi", tools=[tool])
    assert (call.searches, call.rounds, set(call.units)) == (calls, rounds, units)
    assert call.unsized == "tools"


@pytest.mark.parametrize(
    ("fields", "unsized", "rounds"),
    [
        ({"container": "container_1"}, "container", 1),
        ({"mcp_servers": [{"type": "url", "url": "https://m"}]}, "mcp_servers", MOST_ROUNDS),
        ({"container": None}, "", 1),
    ],
)
def test_what_stands_elsewhere_is_named(fields: dict[str, Any], unsized: str, rounds: int) -> None:
    call = message("hi", **fields)
    assert (call.unsized, call.rounds) == (unsized, rounds)


@pytest.mark.parametrize(
    ("block", "images", "documents"),
    [
        ({"type": "image", "source": {"type": "url", "url": "https://i"}}, 1, 0),
        ({"type": "image", "source": {"type": "file", "file_id": "f"}}, 1, 0),
        ({"type": "document", "source": {"type": "file", "file_id": "f"}}, 0, 1),
        ({"type": "document", "source": {"type": "url", "url": "https://d"}}, 0, 1),
        ({"type": "document", "source": PDF}, 0, 1),
        ({"type": "document", "source": {"type": "text", "data": "words"}}, 0, 0),
        (
            {
                "type": "document",
                "source": {
                    "type": "content",
                    "content": [{"type": "image", "source": {"type": "url", "url": "https://i"}}],
                },
            },
            1,
            0,
        ),
        (
            {
                "type": "web_fetch_tool_result",
                "tool_use_id": "t",
                "content": {
                    "type": "web_fetch_result",
                    "content": {"type": "document", "source": PDF},
                },
            },
            0,
            1,
        ),
    ],
)
def test_media_is_counted_wherever_it_stands(
    block: dict[str, Any], images: int, documents: int
) -> None:
    call = message(block)
    assert (call.images, call.documents) == (images, documents)


def test_a_file_for_the_container_is_input_from_elsewhere() -> None:
    assert message({"type": "container_upload", "file_id": "f"}).unsized == "container_upload"


@pytest.mark.parametrize(
    "fields",
    [
        ONE_HOUR,
        {"system": [{"type": "text", "text": "s", **ONE_HOUR}]},
        {"tools": [{"name": "f", "input_schema": {}, **ONE_HOUR}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "t", **ONE_HOUR}]}]},
    ],
)
def test_a_cache_for_an_hour_is_seen_wherever_it_is_asked_for(fields: dict[str, Any]) -> None:
    assert message("hi", **fields).units == {"cache_write_1h_token"}
    short = {"cache_control": {"type": "ephemeral", "ttl": "5m"}}
    assert message({"type": "text", "text": "t", **short}).units == frozenset()


@pytest.mark.parametrize(
    ("part", "images", "documents", "units"),
    [
        ({"type": "file", "file": {"file_id": "f"}}, 0, 1, set()),
        ({"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBE"}}, 0, 1, set()),
        ({"type": "image_url", "image_url": {"url": "https://i"}}, 1, 0, set()),
        (
            {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
            0,
            0,
            {"audio_input_token"},
        ),
    ],
)
def test_parts_of_a_chat_show_what_they_are(
    part: dict[str, Any], images: int, documents: int, units: set[str]
) -> None:
    call = chat(part)
    assert (call.images, call.documents, set(call.units)) == (images, documents, units)


def test_a_chat_shows_searches_spoken_answers_and_earlier_ones() -> None:
    searching = chat("hi", web_search_options={})
    assert (searching.searches, searching.unreported_calls) == (1, 1)
    assert (set(searching.units), searching.unsized) == ({"tool_call"}, "web_search_options")
    assert chat("hi", modalities=["text", "audio"]).units == {"audio_output_token"}
    earlier = [{"role": "user", "content": "hi"}, {"role": "assistant", "audio": {"id": "a"}}]
    assert chat("hi", messages=earlier).unsized == "messages[1].audio"


def test_rounds_of_another_model_and_those_that_shorten_are_not_lost() -> None:
    tokens = {"input_tokens": 100, "output_tokens": 10}
    usage = read_usage(
        {
            **tokens,
            "iterations": [
                {"type": "message", **tokens},
                {"type": "advisor_message", "model": "o", **tokens},
                {"type": "compaction", **tokens, "cache_read_input_tokens": 5},
            ],
        }
    )
    assert (usage.input, usage.output, usage.cache_read) == (205, 20, 5)
    assert usage.other_model == 110


def test_searches_are_counted_under_every_name_that_servers_have_for_them() -> None:
    tokens = {"prompt_tokens": 1, "completion_tokens": 1}
    for told in (
        {"num_search_queries": 2},
        {"num_sources_used": 2},
        {"server_tool_use": {"web_search_requests": 2}},
    ):
        assert read_chat_usage({**tokens, **told}).tool_calls == 2


# --- other dialects ------------------------------------------------------------------------------


def generate(*parts: Any, **fields: Any) -> Call:
    body = {"contents": [{"role": "user", "parts": list(parts)}]}
    return gemini.parse_call({**body, **fields}, size=1, model="m")


def response(*parts: Any, **fields: Any) -> Call:
    body = {"model": "m", "input": [{"role": "user", "content": list(parts)}]}
    return openai_responses.parse_call({**body, **fields}, size=1)


@pytest.mark.parametrize(
    ("mime", "images", "documents", "audio", "unsized"),
    [
        ("image/png", 1, 0, 0, ""),
        ("application/pdf", 0, 1, 0, "fileData"),
        ("audio/mp3", 0, 0, 1, "fileData"),
        ("video/mp4", 0, 0, 0, "fileData"),
    ],
)
def test_files_of_gemini_by_address_are_input_from_elsewhere(
    mime: str, images: int, documents: int, audio: int, unsized: str
) -> None:
    call = generate({"fileData": {"mimeType": mime, "fileUri": "https://f"}})
    assert (call.images, call.documents, call.audio) == (images, documents, audio)
    assert call.unsized == unsized
    inline = generate({"inlineData": {"mimeType": mime, "data": "AAAA"}})
    assert (inline.images, inline.documents, inline.unsized) == (images, documents, "")


def test_gemini_shows_searches_what_tools_read_and_what_it_is_to_answer_with() -> None:
    call = generate({"text": "hi"}, tools=[{"googleSearch": {}}])
    assert (set(call.units), call.unsized, call.rounds) == ({"tool_call"}, "", 1)
    for tool in ("urlContext", "fileSearch", "codeExecution"):
        reading = generate({"text": "hi"}, tools=[{tool: {}}])
        assert (reading.units, reading.unsized, reading.rounds) == (frozenset(), "tools", 2)
    assert generate({"text": "hi"}, cachedContent="cachedContents/1").unsized == "cachedContent"
    spoken = generate({"text": "hi"}, generationConfig={"responseModalities": ["AUDIO", "IMAGE"]})
    assert spoken.units == {"audio_output_token", "image_output_token"}
    heard = generate({"inlineData": {"mimeType": "audio/wav", "data": "AAAA"}})
    assert heard.units == {"audio_input_token"}


@pytest.mark.parametrize(
    ("fields", "unsized"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": {"id": "conv_1"}}, "conversation"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input"),
        ({}, ""),
    ],
)
def test_what_a_provider_has_kept_is_input_from_elsewhere(
    fields: dict[str, Any], unsized: str
) -> None:
    assert response({"type": "input_text", "text": "hi"}, **fields).unsized == unsized


def test_a_response_shows_files_and_tools_within_its_own_most() -> None:
    files = [{"type": "input_file", "file_id": "f"}, {"type": "input_image", "file_id": "f"}]
    call = response(*files)
    assert (call.images, call.documents) == (1, 1)
    tools = [{"type": "web_search"}, {"type": "file_search"}, {"type": "function", "name": "f"}]
    most = response(tools=tools, max_tool_calls=3)
    assert (most.searches, most.rounds, set(most.units)) == (3, 4, {"tool_call"})
    assert response(tools=tools).searches == CALLS
    drawing = response(tools=[{"type": "image_generation"}])
    assert drawing.units == {"other_model_token"}


def test_code_that_a_provider_ran_is_counted_though_no_usage_tells_of_it() -> None:
    ran = {"type": "server_tool_use", "id": "s", "name": "bash_code_execution", "input": {}}
    searched = ran | {"name": "web_search"}
    body = {
        "id": "m",
        "model": "m",
        "content": [ran, searched, ran, {"type": "text", "text": "hi"}],
        "usage": {
            "input_tokens": 1,
            "output_tokens": 1,
            "server_tool_use": {"web_search_requests": 1},
        },
    }
    _, facts = anthropic_messages.relay_answer(json.dumps(body).encode(), model="m")
    assert facts.usage is not None
    assert facts.usage.tool_calls == 3
