"""Keep a conversation with tools as users of each SDK do: what it gives goes back as it is."""

import json
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import openai.types.chat
import openai.types.responses
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import Message, RawMessageStreamEvent
from google.genai.types import GenerateContentResponse
from openai import omit
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from llm_gateway.adapters.sse import Framer, frame_data
from tests.unit.adapters.speaking import ToolUse, Wire

QUESTION = "Weather and time?"
SCHEMA = {"type": "object", "properties": {"town": {"type": "string"}}}
TOOLS = ("weather", "clock")


class Client(NamedTuple):
    """How a client of one dialect asks, reads an answer and answers calls.

    `first` is its first body; `read` puts an answer, streamed or whole, together with the SDK;
    `said` are the entries of the history that it becomes, `results` those of its tools.
    """

    first: Callable[[], Wire]
    history: str
    read: Callable[[bytes, bool], Wire]
    said: Callable[[Wire], list[Wire]]
    calls: Callable[[Wire], list[ToolUse]]
    results: Callable[[list[tuple[ToolUse, str]]], list[Wire]]


def datas(stream: bytes) -> list[bytes]:
    return [frame_data(frame) for frame in Framer().feed(stream)]


@cache
def adapter_of(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


# --- OpenAI's chat


def chat_first() -> Wire:
    functions: list[Wire] = [{"name": name, "parameters": SCHEMA} for name in TOOLS]
    return {
        "model": "m",
        "messages": [{"role": "user", "content": QUESTION}],
        "tools": [{"type": "function", "function": one} for one in functions],
        "reasoning_effort": "low",
    }


def chat_read(body: bytes, streamed: bool) -> Wire:
    if not streamed:
        answer: Any = openai.types.chat.ChatCompletion.model_validate_json(body)
    else:
        *chunks, done = datas(body)
        assert done == b"[DONE]"
        state = ChatCompletionStreamState()
        for data in chunks:
            state.handle_chunk(openai.types.chat.ChatCompletionChunk.model_validate_json(data))
        answer = state.current_completion_snapshot
    said: Wire = answer.choices[0].message.to_dict(mode="json", warnings=False)
    for call in said.get("tool_calls") or ():
        call.pop("index", None)  # what the SDK's helper adds
        call["function"].pop("parsed_arguments", None)
    return {name: value for name, value in said.items() if value is not None or name == "content"}


def chat_calls(said: Wire) -> list[ToolUse]:
    return [
        ToolUse(call["id"], call["function"]["name"], json.loads(call["function"]["arguments"]))
        for call in said["tool_calls"]
    ]


def chat_results(given: list[tuple[ToolUse, str]]) -> list[Wire]:
    return [{"role": "tool", "tool_call_id": call.id, "content": text} for call, text in given]


# --- OpenAI's Responses


def responses_first() -> Wire:
    return {
        "model": "m",
        "input": [{"role": "user", "content": QUESTION}],
        "tools": [
            {"type": "function", "name": name, "parameters": SCHEMA, "strict": False}
            for name in TOOLS
        ],
        "reasoning": {"effort": "low", "summary": "auto"},
        "include": ["reasoning.encrypted_content"],
        "store": False,
    }


def responses_read(body: bytes, streamed: bool) -> Wire:
    if not streamed:
        answer: Any = openai.types.responses.Response.model_validate_json(body)
    else:
        state: Any = ResponseStreamState(input_tools=omit, text_format=omit)
        last: Any = None
        for data in datas(body):
            *_, last = state.handle_event(adapter_of(ResponseStreamEvent).validate_json(data))
        answer = last.response
    found: Wire = answer.to_dict(mode="json", warnings=False)
    for item in found["output"]:
        for part in (item, *(item.get("content") or ())):
            part.pop("parsed", None)  # what the SDK's helper adds, and takes away again
            part.pop("parsed_arguments", None)
    return found


def responses_calls(said: Wire) -> list[ToolUse]:
    return [
        ToolUse(item["call_id"], item["name"], json.loads(item["arguments"]))
        for item in said["output"]
        if item["type"] == "function_call"
    ]


def responses_results(given: list[tuple[ToolUse, str]]) -> list[Wire]:
    return [
        {"type": "function_call_output", "call_id": call.id, "output": text} for call, text in given
    ]


# --- Anthropic


def messages_first() -> Wire:
    return {
        "model": "m",
        "max_tokens": 8000,
        "messages": [{"role": "user", "content": QUESTION}],
        "tools": [{"name": name, "input_schema": SCHEMA} for name in TOOLS],
        "thinking": {"type": "enabled", "budget_tokens": 2048},
    }


def messages_read(body: bytes, streamed: bool) -> Wire:
    if not streamed:
        found: Wire = Message.model_validate_json(body).to_dict(mode="json")
        return found
    snapshot, buffers = None, dict[int, bytes]()
    for data in datas(body):
        event = adapter_of(RawMessageStreamEvent).validate_json(data)
        snapshot = accumulate_event(event=event, current_snapshot=snapshot, json_bufs=buffers)
    assert snapshot is not None
    whole: Wire = snapshot.to_dict(mode="json")
    return whole


def messages_said(said: Wire) -> list[Wire]:
    return [{"role": "assistant", "content": said["content"]}]


def messages_calls(said: Wire) -> list[ToolUse]:
    return [
        ToolUse(block["id"], block["name"], block["input"])
        for block in said["content"]
        if block["type"] == "tool_use"
    ]


def messages_results(given: list[tuple[ToolUse, str]]) -> list[Wire]:
    content = [
        {"type": "tool_result", "tool_use_id": call.id, "content": text} for call, text in given
    ]
    return [{"role": "user", "content": content}]


# --- Gemini


def gemini_first() -> Wire:
    declared = [{"name": name, "parametersJsonSchema": SCHEMA} for name in TOOLS]
    thinking = {"thinkingBudget": 2048, "includeThoughts": True}
    return {
        "contents": [{"role": "user", "parts": [{"text": QUESTION}]}],
        "tools": [{"functionDeclarations": declared}],
        "generationConfig": {"thinkingConfig": thinking, "maxOutputTokens": 8000},
    }


def gemini_read(body: bytes, streamed: bool) -> Wire:
    """Return the content that the SDK's own chats put into their history: all parts, in order."""
    answers = [
        GenerateContentResponse.model_validate_json(data)
        for data in (datas(body) if streamed else [body])
    ]
    contents = [one.content for answer in answers for one in answer.candidates or ()]
    parts = [part for content in contents if content for part in content.parts or ()]
    dumped = [part.model_dump(mode="json", by_alias=True, exclude_none=True) for part in parts]
    return {"role": "model", "parts": dumped}


def gemini_calls(said: Wire) -> list[ToolUse]:
    calls = [part["functionCall"] for part in said["parts"] if "functionCall" in part]
    return [ToolUse(call.get("id", ""), call["name"], call["args"]) for call in calls]


def gemini_results(given: list[tuple[ToolUse, str]]) -> list[Wire]:
    responses: list[Wire] = [
        {"id": call.id, "name": call.name, "response": {"output": text}} for call, text in given
    ]
    return [{"role": "user", "parts": [{"functionResponse": one} for one in responses]}]


CLIENTS = {
    "openai_chat": Client(
        chat_first, "messages", chat_read, lambda said: [said], chat_calls, chat_results
    ),
    "openai_responses": Client(
        responses_first,
        "input",
        responses_read,
        lambda said: list(said["output"]),
        responses_calls,
        responses_results,
    ),
    "anthropic_messages": Client(
        messages_first, "messages", messages_read, messages_said, messages_calls, messages_results
    ),
    "gemini": Client(
        gemini_first, "contents", gemini_read, lambda said: [said], gemini_calls, gemini_results
    ),
}
