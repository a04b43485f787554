"""What rests, and for how long, after what a provider answered."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.errors import (
    CredentialError,
    MissingModelError,
    RejectedError,
    ServerFaultError,
    ThrottledError,
    UnavailableError,
)
from llm_gateway.resilience.rest import BROKEN_S, LONGEST_S, LONGEST_TOLD_S, rest_after


def test_a_rest_that_the_provider_names_is_kept() -> None:
    for error in (ThrottledError("x", retry_after_s=7), UnavailableError("x", retry_after_s=7)):
        rest = rest_after(error, strikes=3, rng=Random(1))
        assert rest is not None
        assert (rest.covers, rest.seconds) == ("pair", 7)


def test_a_rate_limit_without_a_number_doubles_its_rest() -> None:
    waits = []
    for strikes in range(4):
        rest = rest_after(ThrottledError("x"), strikes, Random(1))
        assert rest is not None
        waits.append(rest.seconds / (5 * 2**strikes))
    assert all(0.75 <= share <= 1.25 for share in waits)


@given(told=st.none() | st.floats(), strikes=st.integers(0, 10_000), seed=st.integers())
def test_no_rest_is_negative_or_above_its_cap(told: float | None, strikes: int, seed: int) -> None:
    rest = rest_after(ThrottledError("x", retry_after_s=told), strikes, Random(seed))
    assert rest is not None
    credible = told is not None and 0 <= told <= LONGEST_TOLD_S
    assert rest.seconds == told if credible else 0 < rest.seconds <= LONGEST_S


def test_a_refused_credential_rests_its_key_and_an_unknown_model_its_deployment() -> None:
    key = rest_after(CredentialError("x"), 0, Random(1))
    model = rest_after(MissingModelError("x"), 0, Random(1))
    assert key is not None
    assert model is not None
    assert (key.covers, key.seconds) == ("key", BROKEN_S)
    assert (model.covers, model.seconds) == ("deployment", BROKEN_S)


@pytest.mark.parametrize(
    "error",
    [None, UnavailableError("x"), ServerFaultError("x", retry_after_s=9), RejectedError("x")],
)
def test_nothing_else_rests(error: BaseException | None) -> None:
    assert rest_after(error, 0, Random(1)) is None
