"""Whatever the gateway sends is what the provider publishes that it takes.

A recorded request may go beyond the document it is held to: the provider took it. What is made of
it may do so in the same fields and in no other.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from llm_gateway.adapters import (
    ADAPTERS,
    CHAT_ADAPTERS,
    EMBEDDINGS_ADAPTERS,
    anthropic_messages,
    gemini,
    native,
    openai_chat,
    openai_completions,
)
from llm_gateway.errors import InvalidRequestError, UnexpressibleError
from llm_gateway.providers.catalog import CATALOG
from llm_gateway.providers.row import Speech, address_of, speech_at
from llm_gateway.types import Quirks
from tests.unit.adapters import published, recordings
from tests.unit.adapters.golden import Bound
from tests.unit.adapters.published import SCHEMAS, Asked, beyond, violations

ALL = list(published.asked())
CHATS = [one for one in ALL if one.dialect in CHAT_ADAPTERS and one.operation == "chat"]
COUNTED = [one for one in ALL if one.dialect in {"anthropic_messages", "gemini"}]
EMBEDDINGS = [one for one in ALL if one.dialect in EMBEDDINGS_ADAPTERS]
LEAST = 5  # golden requests that reach each dialect from each other one, whole
COUNTING = {"anthropic_messages": anthropic_messages, "gemini": gemini}
HI = {"role": "user", "content": "hi"}
NATIVE: list[dict[str, Any]] = [
    {"prompt": "hi"},
    {"messages": [HI], "max_tokens": 19, "temperature": 0.5},
    {"prompt": "hi", "top_p": 0.5},
]


class Bounded(Bound):
    max_output_tokens = 77


def over(chosen: list[Asked]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("asked", chosen, ids=lambda asked: asked.id)


def decoded(body: bytes) -> Any:
    return msgspec.json.decode(body)


def test_the_recordings_are_here() -> None:
    if not any(one.recorded for one in ALL):
        recordings.absent()


def test_golden_requests_reach_every_dialect_from_every_other() -> None:
    reached = Counter(
        (one.dialect, name)
        for one in CHATS
        if not one.recorded
        for name in CHAT_ADAPTERS
        if name != one.dialect and crossed(one, name)[0] is not None
    )
    assert {pair: count for pair, count in reached.items() if count >= LEAST}.keys() == set(
        published.PAIRS
    ), reached


def crossed(asked: Asked, name: str, quirks: Quirks | None = None) -> tuple[Any, list[str]]:
    """Return what a provider is sent of a request, read again, and what it was refused."""
    out, refused = published.across(
        CHAT_ADAPTERS[asked.dialect], CHAT_ADAPTERS[name], asked.body, quirks or Quirks()
    )
    body = None if out is None else decoded(out.body)
    return (body and published.without_accent(body, quirks or Quirks())), refused


@pytest.mark.usefixtures("published_schemas")
@pytest.mark.parametrize("changes", [Bound, Bounded], ids=["unbounded", "bounded"])
@over([one for one in ALL if (one.dialect, one.operation) in SCHEMAS])
def test_a_request_of_the_same_dialect_breaks_no_more_than_it_did(
    asked: Asked, changes: type[Bound]
) -> None:
    adapter: Any = ADAPTERS[asked.dialect]
    call = adapter.parse_call(asked.body, size=1, **asked.said)
    out = adapter.render_relay(call, changes(), Quirks())
    assert beyond(asked.own, violations(asked.dialect, asked.operation, decoded(out.body))) == []


@pytest.mark.usefixtures("published_schemas")
@over(CHATS)
def test_a_request_that_crossed_is_one_that_its_target_takes(asked: Asked) -> None:
    for name in CHAT_ADAPTERS:
        body, _refused = crossed(asked, name)
        if name != asked.dialect and body is not None:
            assert beyond(asked.shown, violations(name, "chat", body)) == [], name


# --- every row of the catalogue


def speeches() -> Iterator[tuple[str, Speech]]:
    """Yield what every kind of provider speaks, at each of its addresses."""
    for kind, row in CATALOG.items():
        address = address_of(row, "", {"region": "eu-central-1"}) or "https://llm.example/v1"
        for at in (address, *row.elsewhere):
            yield f"{kind} {at}", speech_at(row, at, {})


SPOKEN = [
    (f"{name} {operation}", speech.adapters[operation], speech.quirks)
    for name, speech in speeches()
    for operation in ("chat", "responses")
    if speech.adapters.get(operation) in CHAT_ADAPTERS
]


@pytest.mark.usefixtures("published_schemas")
@pytest.mark.parametrize(("name", "adapter", "quirks"), SPOKEN, ids=[one[0] for one in SPOKEN])
def test_a_request_in_a_providers_accent_breaks_its_protocol_by_its_quirks_alone(
    name: str, adapter: str, quirks: Quirks
) -> None:
    rendered = 0
    for one in CHATS:
        body, _refused = crossed(one, adapter, quirks)
        if body is None:
            continue
        rendered += 1
        assert beyond(one.shown, violations(adapter, "chat", body)) == [], (name, one.id)
    assert rendered > len(CHATS) // 2


# --- other operations


@pytest.mark.usefixtures("published_schemas")
@over(COUNTED)
def test_a_question_for_tokens_is_one_that_its_target_takes(asked: Asked) -> None:
    """Every chat may be counted, by either dialect that has a question for it."""
    for name, adapter in COUNTING.items():
        try:
            request = COUNTING[asked.dialect].parse_request(asked.body)
            out = adapter.render_count(replace(request, model="m"), Quirks())
        except InvalidRequestError:
            continue
        body = decoded(out.body)
        assert beyond(asked.shown, violations(name, "count_tokens", body)) == [], name


@pytest.mark.usefixtures("published_schemas")
@over(EMBEDDINGS)
def test_a_request_for_vectors_is_one_that_its_target_takes(asked: Asked) -> None:
    request = EMBEDDINGS_ADAPTERS[asked.dialect].parse_request(asked.body)
    for name, adapter in EMBEDDINGS_ADAPTERS.items():
        try:
            out = adapter.render_request(replace(request, model="m", extras={}), Quirks())
        except UnexpressibleError:
            continue
        assert beyond(asked.shown, violations(name, "embeddings", decoded(out.body))) == [], name


@pytest.mark.usefixtures("published_schemas")
@over([one for one in ALL if one.dialect == openai_completions.name])
def test_a_completion_that_becomes_a_chat_is_one_that_its_target_takes(asked: Asked) -> None:
    request: Any = openai_completions
    try:
        out = published.sent(request, openai_chat, request.parse_request(asked.body), Quirks())
    except UnexpressibleError:
        return
    assert violations("openai_chat", "chat", decoded(out.body)) == []


@pytest.mark.usefixtures("published_schemas")
@pytest.mark.parametrize("body", NATIVE)
def test_a_native_request_is_one_that_every_target_takes(body: dict[str, Any]) -> None:
    caller: Any = native
    call = native.parse_call({"model": "m", **body}, size=1)
    for name, upstream in CHAT_ADAPTERS.items():
        out = published.sent(caller, upstream, native.parse_request(call.body), Quirks())
        assert violations(name, "chat", decoded(out.body)) == [], name


# --- the controls


@pytest.mark.usefixtures("published_schemas")
@pytest.mark.parametrize(
    ("adapter", "body", "broken"),
    [
        ("openai_chat", {"model": "m", "messages": [{"role": "user"}]}, "messages"),
        (
            "openai_chat",
            {"model": "m", "messages": [HI], "max_output_tokens": 3},
            "max_output_tokens",
        ),
        ("anthropic_messages", {"model": "m", "messages": []}, "max_tokens"),
        ("gemini", {"contents": [{"role": "user", "parts": {"text": "hi"}}]}, "parts"),
        ("openai_responses", {"model": "m", "input": [{"type": "function_call"}]}, "input"),
    ],
)
def test_a_body_that_breaks_a_schema_is_seen(
    adapter: str, body: dict[str, Any], broken: str
) -> None:
    found = violations(adapter, "chat", body)
    assert found
    assert broken in {one.field for one in found}
