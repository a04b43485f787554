"""Versions are only added, and afterwards what is wanted holds on every day."""

from datetime import date, timedelta
from itertools import count

from hypothesis import given
from hypothesis import strategies as st

from llm_gateway import models
from llm_gateway.configuration import schema
from llm_gateway.configuration.prices import in_force, missing_versions, shortest
from llm_gateway.configuration.rows import price_values

START = date(2026, 1, 1)
DAYS = [START + timedelta(days=offset) for offset in range(6)]

prices = st.builds(
    schema.Price,
    valid_from=st.sampled_from(DAYS[1:]),
    input=st.none() | st.integers(0, 2),
    output=st.none() | st.integers(0, 2),
)
timelines = st.lists(prices, max_size=4, unique_by=lambda price: price.valid_from)


def rows(*versions: schema.Price) -> list[models.Price]:
    ids = count(1)
    return [models.Price(pk=next(ids), **price_values(version)) for version in versions]


def lines(timeline: list[schema.Price], day: date) -> tuple[int | None, int | None]:
    begun = [price for price in timeline if price.valid_from <= day]
    if not begun:
        return None, None
    latest = max(begun, key=lambda price: price.valid_from)
    return latest.input, latest.output


@given(held=st.lists(prices, max_size=5), wanted=timelines)
def test_afterwards_what_is_wanted_holds_on_every_day(
    held: list[schema.Price], wanted: list[schema.Price]
) -> None:
    added = missing_versions(wanted, rows(*held))
    now = in_force(rows(*held, *added))
    for day in DAYS:
        assert lines(now, day) == lines(wanted, day)


@given(held=st.lists(prices, max_size=5), wanted=timelines)
def test_a_second_time_there_is_nothing_to_add(
    held: list[schema.Price], wanted: list[schema.Price]
) -> None:
    added = missing_versions(wanted, rows(*held))
    assert missing_versions(wanted, rows(*held, *added)) == []


@given(held=st.lists(prices, max_size=5))
def test_what_is_exported_is_what_holds(held: list[schema.Price]) -> None:
    assert missing_versions(shortest(in_force(rows(*held))), rows(*held)) == []


def test_a_changed_price_is_a_new_version_of_the_same_day() -> None:
    old = schema.Price(valid_from=START, input=1)
    new = schema.Price(valid_from=START, input=2)
    assert missing_versions([new], rows(old)) == [new]
