"""A loop of tools works for OpenAI's client of Responses: what it is given goes back whole."""

import json
from typing import Any

import pytest

from tests.contract.clients import Clients
from tests.contract.configured import PLAIN, SHAPES
from tests.contract.conftest import Stage
from tests.contract.test_gemini_tool_loop import OF_TEXT, SIGNATURE, gemini_calls
from tests.contract.test_tool_loop import CALLS, RESULTS, SCHEMA, THINKING, claude_calls
from tests.unit.adapters.speaking import PROVIDERS, ToolUse, Turn
from tests.upstream.scripts import Script, answer, raw

SEALED = "gAAAAB+/8="
CALLED = tuple(ToolUse(*call) for call in CALLS)
TURN = Turn(1, "Two towns, two tools.", SEALED, "", "I will look.", CALLED)


def script(kind: str, shape: str) -> Script:
    """Return what each provider says first; OpenAI's own speaks the dialect of the client."""
    if kind != "openai":
        return gemini_calls() if kind == "gemini" else claude_calls()
    said = PROVIDERS["openai_responses"]
    if shape == "whole":
        return raw(json.dumps(said.whole(TURN)).encode(), content_type="application/json")
    return raw(said.stream(TURN), content_type="text/event-stream")


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", PLAIN)
def test_a_client_of_responses_and_everybody(
    stage: Stage, clients: Clients, kind: str, shape: str
) -> None:
    name = PLAIN[kind]
    stage.upstream.script(name, script(kind, shape), answer("Warm, and noon."))
    client = clients.openai(stage.url)
    tools = [
        {"type": "function", "name": tool, "parameters": SCHEMA, "strict": False}
        for _, tool, _ in CALLS
    ]
    items: list[Any] = [{"role": "user", "content": "Weather and time?"}]
    kept = {"store": False, "include": ["reasoning.encrypted_content"]}

    def asked() -> Any:
        body: dict[str, Any] = {"model": name, "input": items, "tools": tools, **kept}
        if shape == "whole":
            return client.responses.create(**body)
        with client.responses.stream(**body) as stream:
            return stream.get_final_response()

    first = asked()
    assert first.output_text == "I will look."
    calls = [item for item in first.output if item.type == "function_call"]
    assert [(call.call_id, call.name, json.loads(call.arguments)) for call in calls] == [*CALLS]
    thought = [part.text for item in first.output if item.type == "reasoning"
               for part in item.summary]  # fmt: skip
    assert "".join(thought) == "Two towns, two tools."
    items += [item.to_dict(mode="json", exclude_unset=True) for item in first.output]
    items += [
        {"type": "function_call_output", "call_id": call.call_id, "output": RESULTS[call.call_id]}
        for call in calls
    ]
    assert asked().output_text == "Warm, and noon."
    went_back(kind, stage.upstream.calls[-1].body)


def went_back(kind: str, body: Any) -> None:
    """Hold that the provider got its own words again."""
    if kind == "openai":
        thoughts = [item for item in body["input"] if item.get("type") == "reasoning"]
        assert [(one["id"], one["encrypted_content"]) for one in thoughts] == [("rs_1", SEALED)]
    elif kind == "anthropic":
        blocks = body["messages"][1]["content"]
        assert [block for block in blocks if "thinking" in block["type"]] == THINKING
    else:
        parts = body["contents"][1]["parts"]
        signed = [part["thoughtSignature"] for part in parts if "thoughtSignature" in part]
        assert signed == [OF_TEXT, SIGNATURE]
