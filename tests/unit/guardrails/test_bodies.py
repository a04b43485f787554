"""Every text of a request is looked at, wherever it stands; ids and media are no text."""

from typing import Any

import pytest

from llm_gateway.errors import ContentBlockedError
from llm_gateway.guardrails.bodies import guarded
from llm_gateway.guardrails.guard import guard_of
from tenants.types import GuardrailRule

KEY = "sk-proj-4f9Kd82mQ0aZ71xYbC3n"
CARD = "4111 1111 1111 1111"
REDACTING = (
    GuardrailRule(name="secrets", kind="secrets", action="redact"),
    GuardrailRule(name="pii", kind="pii", action="redact"),
)


def cleaned(body: dict[str, Any]) -> dict[str, Any]:
    return guarded(body, guard_of(REDACTING).lookers("request"))


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        ({"system": f"use {KEY}"}, {"system": "use [secret]"}),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": CARD}]}]},
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "[card]"}]}]},
        ),
        ({"input": ["a", f"b {CARD}"]}, {"input": ["a", "b [card]"]}),
        ({"arguments": '{"card":4111111111111111}'}, {"arguments": '{"card":"[card]"}'}),
        ({"arguments": f"no JSON {CARD}"}, {"arguments": "no JSON [card]"}),
        ({"input": {"password": "hunter2!"}}, {"input": {"password": "[secret]"}}),
        ({"input": {"card": 4111111111111111}}, {"input": {"card": "[card]"}}),
        ({"metadata": {"who": "a@b.example"}}, {"metadata": {"who": "[email]"}}),
    ],
)
def test_what_has_to_go_goes(body: dict[str, Any], wanted: dict[str, Any]) -> None:
    before = repr(body)
    assert cleaned(body) == wanted
    assert repr(body) == before


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [{"role": "user", "content": "hello"}], "temperature": 0.25, "seed": 1},
        {"tool_call_id": "030-1234567", "signature": KEY, "encrypted_content": KEY},
        {"url": "data:image/png;base64," + "+1234567890/" * 40},
        {"source": {"data": "+1234567890/" * 40}},
        {"created": 1763773000},
    ],
)
def test_what_is_no_text_stays_the_same_object(body: dict[str, Any]) -> None:
    assert cleaned(body) is body


def test_a_block_names_the_guardrail_and_nothing_else() -> None:
    rules = (GuardrailRule(name="no-cards", kind="pii", action="block", entities=("card",)),)
    there = guard_of(rules).lookers("request")
    assert guarded({"a": "me@x.example"}, there) == {"a": "me@x.example"}
    with pytest.raises(ContentBlockedError) as refused:
        guarded({"a": [{"b": f"so: {CARD}"}]}, there)
    assert "'no-cards'" in refused.value.message
    assert "4111" not in repr(refused.value.__dict__)
