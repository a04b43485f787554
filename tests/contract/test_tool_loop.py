"""A loop of tools works across dialects as the SDKs' users write it: what was said goes back whole.

The model thinks, signs what it thought, and calls two tools at once. The caller sends all of it
back with both results, as the SDK gave it, and the provider gets its own words again.
"""

import json
from typing import Any

import pytest

from tests.contract.clients import Body, Clients, ask, whole
from tests.contract.configured import PLAIN, SHAPES
from tests.contract.conftest import Stage
from tests.contract.told import told
from tests.upstream.scripts import Script, answer, raw

CALLS: tuple[tuple[str, str, Body], ...] = (
    ("call_1", "weather", {"town": "Röm \n", "days": [1, 2]}),
    ("call_2", "clock", {}),
)
RESULTS = {"call_1": "24 degrees", "call_2": "noon"}
SCHEMA = {"type": "object", "properties": {"town": {"type": "string"}}}
THINKING: list[Body] = [
    {"type": "thinking", "thinking": "Two towns, two tools.", "signature": "c2lnbmVk+/=="},
    {"type": "redacted_thinking", "data": "aGlkZGVu+/=="},
]


def sse(*events: Body, end: str = "data: [DONE]\n\n") -> Script:
    """Return a script that streams these events; those with a type are named by it."""
    lines = []
    for event in events:
        name = f"event: {event['type']}\n" if "type" in event else ""
        lines.append(f"{name}data: {json.dumps(event)}\n\n")
    last = "" if "type" in events[0] else end
    return raw("".join([*lines, last]).encode(), content_type="text/event-stream")


def claude_calls() -> Script:
    blocks: list[tuple[Body, list[Body]]] = [
        (
            {"type": "thinking", "thinking": "", "signature": ""},
            [
                {"type": "thinking_delta", "thinking": "Two towns, "},
                {"type": "thinking_delta", "thinking": "two tools."},
                {"type": "signature_delta", "signature": THINKING[0]["signature"]},
            ],
        ),
        (THINKING[1], []),
        ({"type": "text", "text": ""}, [{"type": "text_delta", "text": "I will look."}]),
    ]
    for id_, name, arguments in CALLS:
        start = {"type": "tool_use", "id": id_, "name": name, "input": {}}
        text = json.dumps(arguments) if arguments else ""
        halves = [text[:7], text[7:]]
        deltas = [{"type": "input_json_delta", "partial_json": half} for half in halves]
        blocks.append((start, deltas))
    events: list[Body] = [{"type": "message_start", "message": _claude_message()}]
    for index, (start, deltas) in enumerate(blocks):
        events.append({"type": "content_block_start", "index": index, "content_block": start})
        events += [
            {"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas
        ]
        events.append({"type": "content_block_stop", "index": index})
    stop = {"stop_reason": "tool_use", "stop_sequence": None}
    last: Body = {"type": "message_delta", "delta": stop, "usage": {"output_tokens": 60}}
    return sse(*events, last, {"type": "message_stop"})


def _claude_message() -> Body:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 30, "output_tokens": 1},
    }


def gpt_calls() -> Script:
    deltas: list[Body] = [
        {"role": "assistant", "content": None, "reasoning_content": "Two towns, "},
        {"reasoning_content": "two tools."},
        {"content": "I will "},
        {"content": "look."},
    ]
    for index, (id_, name, arguments) in enumerate(CALLS):
        text = json.dumps(arguments)
        begun = {"name": name, "arguments": ""}
        deltas.append(
            {"tool_calls": [{"index": index, "id": id_, "type": "function", "function": begun}]}
        )
        deltas += [
            {"tool_calls": [{"index": index, "function": {"arguments": half}}]}
            for half in (text[:5], text[5:])
        ]
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    choices: list[Body] = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
    choices.append({"index": 0, "delta": {}, "finish_reason": "tool_calls"})
    usage = {"prompt_tokens": 30, "completion_tokens": 60, "total_tokens": 90}
    return sse(
        *({**head, "choices": [choice]} for choice in choices),
        {**head, "choices": [], "usage": usage},
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_an_openai_client_and_claude(stage: Stage, clients: Clients, shape: str) -> None:
    name = PLAIN["anthropic"]
    stage.upstream.script(name, claude_calls(), answer("Warm, and noon."))
    client, get = clients.openai(stage.url), whole if shape == "streamed" else ask
    function = {"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}
    clock = {"type": "function", "function": {"name": "clock"}}
    question = {"role": "user", "content": "Weather and time?"}
    body: Body = {"model": name, "messages": [question], "tools": [function, clock]}

    first = get(client, "openai.chat", body)
    said = told("openai", first)
    assert (said["text"], said["calls"], said["stop"]) == ("I will look.", [*CALLS], "tool_calls")
    assert said["thinking"] == "Two towns, two tools."
    message = first.choices[0].message
    body["messages"] += [message] + [
        {"role": "tool", "tool_call_id": call.id, "content": RESULTS[call.id]}
        for call in message.tool_calls
    ]
    assert told("openai", get(client, "openai.chat", body))["text"] == "Warm, and noon."

    sent = stage.upstream.calls[-1].body
    assert sent["messages"] == [
        question,
        {
            "role": "assistant",
            "content": [
                *THINKING,
                {"type": "text", "text": "I will look."},
                *({"type": "tool_use", "id": i, "name": n, "input": a} for i, n, a in CALLS),
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": id_, "content": text}
                for id_, text in RESULTS.items()
            ],
        },
    ]


@pytest.mark.parametrize("shape", SHAPES)
def test_an_anthropic_client_and_gpt(stage: Stage, clients: Clients, shape: str) -> None:
    name = PLAIN["openai"]
    stage.upstream.script(name, gpt_calls(), answer("Warm, and noon."))
    client, get = clients.anthropic(stage.url), whole if shape == "streamed" else ask
    question = {"role": "user", "content": "Weather and time?"}
    tools = [{"name": name, "input_schema": SCHEMA} for _, name, _ in CALLS]
    body: Body = {"model": name, "max_tokens": 500, "messages": [question], "tools": tools}

    first = get(client, "anthropic.messages", body)
    said = told("anthropic", first)
    assert (said["text"], said["calls"], said["stop"]) == ("I will look.", [*CALLS], "tool_use")
    assert said["thinking"] == "Two towns, two tools."
    results = [
        {"type": "tool_result", "tool_use_id": block.id, "content": RESULTS[block.id]}
        for block in first.content
        if block.type == "tool_use"
    ]
    body["messages"] += [
        {"role": "assistant", "content": first.content},
        {"role": "user", "content": results},
    ]
    assert told("anthropic", get(client, "anthropic.messages", body))["text"] == "Warm, and noon."

    asked, assistant, *answers = stage.upstream.calls[-1].body["messages"]
    assert asked == question
    calls = [_arguments_read(call) for call in assistant.pop("tool_calls")]
    assert assistant == {
        "role": "assistant",
        "content": "I will look.",
        "reasoning_content": "Two towns, two tools.",
    }
    assert calls == [
        {"id": id_, "type": "function", "function": {"name": tool, "arguments": arguments}}
        for id_, tool, arguments in CALLS
    ]
    assert answers == [
        {"role": "tool", "tool_call_id": id_, "content": text} for id_, text in RESULTS.items()
    ]


def _arguments_read(call: Any) -> Any:
    function = call["function"]
    return {**call, "function": {**function, "arguments": json.loads(function["arguments"])}}
