"""A histogram is a number: adding is merging, and a percentile is as near as it says."""

import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.insight.histogram import (
    BOUNDS_MS,
    BUCKETS,
    DIGITS,
    ERROR,
    LEAST_MS,
    MOST_MS,
    counts,
    one,
    percentile,
)

HOUR_MS = 3_600_000
durations = st.lists(st.floats(0, 2 * MOST_MS), min_size=1, max_size=60)
within = st.lists(st.floats(LEAST_MS, MOST_MS, exclude_max=True), min_size=1, max_size=60)


def exact(values: list[float], share: float) -> float:
    """Return the least value that this share of them does not exceed."""
    return sorted(values)[max(1, math.ceil(share * len(values))) - 1]


def test_the_buckets_reach_from_a_millisecond_to_an_hour_within_ten_per_cent() -> None:
    assert LEAST_MS <= 1
    assert MOST_MS > HOUR_MS
    assert ERROR <= 0.1
    assert len(BOUNDS_MS) == BUCKETS - 1


@given(values=within, share=st.floats(0, 1))
def test_a_percentile_is_as_near_as_promised(values: list[float], share: float) -> None:
    found = percentile(sum(map(one, values)), share)
    assert found == pytest.approx(exact(values, share), rel=ERROR * (1 + 1e-9))


@given(values=durations, share=st.floats(0, 1))
def test_what_is_out_of_range_is_told_as_its_end(values: list[float], share: float) -> None:
    found = percentile(sum(map(one, values)), share)
    wanted = min(max(exact(values, share), LEAST_MS), MOST_MS)
    assert found == pytest.approx(wanted, rel=ERROR * (1 + 1e-9))


@given(some=durations, others=durations)
def test_adding_two_is_counting_all(some: list[float], others: list[float]) -> None:
    together = sum(map(one, some)) + sum(map(one, others))
    assert together == sum(map(one, [*others, *some]))
    assert sum(counts(together)) == len(some) + len(others)
    assert together - sum(map(one, some)) == sum(map(one, others))


def test_every_bound_begins_a_bucket() -> None:
    for place, bound in enumerate(BOUNDS_MS):
        below = math.nextafter(bound, 0)
        assert counts(one(bound)) == [0] * (place + 1) + [1]
        assert counts(one(below)) == [0] * place + [1]


def test_a_full_bucket_does_not_run_over_into_the_next() -> None:
    full = 10**DIGITS - 1
    assert counts(full * one(0) + full * one(2 * MOST_MS)) == [full, *[0] * (BUCKETS - 2), full]


def test_nothing_has_no_percentile() -> None:
    assert percentile(0, 0.5) is None


def test_percentiles_do_not_fall() -> None:
    rng = Random(3)
    histogram = sum(one(rng.lognormvariate(6, 2)) for _ in range(1000))
    found = [percentile(histogram, share / 100) for share in range(101)]
    assert found == sorted(found, key=lambda ms: ms or 0)
