"""What is kept of a request is bounded, says what was cut, and holds no media and no pieces."""

import json
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from llm_gateway.adapters import CHAT_ADAPTERS, native, openai_chat, openai_completions
from llm_gateway.guardrails.redaction import redact
from llm_gateway.guardrails.secrets import SECRET
from llm_gateway.insight.payloads import Payload, opened
from llm_gateway.models import RequestPayload
from llm_gateway.recorder import Contents
from llm_gateway.recorder.contents import MOST_OF_ANSWER, packed
from llm_gateway.recorder.trimmed import DEEPEST, ROOM, Trimmer
from llm_gateway.types import Event, Finish, Start, TextDelta, Usage, UsageSeen
from tenants.secrets import SecretError

KEY = "sk-proj-4f9Kd82mQ0aZ71xYbC3n"
TENANT = 7
DOORS: dict[str, Any] = {
    **CHAT_ADAPTERS,
    native.name: native,
    openai_completions.name: openai_completions,
}
ASKED: dict[str, Any] = {
    "gemini": {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]},
    "openai_responses": {"model": "m", "input": "hi"},
    "openai_completions": {"model": "m", "prompt": "hi"},
    "anthropic_messages": {
        "model": "m",
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "hi"}],
    },
}
NAMED: dict[str, Any] = {"gemini": {"model": "m", "stream": True}}
CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


def kept(contents: Contents) -> Payload:
    """Return what a row would hold of it, sealed and opened again."""
    request_id = uuid4()
    row = RequestPayload(
        request_id=request_id, tenant_id=TENANT, sealed=packed(contents, TENANT, request_id)
    )
    return opened(row)


def contents(level: Any = "full", asked: Any = b"{}", **fields: Any) -> Contents:
    return Contents(level=level, dialect="openai_chat", asked=asked, **fields)


def streamed(name: str, texts: list[str], level: Any = "redacted") -> Contents:
    """Return a stream in a dialect, as the caller got it, each text in a frame of its own."""
    door = DOORS[name]
    call = door.parse_call(ASKED.get(name, CHAT), size=99, **NAMED.get(name, {}))
    writer = door.writer(call, model="m", request_id="r", created=1)
    events: list[Event] = [
        Start(id="", model="m"),
        *(TextDelta(text=text) for text in texts),
        Finish(reason="stop"),
        UsageSeen(usage=Usage(input=1, output=2)),
    ]
    made = Contents(level=level, dialect=name, asked=call.body, call=call, streamed=True)
    for event in events:
        made.hear(writer.feed(event))
    made.hear(writer.end())
    return made


@pytest.mark.parametrize("name", DOORS)
def test_a_stream_is_kept_as_one_answer_in_which_no_secret_hides(name: str) -> None:
    pieces = [*"the key is ", *KEY, *" and that is all"]
    full = json.dumps(kept(streamed(name, pieces, "full")).answer.body)  # type: ignore[union-attr]
    assert f"the key is {KEY} and that is all" in full
    answer = kept(streamed(name, pieces)).answer
    assert answer is not None
    assert f"the key is {SECRET} and that is all" in json.dumps(answer.body)
    assert KEY not in json.dumps(answer.body)
    assert not answer.cut


def test_a_stream_beyond_its_room_is_cut_and_says_so() -> None:
    made = streamed("openai_chat", ["word " * 200] * (MOST_OF_ANSWER // 1000 + 9), "full")
    answer = kept(made).answer
    assert answer is not None
    assert answer.size == made.answer_bytes > MOST_OF_ANSWER
    assert sum(map(len, made.pieces)) <= MOST_OF_ANSWER
    assert answer.cut
    assert "[cut: " in json.dumps(answer.body)


def test_a_text_is_cut_behind_what_has_to_go() -> None:
    """A secret on the edge is found whole before its text is cut."""
    room = 2000
    for back in range(len(KEY) + 2):
        text = "x" * (room - back) + f" {KEY} " + "y" * ROOM
        trimmer = Trimmer(redact, room)
        told = trimmer.copy(text)
        assert trimmer.cut
        assert "[cut: " in told
        assert len(told) < room + 100
        assert not any(KEY[:length] in told for length in range(8, len(KEY) + 1))


@pytest.mark.parametrize(
    "value",
    [
        ["x" * 1000] * 10_000,
        {str(n): "x" * 1000 for n in range(10_000)},
        [[n] for n in range(1_000_000)],
        {"key" * 10_000 + str(n): 1 for n in range(100)},
        "é" * ROOM,
    ],
    ids=["texts", "fields", "lists", "names", "letters"],
)
def test_what_is_kept_of_a_body_is_bounded(value: Any) -> None:
    trimmer = Trimmer()
    told = msgspec.json.encode(trimmer.copy(value))
    assert trimmer.cut
    assert b"[cut: " in told
    assert len(told) < 2 * ROOM


def test_a_body_nested_without_end_is_cut() -> None:
    value: Any = "deep"
    for _ in range(DEEPEST * 10):
        value = [value]
    trimmer = Trimmer()
    assert "nested deeper" in json.dumps(trimmer.copy(value))
    assert trimmer.cut


def test_media_is_kept_as_type_and_size() -> None:
    data = "QUJD" * 1000
    body = {
        "openai": {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}},
        "sound": {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}},
        "anthropic": {"type": "base64", "media_type": "image/jpeg", "data": data},
        "gemini": {"inlineData": {"mimeType": "image/webp", "data": data}},
        "made": {"b64_json": data},
        "text": f"look: ![](data:image/gif;base64,{data}) there",
    }
    told = json.dumps(Trimmer().copy(body))
    assert "QUJDQUJD" not in told
    for kind in ("image/png", "wav", "image/jpeg", "image/webp", "base64", "image/gif"):
        assert f"[{kind}, 3000 bytes]" in told
    assert "look: ![](" in told


def test_names_numbers_and_what_spells_the_text_are_cleaned_too() -> None:
    spelled = [{"token": "s"}, {"token": "k"}]
    asked = {"n": 5, "p": 0.4539148803436467, "top_logprobs": 3, "stream": False, "user": None}
    body = {KEY: 1, "card": 4111111111111111, "logprobs": spelled, **asked}
    told = kept(contents("redacted", body)).request.body
    assert told == {SECRET: 1, "card": "[card]", "logprobs": "[left out]", **asked}
    assert kept(contents("full", body)).request.body == body


def test_what_is_no_json_is_kept_as_text() -> None:
    told = kept(contents("redacted", f'{{"broken": {KEY} '.encode()))
    assert told.request.body == f'{{"broken": {SECRET} '
    assert told.answer is None


def test_what_is_kept_opens_in_its_own_place_alone() -> None:
    request_id = uuid4()
    row = RequestPayload(
        request_id=request_id,
        tenant_id=TENANT,
        sealed=packed(contents(asked={"a": KEY}), TENANT, request_id),
    )
    assert KEY.encode() not in row.sealed
    assert opened(row).request.body == {"a": KEY}
    for place in ({"tenant_id": TENANT + 1}, {"request_id": uuid4()}):
        moved = RequestPayload(
            **{"request_id": request_id, "tenant_id": TENANT, "sealed": row.sealed, **place}
        )
        with pytest.raises(SecretError):
            opened(moved)


def test_contents_are_not_told_by_their_name() -> None:
    made = contents(asked={"a": KEY}, call=openai_chat.parse_call(CHAT, size=5))
    made.hear(KEY.encode())
    assert repr(made) == f"Contents(full, 5 and {len(KEY)} bytes)"
