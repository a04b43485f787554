"""A loop of tools works between Gemini and everybody else: what was signed goes back to its author.

The model thinks, signs what it thought, and calls two tools at once. The caller sends all of it
back with both results, as its SDK gave it, and the provider gets its own words again.
"""

from collections.abc import Iterator
from typing import Any

import pytest
from google import genai
from google.genai import types

from tests.contract.clients import Body, Clients, ask, whole
from tests.contract.configured import PLAIN, SHAPES
from tests.contract.conftest import Stage
from tests.contract.test_gemini_sdk import client
from tests.contract.test_tool_loop import (
    CALLS,
    RESULTS,
    SCHEMA,
    THINKING,
    claude_calls,
    gpt_calls,
    sse,
)
from tests.contract.told import told
from tests.upstream.scripts import Script, answer

SIGNATURE, OF_TEXT = "EsQBCsEB+/8=", "c2lnLW9mLXRleHQ="
QUESTION = "Weather and time?"
each_shape = pytest.mark.parametrize("shape", SHAPES)


@pytest.fixture(scope="module")
def google(served: Stage) -> Iterator[genai.Client]:
    with client(served.url) as made:
        yield made


def gemini_calls() -> Script:
    """Return an answer of Gemini 3: the first of several calls is signed, and so is the text."""
    parts: list[Body] = [
        {"text": "Two towns, ", "thought": True},
        {"text": "two tools.", "thought": True},
        {"text": "I will "},
        {"text": "look.", "thoughtSignature": OF_TEXT},
        *({"functionCall": {"id": i, "name": n, "args": a}} for i, n, a in CALLS),
    ]
    parts[4]["thoughtSignature"] = SIGNATURE
    usage = {"promptTokenCount": 30, "candidatesTokenCount": 20, "thoughtsTokenCount": 40}
    chunks = [chunk(part, usage) for part in parts]
    chunks[-1]["candidates"][0]["finishReason"] = "STOP"
    return sse(*chunks, end="")


def chunk(part: Body, usage: Body) -> Body:
    content = {"parts": [part], "role": "model"}
    candidate: Body = {"content": content, "index": 0}
    return {
        "candidates": [candidate],
        "usageMetadata": usage,
        "responseId": "r",
        "modelVersion": "m",
    }


CALLED: list[Body] = [{"functionCall": {"id": i, "name": n, "args": a}} for i, n, a in CALLS]
ANSWERED: list[Body] = [
    {"functionResponse": {"id": i, "name": n, "response": {"output": RESULTS[i]}}}
    for i, n, _ in CALLS
]
THOUGHT: Body = {"text": "Two towns, two tools.", "thought": True}


@each_shape
def test_an_openai_client_and_gemini(stage: Stage, clients: Clients, shape: str) -> None:
    name = PLAIN["gemini"]
    stage.upstream.script(name, gemini_calls(), answer("Warm, and noon."))
    openai, get = clients.openai(stage.url), whole if shape == "streamed" else ask
    function = {"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}
    clock = {"type": "function", "function": {"name": "clock"}}
    question = {"role": "user", "content": QUESTION}
    body: Body = {"model": name, "messages": [question], "tools": [function, clock]}

    first = get(openai, "openai.chat", body)
    said = told("openai", first)
    assert (said["text"], said["calls"], said["stop"]) == ("I will look.", [*CALLS], "tool_calls")
    assert said["thinking"] == "Two towns, two tools."
    message = first.choices[0].message
    body["messages"] += [message] + [
        {"role": "tool", "tool_call_id": call.id, "content": RESULTS[call.id]}
        for call in message.tool_calls
    ]
    assert told("openai", get(openai, "openai.chat", body))["text"] == "Warm, and noon."
    signed = {**CALLED[0], "thoughtSignature": SIGNATURE}
    assert stage.upstream.calls[-1].body["contents"] == [
        {"role": "user", "parts": [{"text": QUESTION}]},
        {
            "role": "model",
            "parts": [
                THOUGHT,
                {"text": "I will look.", "thoughtSignature": OF_TEXT},
                signed,
                CALLED[1],
            ],
        },
        {"role": "user", "parts": ANSWERED},
    ]


@each_shape
def test_an_anthropic_client_and_gemini(stage: Stage, clients: Clients, shape: str) -> None:
    name = PLAIN["gemini"]
    stage.upstream.script(name, gemini_calls(), answer("Warm, and noon."))
    anthropic, get = clients.anthropic(stage.url), whole if shape == "streamed" else ask
    question = {"role": "user", "content": QUESTION}
    tools = [{"name": name, "input_schema": SCHEMA} for _, name, _ in CALLS]
    body: Body = {"model": name, "max_tokens": 500, "messages": [question], "tools": tools}

    first = get(anthropic, "anthropic.messages", body)
    said = told("anthropic", first)
    assert (said["text"], said["calls"], said["stop"]) == ("I will look.", [*CALLS], "tool_use")
    assert said["thinking"] == "Two towns, two tools."
    assert [signature for _, signature in said["signed"]] == [OF_TEXT, SIGNATURE]
    results = [
        {"type": "tool_result", "tool_use_id": block.id, "content": RESULTS[block.id]}
        for block in first.content
        if block.type == "tool_use"
    ]
    body["messages"] += [
        {"role": "assistant", "content": first.content},
        {"role": "user", "content": results},
    ]
    last = get(anthropic, "anthropic.messages", body)
    assert told("anthropic", last)["text"] == "Warm, and noon."
    signed = {**CALLED[0], "thoughtSignature": SIGNATURE}
    assert stage.upstream.calls[-1].body["contents"][1:] == [
        {
            "role": "model",
            "parts": [
                THOUGHT,
                {"text": "I will look."},
                {"text": "", "thoughtSignature": OF_TEXT},
                signed,
                CALLED[1],
            ],
        },
        {"role": "user", "parts": ANSWERED},
    ]


@each_shape
@pytest.mark.parametrize("kind", PLAIN)
def test_a_google_client_and_everybody(
    stage: Stage, google: genai.Client, kind: str, shape: str
) -> None:
    scripts = {"gemini": gemini_calls, "anthropic": claude_calls, "openai": gpt_calls}
    name = PLAIN[kind]
    stage.upstream.script(name, scripts[kind](), answer("Warm, and noon."))
    declared: list[Any] = [
        {"name": "weather", "parameters_json_schema": SCHEMA},
        {"name": "clock", "description": "The time."},
    ]
    config = types.GenerateContentConfig(
        tools=[types.Tool(function_declarations=declared)],
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
    )
    contents: list[Any] = [types.Content(role="user", parts=[types.Part(text=QUESTION)])]
    content = asked(google, name, contents, config, shape)
    parts = content.parts or []
    assert "".join(part.text or "" for part in parts if part.thought) == "Two towns, two tools."
    assert "".join(p.text or "" for p in parts if not p.thought) == "I will look."
    calls = [part.function_call for part in parts if part.function_call]
    assert [(call.id, call.name, call.args) for call in calls] == [*CALLS]
    answers = [
        types.Part(
            function_response=types.FunctionResponse(
                id=call.id, name=call.name, response={"output": RESULTS[str(call.id)]}
            )
        )
        for call in calls
    ]
    contents += [content, types.Content(role="user", parts=answers)]
    last = asked(google, name, contents, config, shape)
    assert "".join(part.text or "" for part in last.parts or ()) == "Warm, and noon."
    assert went_back(kind, stage.upstream.calls[-1].body)


def asked(
    google: genai.Client,
    name: str,
    contents: list[Any],
    config: types.GenerateContentConfig,
    shape: str,
) -> types.Content:
    """Return what the model said, with every part as the SDK gave it."""
    if shape == "whole":
        chunks = [google.models.generate_content(model=name, contents=contents, config=config)]
    else:
        stream = google.models.generate_content_stream(model=name, contents=contents, config=config)
        chunks = list(stream)
    said = [candidate.content for one in chunks for candidate in one.candidates or ()]
    parts = [part for content in said if content for part in content.parts or ()]
    return types.Content(role="model", parts=parts)


def went_back(kind: str, body: Any) -> bool:
    """Say whether the provider got its own words again; Google's SDK spells base64 its own way."""
    if kind == "openai":
        assistant = body["messages"][1]
        assert assistant["reasoning_content"] == "Two towns, two tools."
        return [call["id"] for call in assistant["tool_calls"]] == [i for i, _, _ in CALLS]
    if kind == "anthropic":
        blocks = body["messages"][1]["content"]
        return [block for block in blocks if "thinking" in block["type"]] == THINKING
    parts = body["contents"][1]["parts"]
    standard = str.maketrans("-_", "+/")
    signed = [p["thoughtSignature"].translate(standard) for p in parts if "thoughtSignature" in p]
    return signed == [OF_TEXT, SIGNATURE]


def test_a_call_that_lost_its_signature_says_that_it_has_none(
    stage: Stage, clients: Clients
) -> None:
    name = PLAIN["gemini"]
    call = {"id": "c", "type": "function", "function": {"name": "clock", "arguments": "{}"}}
    ask(
        clients.openai(stage.url),
        "openai.chat",
        {
            "model": name,
            "messages": [
                {"role": "user", "content": QUESTION},
                {"role": "assistant", "content": None, "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "c", "content": "noon"},
            ],
        },
    )
    (part,) = stage.upstream.calls[-1].body["contents"][1]["parts"]
    assert part["thoughtSignature"] == "skip_thought_signature_validator"
