"""Health follows traffic, and what rests is found by pair, key or deployment."""

import pytest

from llm_gateway.routing.health import (
    STALE_S,
    Health,
    View,
    began,
    ended,
    rest_key,
    rest_s,
    soonest,
)
from llm_gateway.types import Deployment, KeyConfig, ProviderConfig, Target

PROVIDER = ProviderConfig(id=1, name="p", kind="mock", base_url="x", adapters={"chat": "mock"})


def target(deployment: int, key: int | None) -> Target:
    return Target(
        deployment=Deployment(id=deployment, name="m", provider=PROVIDER, upstream_name="m"),
        key=None if key is None else KeyConfig(id=key, name="k"),
    )


def test_calls_in_flight_are_counted_and_never_negative() -> None:
    health = began(began(Health()))
    assert health.in_flight == 2
    for _ in range(3):
        health = ended(health, now=1.0, failed=False, first_token_s=None)
    assert health.in_flight == 0


def heard(health: Health, *seconds: float, now: float = 1.0) -> Health:
    for each in seconds:
        health = ended(health, now=now, failed=False, first_token_s=each)
    return health


def test_the_first_token_is_a_moving_median_that_starts_anew_when_stale() -> None:
    health = heard(Health(), *[0.1] * 50)
    assert heard(health, 9.0, 9.0, 9.0).first_token_s == 0.1
    assert heard(health, *[9.0] * 5).first_token_s == 9.0
    assert heard(health, 9.0, now=1.0 + STALE_S).first_token_s == 9.0


def test_a_failure_that_found_out_leaves_nothing_known_of_speed() -> None:
    health = heard(Health(), 0.1)
    assert ended(health, now=2.0, failed=True, first_token_s=None).first_token_s == 0.1
    later = ended(health, now=2.0 + STALE_S, failed=True, first_token_s=None)
    assert (later.first_token_s, later.measured_at) == (None, 2.0 + STALE_S)


def test_errors_and_repeats_are_shares() -> None:
    health = Health()
    for _ in range(100):
        health = ended(health, now=1.0, failed=True, first_token_s=None, repeat=True)
    assert health.error_rate > 0.99
    assert health.repeat_success == 0.0
    health = ended(health, now=1.0, failed=False, first_token_s=1.0)
    assert health.error_rate == pytest.approx(0.9, abs=0.01)
    assert health.repeat_success == 0.0


def test_a_rest_of_a_pair_leaves_its_other_keys_and_models_alone() -> None:
    view = View(now=10.0, rests={rest_key(target(1, 7), "pair"): 15.0})
    assert rest_s(target(1, 7), view) == 5.0
    assert rest_s(target(1, 8), view) == rest_s(target(2, 7), view) == 0.0


def test_a_rest_of_a_key_holds_for_all_its_models() -> None:
    view = View(now=10.0, rests={rest_key(target(1, 7), "key"): 15.0})
    assert rest_s(target(1, 7), view) == rest_s(target(2, 7), view) == 5.0
    assert rest_s(target(1, 8), view) == 0.0


def test_a_rest_of_a_deployment_holds_for_all_its_keys() -> None:
    view = View(now=10.0, rests={rest_key(target(1, 7), "deployment"): 15.0})
    assert rest_s(target(1, 7), view) == rest_s(target(1, None), view) == 5.0
    assert rest_s(target(2, 7), view) == 0.0


def test_a_refused_credential_without_a_key_rests_only_its_deployment() -> None:
    view = View(now=10.0, rests={rest_key(target(1, None), "key"): 15.0})
    assert rest_s(target(1, None), view) == 5.0
    assert rest_s(target(2, None), view) == 0.0


def test_a_rest_that_is_over_does_not_count() -> None:
    assert rest_s(target(1, 7), View(now=10.0, rests={(1, 7): 9.0})) == 0.0


def test_the_target_back_first_is_found() -> None:
    view = View(now=10.0, rests={(1, 7): 15.0, (1, 8): 12.0})
    first, wait = soonest([target(1, 7), target(1, 8)], view)
    assert first.key is not None
    assert (first.key.id, wait) == (8, 2.0)
