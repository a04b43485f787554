"""A batch of messages is one call, bounded by all of its requests, and priced by its results."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from llm_gateway.adapters import anthropic_batches, batched
from llm_gateway.errors import InvalidAnswerError, InvalidRequestError
from llm_gateway.price_book.batch_cost import merged
from llm_gateway.pricing import Line, cost
from llm_gateway.service.batches import LONGEST_PAUSE_S, LOOK_EVERY_S, is_due
from llm_gateway.service.keeper import Owing, Owner
from llm_gateway.types import Price, Usage
from tenants.ids import new_id

TEXT = {"role": "user", "content": "hi"}
IMAGE = {
    "role": "user",
    "content": [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}}
    ],
}
SEARCH = {"type": "web_search_20250305", "name": "web_search", "max_uses": 2}


def batch(*params: dict[str, Any]) -> dict[str, Any]:
    return {
        "requests": [
            {
                "custom_id": str(n),
                "params": {"model": "m", "max_tokens": 10, "messages": [TEXT], **p},
            }
            for n, p in enumerate(params)
        ]
    }


def test_all_requests_together_are_one_call() -> None:
    body = batch({}, {"messages": [TEXT, IMAGE], "max_tokens": 5}, {"tools": [SEARCH]})
    call = anthropic_batches.parse_call(body, size=900)
    assert (call.operation, call.model, call.requests) == ("batches", "m", 3)
    assert (call.max_output_tokens, call.size, call.items, call.images) == (25, 900, 5, 1)
    assert call.needs == {"chat", "batches", "vision", "tools"}
    assert (call.searches, set(call.units)) == (2, {"tool_call"})
    assert call.unsized == "tools"
    assert call.rounds > 3  # the window is filled as often as all requests may fill it


def line(name: str, usage: dict[str, int] | None) -> bytes:
    told: dict[str, Any] = {"type": "succeeded" if usage else "errored"}
    if usage:
        told["message"] = {"model": "up", "usage": usage}
    return json.dumps({"custom_id": name, "result": told}).encode() + b"\n"


RESULTS = (
    line("a", {"input_tokens": 3, "output_tokens": 4, "cache_read_input_tokens": 5})
    + line("b", None)
    + line("c", {"input_tokens": 1, "output_tokens": 1})
)


def test_results_tell_what_their_requests_used() -> None:
    used = list(anthropic_batches.used(b"", RESULTS))
    assert used == [Usage(input=8, output=4, cache_read=5), Usage(input=1, output=1)]
    assert batched.all_used(used) == Usage(input=9, output=5, cache_read=5)
    assert list(anthropic_batches.used(b"", b"")) == []


@pytest.mark.parametrize(
    "results", [b"no json\n", b'{"result": {"message": {}}}\n', b'{"result": {"message": 3}}\n']
)
def test_results_that_tell_no_usage_are_never_free(results: bytes) -> None:
    with pytest.raises(InvalidAnswerError):
        list(anthropic_batches.used(b"", results))


def test_results_are_shown_under_the_public_name() -> None:
    shown = anthropic_batches.content(RESULTS, model="public").splitlines()
    told = [json.loads(one)["result"].get("message", {}).get("model") for one in shown]
    assert told == ["public", None, "public"]


def test_nothing_shown_leads_past_the_gateway() -> None:
    body = {"id": "msgbatch_1", "processing_status": "ended", "results_url": "https://up.example/"}
    shown = json.loads(anthropic_batches.shown(json.dumps(body).encode(), model="m"))
    assert shown == {**body, "results_url": "/v1/messages/batches/msgbatch_1/results"}


@pytest.mark.parametrize("body", [b"[]", b'{"id": 3}', b'{"id": "../x"}', b'{"id": ""}', b"no"])
def test_an_answer_that_is_no_batch_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidAnswerError):
        anthropic_batches.relay_answer(body, model="m")


def test_a_steering_field_of_one_request_is_refused_by_name() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        anthropic_batches.parse_call(batch({}, {"metadata": {"api_base": "x"}}), size=1)
    assert caught.value.param == "requests[1].params.metadata.api_base"


PRICE = Price(
    id=1, valid_from=datetime.now(UTC).date(), input=1_000_000, output=3_000_000, request=7
)


def test_lines_of_many_answers_are_one_each_and_sum_to_the_same() -> None:
    costs = [cost(Usage(input=n, output=2 * n), PRICE) for n in (1, 2, 3)]
    bill = merged(costs)
    assert bill.total_nano == sum(one.total_nano for one in costs)
    assert [(one.unit, one.units, one.amount_nano) for one in bill.lines] == [
        ("input_token", 6, 6),
        ("output_token", 12, 36),
        ("request", 3, 21),
    ]
    assert all(isinstance(one, Line) for one in bill.lines)
    assert merged([]).total_nano == 0


@pytest.mark.parametrize(
    ("age_s", "pause_s"), [(0, LOOK_EVERY_S), (600, 60), (86_400, LONGEST_PAUSE_S)]
)
def test_a_batch_is_looked_at_again_after_a_tenth_of_its_age(age_s: float, pause_s: float) -> None:
    begun = new_id()
    seen_at = datetime.fromtimestamp((begun.int >> 80) / 1000, UTC) + timedelta(seconds=age_s)
    owner = Owner(parent_id="b", provider_id=1, key_id=None, owed_by=begun)
    owing = Owing(tenant_id=1, object_id="b", owner=owner, seen_at=seen_at)
    assert not is_due(owing, seen_at + timedelta(seconds=pause_s - 0.1))
    assert is_due(owing, seen_at + timedelta(seconds=pause_s))
