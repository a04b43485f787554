"""Every strategy orders and none loses a target."""

from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.routing.health import STALE_S, Health, View
from llm_gateway.routing.strategies import STRATEGIES, Strategy, round_robin, weighted
from llm_gateway.types import Deployment, ProviderConfig, StrategyName, Target

PROVIDER = ProviderConfig(id=1, name="p", kind="mock", base_url="x", adapters={"chat": "mock"})


def target(
    number: int, *, rank: int = 0, weight: float = 1.0, quality: int | None = None
) -> Target:
    deployment = Deployment(
        id=number, name=f"m{number}", provider=PROVIDER, upstream_name="m", quality=quality
    )
    return Target(deployment=deployment, rank=rank, weight=weight)


def ids(targets: Sequence[Target]) -> list[int]:
    return [one.deployment.id for one in targets]


def order(name: StrategyName, targets: Sequence[Target], seed: int = 1, **view: Any) -> list[int]:
    return ids(STRATEGIES[name](targets, View(**({"now": 1000.0} | view)), Random(seed)))


@st.composite
def target_lists(draw: st.DrawFn) -> list[Target]:
    return [
        target(
            number,
            rank=draw(st.integers(0, 3)),
            weight=draw(st.floats(0, 100)),
            quality=draw(st.none() | st.integers(0, 100)),
        )
        for number in range(draw(st.integers(0, 8)))
    ]


@given(
    strategy=st.sampled_from(sorted(STRATEGIES.items())),
    targets=target_lists(),
    latency=st.none() | st.floats(0, 100),
    turn=st.integers(0, 10**9),
    seed=st.integers(),
)
def test_a_strategy_returns_a_permutation(
    strategy: tuple[str, Strategy],
    targets: list[Target],
    latency: float | None,
    turn: int,
    seed: int,
) -> None:
    view = View(now=10.0, turn=turn, health={1: Health(first_token_s=latency, in_flight=turn % 3)})
    ordered = strategy[1](targets, view, Random(seed))
    assert sorted(ids(ordered)) == ids(targets)


def test_every_strategy_that_can_be_configured_exists() -> None:
    assert set(STRATEGIES) == set(get_args(StrategyName))


def test_fallback_follows_the_lines_of_the_route() -> None:
    targets = [target(3, rank=2), target(1, rank=0), target(2, rank=1)]
    assert all(order("fallback", targets, seed) == [1, 2, 3] for seed in range(20))


def test_fallback_spreads_over_the_deployments_of_one_line_by_weight() -> None:
    targets = [target(1, weight=3), target(2, weight=1), target(9, rank=1)]
    firsts = Counter(order("fallback", targets, seed)[0] for seed in range(4000))
    assert 0.72 < firsts[1] / 4000 < 0.78
    assert firsts[9] == 0


def test_weighted_puts_weight_zero_last() -> None:
    targets = [target(1, weight=0), target(2, weight=1)]
    assert all(ids(weighted(targets, View(now=0), Random(s))) == [2, 1] for s in range(50))


def test_cheapest_puts_an_unknown_price_last() -> None:
    cost = {1: 5, 2: None, 3: 0}
    got = order("cheapest", [target(n) for n in cost], cost_nano=lambda one: cost[one.id])
    assert got == [3, 1, 2]


def test_fastest_orders_by_first_token() -> None:
    health = {
        1: Health(first_token_s=2.0, measured_at=990),
        2: Health(first_token_s=0.2, measured_at=990),
    }
    assert order("fastest", [target(1), target(2)], health=health) == [2, 1]


@pytest.mark.parametrize(
    "unknown", [Health(), Health(first_token_s=9.0, measured_at=1000.0 - STALE_S)]
)
def test_fastest_finds_out_with_one_call_at_a_time(unknown: Health) -> None:
    known = Health(first_token_s=0.2, measured_at=990)
    targets = [target(1), target(2)]
    assert order("fastest", targets, health={1: unknown, 2: known}) == [1, 2]
    busy = Health(first_token_s=unknown.first_token_s, measured_at=unknown.measured_at, in_flight=1)
    assert order("fastest", targets, health={1: busy, 2: known}) == [2, 1]


def test_fastest_puts_what_failed_when_it_was_tried_last() -> None:
    known, failed = Health(first_token_s=0.2, measured_at=990), Health(measured_at=990)
    targets = [target(1), target(2)]
    assert order("fastest", targets, health={1: failed, 2: known}) == [2, 1]


def test_best_quality_puts_the_unknown_last() -> None:
    targets = [target(1), target(2, quality=0), target(3, quality=90)]
    assert order("best_quality", targets) == [3, 2, 1]


def test_round_robin_takes_turns() -> None:
    targets = [target(1), target(2), target(3)]
    turns = [ids(round_robin(targets, View(now=0, turn=n), Random(1)))[0] for n in range(6)]
    assert turns == [1, 2, 3, 1, 2, 3]


def test_least_busy_orders_by_calls_in_flight() -> None:
    health = {1: Health(in_flight=4), 2: Health(in_flight=1)}
    assert order("least_busy", [target(1), target(2), target(3)], health=health) == [3, 2, 1]
