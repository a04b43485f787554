"""What Gemini answers reaches every caller with all it says, and every answer Gemini's callers."""

import json
from typing import Any

import pytest

from tests.contract.clients import Body, Clients, ask, whole
from tests.contract.conftest import Stage
from tests.contract.recordings import (
    API,
    CHATS,
    GEMINI_CHATS,
    PATHS,
    UNREADABLE,
    Recording,
    everything,
    identifier,
    send,
)
from tests.contract.told import told

HI: Body = {"messages": [{"role": "user", "content": "hi"}]}
ASKED: dict[str, Body] = {"openai": HI, "anthropic": {**HI, "max_tokens": 100}}
GEMINI = [row for row in everything(*GEMINI_CHATS) if row.status < 400]
OTHERS = [row for row in everything(*CHATS) if row.status < 400 and not row.id.endswith(UNREADABLE)]
CUT_OFF = {"SAFETY", "PROHIBITED_CONTENT"}
# How each dialect says why an answer ended, by how it is said of a plain one.
STOPS = {
    "openai": {"STOP": "stop", "MAX_TOKENS": "length", **dict.fromkeys(CUT_OFF, "content_filter")},
    "anthropic": {
        "STOP": "end_turn",
        "MAX_TOKENS": "max_tokens",
        **dict.fromkeys(CUT_OFF, "refusal"),
    },
}
CALLS = {"openai": "tool_calls", "anthropic": "tool_use"}
AS_GEMINI = {
    **dict.fromkeys(("stop", "tool_calls", "function_call", "end_turn", "tool_use"), "STOP"),
    **dict.fromkeys(("stop_sequence",), "STOP"),
    **dict.fromkeys(("length", "max_tokens", "model_context_window_exceeded"), "MAX_TOKENS"),
    **dict.fromkeys(("content_filter", "refusal"), "SAFETY"),
    "pause_turn": "OTHER",
}


def chunks_of(answer: Any) -> list[Body]:
    """Return the answer, or each of those that make a stream; lines that are no JSON are none."""
    if isinstance(answer, dict):
        return [answer]
    found = []
    for line in str(answer).splitlines():
        try:
            found.append(json.loads(line.removeprefix("data: ")))
        except ValueError:
            continue
    return found


def said(chunks: list[Body]) -> Body:
    """Return what the first candidate says, without the adapters' help."""
    parts: list[Body] = []
    stop = None
    for chunk in chunks:
        for candidate in chunk.get("candidates", []):
            if candidate.get("index", 0) == 0:
                parts += candidate.get("content", {}).get("parts", [])
                stop = candidate.get("finishReason", stop)
        stop = stop or chunk.get("promptFeedback", {}).get("blockReason")
    usage = [chunk["usageMetadata"] for chunk in chunks if "usageMetadata" in chunk][-1:]
    calls = [part["functionCall"] for part in parts if "functionCall" in part]
    return {
        "text": "".join(part.get("text", "") for part in parts if not part.get("thought")),
        "thinking": "".join(part.get("text", "") for part in parts if part.get("thought")),
        "calls": [(call["name"], call.get("args", {})) for call in calls],
        "ids": [call.get("id") for call in calls],
        # Those of Google's own tools go with their parts, which nobody else has.
        "signatures": [
            part["thoughtSignature"]
            for part in parts
            if "thoughtSignature" in part and part.keys() & {"text", "functionCall"}
        ],
        "stop": stop,
        "usage": _usage(*usage),
    }


def _usage(usage: Body | None = None) -> tuple[int, ...] | None:
    if usage is None or not all(isinstance(one, int | list) for one in usage.values()):
        return None
    given = {name: count for name, count in usage.items() if isinstance(count, int)}
    get = given.get
    return (
        get("promptTokenCount", 0) + get("toolUsePromptTokenCount", 0),
        get("candidatesTokenCount", 0) + get("thoughtsTokenCount", 0),
        get("cachedContentTokenCount", 0),
    )


@pytest.mark.parametrize("kind", ASKED)
@pytest.mark.parametrize("row", GEMINI, ids=identifier)
def test_an_answer_of_gemini_says_the_same_across(
    stage: Stage, clients: Clients, row: Recording, kind: str
) -> None:
    stage.play(row)
    wanted = said(chunks_of(row.response))
    client, body = clients.of(kind, stage.url), {**ASKED[kind], "model": row.id}
    at_once = ask(client, API[kind], body)
    if kind == "openai":
        body["stream_options"] = {"include_usage": True}
    for answer in (at_once, whole(client, API[kind], body)):
        got = told(kind, answer)
        assert got["text"] == wanted["text"]
        assert got["thinking"] == wanted["thinking"]
        assert [(name, arguments) for _, name, arguments in got["calls"]] == wanted["calls"]
        for (given, _, _), id_ in zip(got["calls"], wanted["ids"], strict=True):
            assert given == id_ or id_ is None
        calls = wanted["calls"] and wanted["stop"] == "STOP"
        assert got["stop"] == (CALLS[kind] if calls else STOPS[kind][wanted["stop"]])
        raw = json.dumps(answer.to_dict(mode="json", warnings=False))
        assert all(json.dumps(signature) in raw for signature in wanted["signatures"])
        if wanted["usage"] is not None:
            assert (got["usage"] or ())[:3] == wanted["usage"]


@pytest.mark.parametrize("row", OTHERS, ids=identifier)
def test_every_answer_says_the_same_to_a_caller_of_gemini(
    stage: Stage, clients: Clients, row: Recording
) -> None:
    stage.play(row)
    address, name = stage.provider(row)
    get = whole if row.streamed else ask
    direct = get(clients.of(row.kind, address), row.api, {**row.request, "model": name})
    wanted = told(row.kind, direct)
    contents = {"contents": [{"parts": [{"text": "hi"}]}]}
    for api in GEMINI_CHATS:
        reply = send(stage.url, PATHS[api].format(model=row.id), contents)
        assert reply.status == 200, reply.body
        streamed = api == "gemini.streamGenerateContent"
        body = reply.body.decode()
        got = said(chunks_of(body if streamed else json.loads(body)))
        assert got["text"] == wanted["text"]
        assert got["thinking"] == wanted["thinking"]
        assert list(zip(got["ids"], *zip(*got["calls"], strict=True), strict=True)) == (
            [tuple(call) for call in wanted["calls"]]
        )
        refused = wanted["refused"] and wanted["stop"] == "stop"
        assert got["stop"] == ("SAFETY" if refused else AS_GEMINI[wanted["stop"]])
        if wanted["usage"] is not None:
            assert got["usage"] == wanted["usage"][:3]
