"""What an attempt may cost at most counts all that is no text, or that the body does not hold."""

from typing import Any

import pytest

from llm_gateway.errors import ModelNotPricedError, UnexpressibleError
from llm_gateway.pricing import ITEM_TOKENS
from llm_gateway.service.bounds import TOKENS_PER_SECOND, Asked, Bound, bill, bound, check_priced
from llm_gateway.types import (
    Call,
    Deployment,
    Facts,
    Outgoing,
    Price,
    ProviderConfig,
    Quirks,
    Usage,
)

PRICE = Price(
    id=1, input=10**6, output=0, audio_input=2 * 10**6, audio_second=7, image=50, tool_call=1000
)
PLAIN = Price(id=1, input=10**6, output=10**6)
FIVE_SECONDS = 5000
WINDOW = 100_000


def asked(
    price: Price | None = PRICE,
    size: int = 0,
    *,
    deployed: dict[str, Any] | None = None,
    fee: bool = False,
    **call: Any,
) -> Asked:
    provider = ProviderConfig(
        id=1, name="p", kind="openai", base_url="", adapters={}, quirks=Quirks(request_fee=fee)
    )
    facts = {"context_window": WINDOW, "image_tokens": 1000} if deployed is None else deployed
    return Asked(
        Call(dialect="d", operation="chat", model="m", body={}, size=size, **call),
        Outgoing(path="", body=b"x" * size),
        price,
        Deployment(id=1, name="m", provider=provider, upstream_name="m", **facts),
    )


def most(one: Asked) -> Bound:
    return bound(one, output=0)


def test_sound_is_bounded_by_its_seconds_in_tokens_and_in_fees() -> None:
    heard = asked(size=FIVE_SECONDS, audio=1, media_bytes=FIVE_SECONDS)
    assert most(heard).amount_nano == 5 * TOKENS_PER_SECOND * 2 + 5 * 7


def test_calls_of_the_providers_own_tools_are_bounded_by_what_the_body_allows() -> None:
    assert most(asked(searches=3)).amount_nano == 3 * 1000


def test_images_are_bounded_by_what_the_catalogue_says_of_one_in_tokens_and_in_fees() -> None:
    seen = most(asked(size=10, items=1, images=2))
    assert seen.input_tokens == 10 + ITEM_TOKENS + 2 * 1000
    assert seen.amount_nano == seen.input_tokens * 2 + 2 * 50  # at the dearest line of media


@pytest.mark.parametrize(
    ("call", "deployed"),
    [
        ({"documents": 1}, None),
        ({"unsized": "container"}, None),
        ({"images": 1}, {"context_window": WINDOW}),
    ],
)
def test_what_the_body_does_not_hold_is_bounded_by_the_window(
    call: dict[str, Any], deployed: dict[str, Any] | None
) -> None:
    assert most(asked(size=10, deployed=deployed, **call)).input_tokens == WINDOW
    read_again = most(asked(size=10, deployed=deployed, rounds=4, **call))
    assert (read_again.input_tokens, read_again.unsized) == (4 * WINDOW, "")


@pytest.mark.parametrize(
    ("call", "param"),
    [
        ({"documents": 1}, "documents"),
        ({"unsized": "container"}, "container"),
        ({"images": 1}, "images"),
    ],
)
def test_a_hard_budget_refuses_by_name_what_nothing_bounds(
    call: dict[str, Any], param: str
) -> None:
    one = asked(deployed={}, **call)
    with pytest.raises(UnexpressibleError, match="no context_window") as refused:
        check_priced(most(one), one.deployment, hard=True)
    assert refused.value.param == param
    check_priced(most(one), one.deployment, hard=False)
    free = asked(Price(id=1, input=0, output=0), deployed={}, **call)
    check_priced(most(free), free.deployment, hard=True)


@pytest.mark.parametrize(
    ("unit", "line"),
    [
        ("tool_call", "tool_call"),
        ("audio_input_token", "audio_input"),
        ("audio_input_token", "audio_second"),
        ("audio_output_token", "audio_output"),
        ("cache_write_1h_token", "cache_write_1h"),
    ],
)
def test_a_hard_budget_refuses_by_name_a_unit_without_a_price(unit: str, line: str) -> None:
    one = asked(PLAIN, units=frozenset({unit}))
    with pytest.raises(ModelNotPricedError, match=f"no price for {unit}") as refused:
        check_priced(most(one), one.deployment, hard=True)
    assert refused.value.detail == {"unit": unit}
    check_priced(most(one), one.deployment, hard=False)
    free: dict[str, Any] = {line: 0}
    priced = asked(Price(id=1, input=10**6, output=10**6, **free), units=frozenset({unit}))
    check_priced(most(priced), priced.deployment, hard=True)


def test_another_models_tokens_have_no_price_at_all() -> None:
    one = asked(PRICE, units=frozenset({"other_model_token"}))
    with pytest.raises(ModelNotPricedError, match="other_model_token"):
        check_priced(most(one), one.deployment, hard=True)


def test_a_provider_that_bills_the_request_bills_searches_by_that() -> None:
    units = frozenset({"tool_call"})
    one = asked(PLAIN, fee=True, units=units)
    with pytest.raises(ModelNotPricedError, match="no price for request"):
        check_priced(most(one), one.deployment, hard=True)
    known = asked(Price(id=1, input=1, output=1, request=5), fee=True, units=units)
    check_priced(most(known), known.deployment, hard=True)
    assert most(known).amount_nano == 5


def test_what_no_usage_tells_of_is_billed_all_the_same() -> None:
    facts = Facts(usage=Usage(input=1), content=True)
    one = asked(images=2, searches=1, unreported_calls=1)
    lines = {line.unit: line.units for line in bill(facts, one).lines}
    assert lines == {"input_token": 1, "image": 2, "tool_call": 1}
    told = Facts(usage=Usage(input=1, tool_calls=3), content=True)
    assert {line.unit: line.units for line in bill(told, one).lines}["tool_call"] == 3
    assert "tool_call" not in {line.unit for line in bill(Facts(usage=Usage(input=1)), one).lines}


def test_a_bill_says_whether_something_of_it_has_no_price() -> None:
    facts = Facts(usage=Usage(input=1, tool_calls=2), content=True)
    assert bill(facts, asked(None)).unpriced
    assert not bill(facts, asked()).unpriced
    part = bill(facts, asked(PLAIN))
    assert (part.unpriced, part.amount_nano) == (True, 1)
    assert [(line.unit, line.units, line.price_nano) for line in part.lines] == [
        ("input_token", 1, 10**6),
        ("tool_call", 2, None),
    ]
