"""A second target starts late, seldom, and never before anything is known."""

from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.resilience.hedge import (
    FEWEST,
    LEAST_S,
    Hedging,
    answered,
    asked,
    hedged,
    late_after_s,
)


@given(times=st.lists(st.floats(0, 100), max_size=300))
def test_at_most_one_request_in_twenty_is_hedged(times: list[float]) -> None:
    hedging, hedges = Hedging(), 0
    for requests, seconds in enumerate(times, 1):
        hedging = asked(hedging)
        late_s = late_after_s(hedging)
        if late_s is not None and seconds > late_s:
            hedging, hedges = hedged(hedging), hedges + 1
        hedging = answered(hedging, seconds)
        assert hedges <= requests / 20


def test_late_is_what_nineteen_of_twenty_are_not() -> None:
    hedging = Hedging(paid=100)
    for n in range(1, 101):
        assert (late_after_s(hedging) is None) == (n <= FEWEST)
        hedging = answered(hedging, n / 100)
    assert late_after_s(hedging) == 0.96
    assert late_after_s(Hedging(paid=100, heard=(0.0,) * FEWEST)) == LEAST_S


def test_what_is_late_moves_with_what_was_heard() -> None:
    hedging = Hedging(paid=100)
    for seconds in [5.0] * 200 + [0.5] * 128:
        hedging = answered(hedging, seconds)
    assert late_after_s(hedging) == 0.5


def test_a_calm_hour_does_not_pay_for_a_storm() -> None:
    hedging = Hedging(heard=(1.0,) * FEWEST)
    for _ in range(10_000):
        hedging = asked(hedging)
    hedges = 0
    while late_after_s(hedging) is not None:
        hedging, hedges = hedged(hedging), hedges + 1
    assert hedges == 5
