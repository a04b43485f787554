"""What a provider bills and a price has no line for is named by the cost, and never free."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.pricing import LINES, PER, UNITS, bound, cost, is_free, is_known
from llm_gateway.types import Price, Tier, Usage

PLAIN = Price(id=1, input=2 * PER, output=3 * PER)

# How each unit is used, and what is charged for it where only input and output have a price.
USED: dict[str, tuple[dict[str, Any], int]] = {
    "cache_write_token": ({"input": 10, "cache_write": 10}, 20),
    "cache_write_1h_token": ({"input": 10, "cache_write_1h": 10}, 20),
    "audio_input_token": ({"input": 10, "audio_input": 10}, 20),
    "audio_output_token": ({"output": 10, "audio_output": 10}, 30),
    "image_output_token": ({"output": 10, "image_output": 10}, 30),
    "audio_second": ({"input": 10, "audio_seconds": 4}, 20),
    "tool_call": ({"tool_calls": 4}, 0),
    "other_model_token": ({"other_model": 9}, 0),
}


@pytest.mark.parametrize("unit", USED)
def test_a_unit_without_a_line_is_a_line_without_a_price(unit: str) -> None:
    fields, charged = USED[unit]
    answer = cost(Usage(**fields), PLAIN)
    (unknown,) = (line for line in answer.lines if line.price_nano is None)
    assert (unknown.unit, unknown.amount_nano) == (unit, 0)
    assert unknown.units == list(fields.values())[-1]
    assert (answer.unpriced, answer.total_nano) == (True, charged)


@pytest.mark.parametrize("unit", [unit for unit in USED if UNITS[unit][0]])
def test_with_its_line_it_is_priced_and_with_zero_it_is_free(unit: str) -> None:
    fields, _ = USED[unit]
    line = UNITS[unit][0][0]
    for price_nano in (0, 5 * PER):
        lines: dict[str, Any] = {line: price_nano}
        price = Price(id=1, input=2 * PER, output=3 * PER, **lines)
        answer = cost(Usage(**fields), price)
        assert not answer.unpriced
        assert answer.total_nano == sum(one.amount_nano for one in answer.lines)


def test_a_reviewed_price_names_what_costs_more_than_input_and_output() -> None:
    reviewed = Price(id=1, input=2 * PER, output=3 * PER, reviewed=True)
    for unit, (_, other) in UNITS.items():
        assert is_known(reviewed, unit) is (other is not None)


def test_a_request_fee_that_nobody_knows_is_named_once_per_answer() -> None:
    answer = cost(Usage(input=1, tool_calls=2), PLAIN, request_fee=True)
    assert [line.unit for line in answer.lines if line.price_nano is None] == ["request"]
    known = Price(id=1, input=2 * PER, output=3 * PER, request=7)
    assert cost(Usage(input=1, tool_calls=2), known, request_fee=True).total_nano == 9


def test_reasoning_and_images_are_part_of_output_and_input_by_every_provider() -> None:
    used = Usage(input=10, image_input=4, cache_read=3, output=10, reasoning=8)
    assert not cost(used, PLAIN).unpriced


def test_of_a_free_model_every_token_is_free() -> None:
    free = Price(id=1, input=0, output=0)
    fields = {unit: USED[unit][0] for unit in USED if UNITS[unit][1] is not None}
    assert not any(cost(Usage(**used), free).unpriced for used in fields.values())
    assert not is_known(free, "tool_call")


def test_images_are_billed_by_the_piece_where_the_price_says_so() -> None:
    price = Price(id=1, input=0, output=0, image=50)
    assert cost(Usage(images=3), price).total_nano == 150
    assert not is_free(price)
    assert bound(price, input_tokens=0, output_tokens=0, images=3) == 150


@pytest.mark.parametrize("line", LINES)
def test_every_line_may_have_tiers(line: str) -> None:
    lines: dict[str, Any] = dict.fromkeys(LINES, 1000)
    tiers = (Tier(above_input_tokens=10, **{line: 9000 * PER}),)
    price = Price(id=1, tiers=tiers, **lines)
    used = Usage(
        input=70,
        cache_read=10,
        cache_write=10,
        cache_write_1h=10,
        audio_input=10,
        image_input=10,
        output=40,
        reasoning=10,
        audio_output=10,
        image_output=10,
        images=1,
        audio_seconds=1,
        tool_calls=1,
    )
    dearest = {one.unit: one.price_nano for one in cost(used, price).lines}
    assert list(dearest.values()).count(9000 * PER) == 1
    below = cost(Usage(input=10, output=40), price)
    assert {one.price_nano for one in below.lines} == {1000}
    most = bound(price, input_tokens=70, output_tokens=40, images=1, audio_seconds=1, tool_calls=1)
    assert cost(used, price).total_nano <= most


@given(price=st.builds(Price, id=st.just(1), input=st.integers(0, 9), output=st.integers(0, 9)))
def test_what_is_not_free_says_of_each_unit_whether_it_is_known(price: Price) -> None:
    for unit, (own, other) in UNITS.items():
        free = other is not None and getattr(price, other) == 0
        assert is_known(price, unit) is free
        assert all(line in LINES for line in own)
