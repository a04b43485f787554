"""The native dialect: what it reads, refuses and writes."""

import json
from typing import Any

import pytest

from llm_gateway.adapters import native
from llm_gateway.adapters.base import EventWriter
from llm_gateway.errors import BudgetError, GatewayError, InvalidRequestError, RateLimitError
from llm_gateway.types import (
    Call,
    End,
    Event,
    Finish,
    RefusalDelta,
    Start,
    TextDelta,
    TextPart,
    ThinkingDelta,
    Usage,
    UsageSeen,
)

BODY = {"model": "alpha", "prompt": "hi"}
EVENTS: tuple[Event, ...] = (
    Start(id="x", model="upstream"),
    ThinkingDelta(text="hm"),
    TextDelta(text="Hel"),
    TextDelta(text="lo"),
    Finish(reason="stop"),
    UsageSeen(usage=Usage(input=7, output=2, cache_read=3, reasoning=1)),
    End(),
)
USAGE = {
    "prompt_tokens": 7,
    "completion_tokens": 2,
    "total_tokens": 9,
    "cached_tokens": 3,
    "reasoning_tokens": 1,
}


def call(**fields: Any) -> Call:
    return native.parse_call({**BODY, **fields}, size=50)


def frames(writer: EventWriter, events: tuple[Event, ...] = EVENTS) -> list[Any]:
    said = b"".join(writer.feed(event) for event in events) + writer.end()
    *data, done, empty = said.decode().split("\n\n")
    assert (done, empty) == ("data: [DONE]", "")
    return [json.loads(frame.removeprefix("data: ")) for frame in data]


def test_a_prompt_is_one_message_of_a_user() -> None:
    parsed = call(max_tokens=5, temperature=0.5, top_p=None, user="ann")
    assert (parsed.dialect, parsed.operation, parsed.model) == ("native", "chat", "alpha")
    assert (parsed.max_output_tokens, parsed.end_user, parsed.size) == (5, "ann", 50)
    request = native.parse_request(parsed.body)
    (message,) = request.messages
    assert (message.role, message.parts[0]) == ("user", TextPart(text="hi"))
    assert (request.temperature, request.top_p, request.extras) == (0.5, None, {})


@pytest.mark.parametrize("field", ["tools", "n", "api_key", "Model"])
def test_what_it_has_no_word_for_is_refused_by_name(field: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        call(**{field: 1})
    assert refused.value.param == field


@pytest.mark.parametrize("prompt", ["", 7, ["hi"]])
def test_a_prompt_is_a_text(prompt: object) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        call(prompt=prompt)
    assert refused.value.param == "prompt"


def test_messages_and_a_prompt_exclude_each_other() -> None:
    with pytest.raises(InvalidRequestError) as refused:
        call(messages=[{"role": "user", "content": "hi"}])
    assert refused.value.param == "prompt"
    with pytest.raises(InvalidRequestError) as missing:
        native.parse_call({"model": "alpha"}, size=20)
    assert missing.value.param == "messages"


def test_whole_and_streamed_answers_agree() -> None:
    whole = json.loads(native.render_answer(EVENTS, call(), model="alpha", request_id="r"))
    assert whole == {
        "content": "Hello",
        "object": None,
        "model": "alpha",
        "usage": USAGE,
        "finish_reason": "stop",
        "request_id": "r",
    }
    *pieces, last = frames(native.writer(call(), model="alpha", request_id="r"))
    assert [piece["content"] for piece in pieces] == ["Hel", "lo"]
    assert all(piece["finish_reason"] is None for piece in pieces)
    assert last == {"content": "", "model": "alpha", "finish_reason": "stop", "usage": USAGE}


def test_a_refusal_is_what_the_model_said() -> None:
    events = (RefusalDelta(text="No."), Finish(reason="refusal"))
    whole = json.loads(native.render_answer(events, call(), model="alpha", request_id="r"))
    assert (whole["content"], whole["finish_reason"]) == ("No.", "refusal")


@pytest.mark.parametrize(
    ("error", "further"),
    [
        (BudgetError("Used up.", detail={"budget": "monthly"}), {"budget": "monthly"}),
        (InvalidRequestError("No.", param="stop"), {"param": "stop"}),
        (RateLimitError("Slow.", detail={"status": 7, "limit": "tokens"}), {"limit": "tokens"}),
        (GatewayError("Oh."), {}),
    ],
)
def test_an_error_is_a_problem_with_its_details(
    error: GatewayError, further: dict[str, str]
) -> None:
    problem = native.render_error(error, request_id="r")
    assert problem == {
        "type": f"urn:mobius:problem:{error.code}",
        "title": problem["title"],
        "status": error.status,
        "detail": error.message,
        "code": error.code,
        "request_id": "r",
        **further,
    }
    framed = native.render_stream_error(error, request_id="r")
    assert json.loads(framed.removeprefix(b"data: ")) == {"error": problem}
