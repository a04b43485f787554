"""Prices become money exactly, and a bound is never below what it bounds."""

from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from llm_gateway.pricing import (
    ITEM_TOKENS,
    PER,
    UnpricedError,
    as_told,
    bound,
    cost,
    input_bound,
    is_free,
    price_at,
    price_for,
)
from llm_gateway.types import (
    Deployment,
    Margin,
    Price,
    ProviderConfig,
    Terms,
    Tier,
    Usage,
)

COUNTS = st.integers(0, 2**53)
LINES = st.integers(0, 10**13)
LINE_NAMES = ("input", "output", "cache_read", "cache_write", "cache_write_1h", "reasoning")

MORE_LINES = (
    *("audio_input", "audio_output", "image_input", "image_output"),
    *("image", "audio_second", "tool_call"),
)
PIECES = ("request", "image", "audio_second", "tool_call", "margin")


@st.composite
def usages(draw: st.DrawFn, most: st.SearchStrategy[int] = COUNTS) -> Usage:
    read, write, write_1h, fresh = (draw(most) for _ in range(4))
    output = draw(most)
    reasoning = draw(st.integers(0, output))
    spoken = draw(st.integers(0, output - reasoning))
    heard = draw(st.integers(0, fresh))
    return Usage(
        input=read + write + write_1h + fresh,
        output=output,
        cache_read=read,
        cache_write=write,
        cache_write_1h=write_1h,
        reasoning=reasoning,
        audio_input=heard,
        image_input=draw(st.integers(0, fresh - heard)),
        audio_output=spoken,
        image_output=draw(st.integers(0, output - reasoning - spoken)),
        audio_seconds=draw(st.integers(0, 10**6)),
        images=draw(st.integers(0, 100)),
        tool_calls=draw(st.integers(0, 1000)),
        other_model=draw(st.integers(0, 100)),
    )


@st.composite
def prices(draw: st.DrawFn) -> Price:
    optional = st.none() | LINES
    lines: dict[str, Any] = dict.fromkeys((*LINE_NAMES, *MORE_LINES, "request"), optional)
    tiers = st.builds(Tier, above_input_tokens=st.integers(0, 1000), **lines)
    others: dict[str, Any] = {name: draw(optional) for name in (*LINE_NAMES[2:], *MORE_LINES)}
    return Price(
        margin_ppm=draw(st.sampled_from((0, 0, 125_000, 333_333, -100_000))),
        id=1,
        input=draw(LINES),
        output=draw(LINES),
        request=draw(optional),
        tiers=tuple(draw(st.lists(tiers, max_size=3))),
        **others,
    )


def priced(**lines: Any) -> Price:
    return Price(id=1, **lines)


def test_a_plain_answer_costs_input_and_output() -> None:
    price = priced(input=2_500_000_000, output=10_000_000_000)
    answer = cost(Usage(input=1000, output=100), price)
    assert answer.total_nano == 2_500_000 + 1_000_000
    assert [(line.unit, line.units, line.amount_nano) for line in answer.lines] == [
        ("input_token", 1000, 2_500_000),
        ("output_token", 100, 1_000_000),
    ]


def test_cached_tokens_are_taken_out_of_the_fresh_input() -> None:
    price = priced(input=10 * PER, output=0, cache_read=1 * PER, cache_write=12 * PER)
    used = Usage(input=100, cache_read=60, cache_write=30)
    assert cost(used, price).total_nano == 10 * 10 + 60 * 1 + 30 * 12


def test_cache_lines_without_a_price_cost_what_fresh_input_costs() -> None:
    used = Usage(input=100, cache_read=60, cache_write=30, cache_write_1h=10)
    assert cost(used, priced(input=10 * PER, output=0)).total_nano == 1000


def test_a_one_hour_write_without_a_price_costs_the_dearer_of_short_write_and_input() -> None:
    used = Usage(input=10, cache_write_1h=10)
    assert cost(used, priced(input=10 * PER, cache_write=12 * PER)).total_nano == 120
    assert cost(used, priced(input=10 * PER, cache_write=0)).total_nano == 100


def test_reasoning_is_billed_once() -> None:
    used = Usage(output=100, reasoning=40)
    assert cost(used, priced(output=2 * PER)).total_nano == 200
    assert cost(used, priced(output=2 * PER, reasoning=3 * PER)).total_nano == 60 * 2 + 40 * 3


def test_a_tier_holds_for_the_whole_request_only_above_its_bound() -> None:
    tier = Tier(above_input_tokens=100, input=2 * PER)
    price = priced(input=PER, output=5 * PER, tiers=(tier,))
    assert cost(Usage(input=100, output=1), price).total_nano == 105
    assert cost(Usage(input=101, cache_read=101, output=1), price).total_nano == 207


def test_the_highest_tier_reached_wins_in_any_order() -> None:
    low, high = (Tier(above_input_tokens=n, input=n * PER) for n in (10, 20))
    for tiers in ((low, high), (high, low)):
        price = priced(input=PER, output=0, tiers=tiers)
        assert cost(Usage(input=15), price).total_nano == 150
        assert cost(Usage(input=25), price).total_nano == 500


def test_a_request_fee_is_a_line_of_its_own() -> None:
    answer = cost(Usage(), priced(input=0, output=0, request=7))
    assert [(line.unit, line.units, line.per) for line in answer.lines] == [("request", 1, 1)]
    assert answer.total_nano == 7


@pytest.mark.parametrize(
    ("used", "unit"),
    [
        (Usage(input=1), "input_token"),
        (Usage(output=1), "output_token"),
        (Usage(input=1, cache_read=1), "cache_read_token"),
        (Usage(output=1, reasoning=1), "output_token"),
    ],
)
def test_usage_without_a_price_is_named_and_never_free(used: Usage, unit: str) -> None:
    with pytest.raises(UnpricedError, match=unit):
        cost(used, priced())


def test_a_bound_without_a_price_is_named() -> None:
    with pytest.raises(UnpricedError, match="output_token"):
        bound(priced(input=1), input_tokens=1, output_tokens=1)
    assert bound(priced(input=PER), input_tokens=3, output_tokens=0) == 3


@pytest.mark.parametrize(
    ("units", "amount"), [(1, 0), (2, 1), (3, 2), (5, 2), (7, 4), (499_999, 250_000)]
)
def test_lines_round_half_to_even(units: int, amount: int) -> None:
    assert cost(Usage(input=units), priced(input=PER // 2)).total_nano == amount


def test_a_bound_of_whole_prices_is_exact() -> None:
    price = priced(input=2_500_000_000, output=10_000_000_000, cache_read=1_250_000_000)
    assert bound(price, input_tokens=100, output_tokens=50) == 100 * 2500 + 50 * 10_000


def test_a_bound_takes_only_tiers_that_can_be_reached() -> None:
    tier = Tier(above_input_tokens=100, input=9 * PER)
    price = priced(input=PER, output=0, tiers=(tier,))
    assert bound(price, input_tokens=100, output_tokens=0) == 100
    assert bound(price, input_tokens=101, output_tokens=0) == 909


@given(used=usages(), price=prices())
def test_the_total_is_the_sum_of_exactly_rounded_lines(used: Usage, price: Price) -> None:
    answer = cost(used, price)
    assert answer.total_nano == sum(line.amount_nano for line in answer.lines)
    for line in answer.lines:
        exact = Decimal(line.units * (line.price_nano or 0)) / line.per
        assert line.amount_nano == int(exact.quantize(Decimal(1), ROUND_HALF_EVEN))


@given(used=usages(), price=prices())
def test_every_token_is_billed_exactly_once(used: Usage, price: Price) -> None:
    billed = (line for line in cost(used, price).lines if line.price_nano is not None)
    tokens = sum(line.units for line in billed if line.unit not in PIECES)
    assert tokens == used.input + used.output


@given(
    used=usages(st.integers(0, 2000)),
    price=prices(),
    more_in=st.integers(0, 500),
    more_out=st.integers(0, 500),
)
def test_a_bound_is_never_below_the_cost(
    used: Usage, price: Price, more_in: int, more_out: int
) -> None:
    most = bound(
        price,
        input_tokens=used.input + more_in,
        output_tokens=used.output + more_out,
        images=max(1, used.images),
        audio_seconds=used.audio_seconds,
        tool_calls=used.tool_calls,
    )
    assert cost(used, price).total_nano <= most


@given(price=prices(), tokens=st.integers(0, 3000), more=st.integers(0, 3000))
def test_a_bound_grows_with_what_it_bounds(price: Price, tokens: int, more: int) -> None:
    least = bound(price, input_tokens=tokens, output_tokens=tokens)
    assert least <= bound(price, input_tokens=tokens + more, output_tokens=tokens)
    assert least <= bound(price, input_tokens=tokens, output_tokens=tokens + more)


@given(price=prices(), used=usages(), more=st.integers(0, 10**6))
def test_more_output_never_costs_less(price: Price, used: Usage, more: int) -> None:
    longer = replace(used, output=used.output + more)
    assert cost(used, price).total_nano <= cost(longer, price).total_nano


@given(used=usages(), price=prices())
def test_what_is_free_costs_nothing(used: Usage, price: Price) -> None:
    if is_free(price):
        assert cost(used, price).total_nano == 0


@pytest.mark.parametrize(
    ("price", "free"),
    [
        (priced(input=0, output=0), True),
        (priced(input=0, output=0, request=0, cache_write=0), True),
        (priced(), False),
        (priced(input=0), False),
        (priced(input=0, output=0, request=1), False),
        (priced(input=0, output=0, reasoning=1), False),
        (priced(input=0, output=0, tiers=(Tier(above_input_tokens=5, output=1),)), False),
    ],
)
def test_only_explicit_zeros_are_free(price: Price, free: bool) -> None:
    assert is_free(price) is free


def test_the_version_in_force_is_the_latest_begun() -> None:
    old = Price(id=1, valid_from=date(2024, 1, 1))
    new = Price(id=2, valid_from=date(2025, 1, 1))
    assert price_at((new, old), date(2024, 12, 31)) == old
    assert price_at((new, old), date(2025, 1, 1)) == new
    assert price_at((new, old), date(2023, 12, 31)) is None
    assert price_at((), date(2025, 1, 1)) is None


def test_an_input_bound_allows_for_what_the_provider_adds() -> None:
    assert input_bound(100, items=2) == 100 + 2 * ITEM_TOKENS
    seen = input_bound(100, items=2, images=3, image_tokens=7)
    assert seen == 100 + 2 * ITEM_TOKENS + 3 * 7
    one = input_bound(100, items=2, tools=1, images=3, image_tokens=7)
    assert one > seen
    assert input_bound(100, items=2, tools=3, images=3, image_tokens=7) == seen + 3 * (one - seen)


def test_audio_images_seconds_and_tool_calls_have_lines_of_their_own() -> None:
    price = priced(input=PER, output=2 * PER, audio_input=10 * PER, audio_second=7, tool_call=1000)
    used = Usage(
        input=100, output=10, audio_input=40, audio_output=5, audio_seconds=3, tool_calls=2
    )
    answer = cost(used, price)
    lines = {line.unit: line.amount_nano for line in answer.lines if line.price_nano is not None}
    assert [line.unit for line in answer.lines if line.price_nano is None] == ["audio_output_token"]
    assert lines == {
        "input_token": 60,
        "audio_input_token": 400,
        "output_token": 20,
        "audio_second": 21,
        "tool_call": 2000,
    }


def test_text_is_not_held_at_the_price_of_sound() -> None:
    price = priced(input=PER, output=0, audio_input=10 * PER)
    assert bound(price, input_tokens=100, output_tokens=0) == 100
    assert bound(price, input_tokens=100, output_tokens=0, images=1) == 1000


def test_a_margin_is_a_line_of_its_own() -> None:
    price = priced(input=1000 * PER, output=0, margin_ppm=125_000)
    answer = cost(Usage(input=3), price)
    assert [line.amount_nano for line in answer.lines] == [3000, 375]
    assert answer.total_nano == 3375
    version = cost(Usage(input=3), replace(price, margin_id=7)).lines[-1]
    assert (version.unit, version.version) == ("margin", 7)


OLD, NEW = date(2025, 1, 1), date(2026, 1, 1)


def deployed(**owner: Any) -> Deployment:
    provider = ProviderConfig(id=1, name="p", kind="openai", base_url="", adapters={}, **owner)
    listed = Price(id=1, input=100, output=100, valid_from=OLD)
    return Deployment(id=1, name="m", provider=provider, upstream_name="m", prices=(listed,))


def test_a_tenant_pays_its_own_price_from_its_day_on_and_until_it_is_taken_away() -> None:
    own = Price(id=2, input=5, valid_from=NEW)
    gone = Price(id=3, valid_from=date(2026, 6, 1))
    terms = Terms(prices={"m": (own, gone)})
    asked = (date(2025, 12, 31), NEW, date(2026, 6, 1))
    prices = [price_for(deployed(), terms, day) for day in asked]
    assert [price.id for price in prices if price] == [1, 2, 1]


def test_a_cost_that_was_told_is_one_line_and_its_margin() -> None:
    assert as_told(3000, None).lines == as_told(3000, priced(input=PER, output=0)).lines
    answer = as_told(3000, priced(input=PER, output=0, margin_ppm=125_000))
    assert [(line.unit, line.amount_nano) for line in answer.lines] == [
        ("told", 3000),
        ("margin", 375),
    ]
    assert (answer.total_nano, answer.unpriced) == (3375, False)


def test_a_margin_comes_on_the_list_price_alone() -> None:
    terms = Terms(
        prices={"own": (Price(id=2, input=5, valid_from=OLD),)},
        margins=(Margin(id=1, ppm=10, valid_from=OLD), Margin(id=2, ppm=20, valid_from=NEW)),
    )
    price = price_for(deployed(), terms, NEW)
    assert price is not None
    assert (price.id, price.margin_ppm, price.margin_id) == (1, 20, 2)
    own = price_for(replace(deployed(), name="own"), terms, NEW)
    assert own is not None
    assert (own.id, own.margin_ppm) == (2, 0)
    brought = price_for(deployed(tenant_id=7), terms, NEW)
    assert brought is not None
    assert brought.margin_ppm == 0
