"""What belongs together goes to one deployment, in every process, as long as it is there."""

from collections import Counter
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.pricing import saved_when_warm
from llm_gateway.routing.affinity import MOST_WARM, WARM_S, Belongs, Warm
from llm_gateway.routing.candidates import Ask
from llm_gateway.routing.health import View
from llm_gateway.routing.router import Plan, plan
from llm_gateway.types import Configuration, Price, Target
from tests.unit.routing.test_router import ALPHA, BETA, configured, ids, model, provider, route

FOUR = [model(n, f"m{n}") for n in range(1, 5)]
NAMES = [one.name for one in FOUR]


def planned(
    configuration: Configuration, name: bytes, *, seed: int, beginning: int = 0, **view: Any
) -> Plan:
    ask = Ask(model="r", tenant_id=1, belongs=lambda _kind: Belongs(name, beginning))
    return plan(ask, configuration, View(now=0.0, **view), Random(seed))


def sticky(*names: str, strategy: Any = "weighted", kind: Any = "session") -> Any:
    return route("r", *names, strategy=strategy, affinity=kind)


@given(name=st.binary(min_size=1, max_size=64), seed=st.integers(), gone=st.sampled_from(NAMES))
@pytest.mark.parametrize("strategy", ["weighted", "round_robin", "least_busy", "fastest"])
def test_only_what_a_deployment_serves_moves_when_it_goes(
    strategy: str, name: bytes, seed: int, gone: str
) -> None:
    whole = configured(*FOUR, routes=(sticky(*NAMES, strategy=strategy),))
    here = planned(whole, name, seed=seed, turn=seed % 7)
    there = planned(whole, name, seed=seed + 1, turn=seed % 5)
    assert ids(here)[0] == ids(there)[0]
    assert sorted(ids(here)) == [1, 2, 3, 4]
    left = [one for one in NAMES if one != gone]
    fewer = configured(*FOUR, routes=(sticky(*left, strategy=strategy),))
    first = here.attempts[0].deployment.name
    moved = planned(fewer, name, seed=seed).attempts[0].deployment.name
    assert first in {moved, gone}


def test_it_keeps_to_the_weights_and_to_the_order_of_a_route() -> None:
    heavy = [model(1, "m", weight=3), model(2, "m", BETA)]
    configuration = configured(*heavy, routes=(sticky("m"),))
    firsts = Counter(ids(planned(configuration, b"%d" % n, seed=0))[0] for n in range(2000))
    assert 0.7 < firsts[1] / 2000 < 0.8
    ordered = configured(*FOUR, routes=(sticky(*NAMES, strategy="fallback"),))
    assert {tuple(ids(planned(ordered, b"%d" % n, seed=n))) for n in range(50)} == {(1, 2, 3, 4)}


def test_it_is_the_same_key_too_and_a_rest_comes_before_it() -> None:
    many = provider("many", keys=5)
    configuration = configured(model(1, "a", many), model(2, "b", ALPHA), routes=(sticky("a"),))
    keys = [planned(configuration, b"x", seed=seed).attempts for seed in range(20)]
    assert len({tuple(one.key.id for one in each if one.key) for each in keys}) == 1
    first: Target = keys[0][0]
    assert first.key is not None
    resting = planned(configuration, b"x", seed=1, rests={(1, first.key.id): 5.0})
    assert [one.key for one in resting.attempts] == [one.key for one in (*keys[0][1:], first)]


def test_where_it_belongs_to_nothing_chance_decides() -> None:
    configuration = configured(*FOUR, routes=(sticky(*NAMES),))
    ask = Ask(model="r", tenant_id=1)
    found = {ids(plan(ask, configuration, View(now=0.0), Random(n)))[0] for n in range(50)}
    assert found == {1, 2, 3, 4}


def test_the_cheapest_is_where_the_beginning_is_warm() -> None:
    costs, warm = {1: 100, 2: 90}, Warm()
    configuration = configured(
        *FOUR, routes=(sticky("m1", "m2", strategy="cheapest", kind="prompt"),)
    )

    def order(now: float, beginning: int = 2000) -> list[int]:
        return ids(
            planned(
                configuration,
                b"x",
                seed=1,
                beginning=beginning,
                cost_nano=lambda deployment: costs[deployment.id],
                saved_nano=lambda _deployment, size: size // 100,
                warm=lambda name, number: warm.has(name, number, now),
            )
        )

    assert order(0.0) == [2, 1]
    warm.told(b"x", 1, 0.0)
    assert order(1.0) == [1, 2]
    assert order(1.0, beginning=500) == [2, 1]
    assert order(WARM_S) == [2, 1]


def test_what_is_warm_is_bounded() -> None:
    warm = Warm()
    for n in range(MOST_WARM + 10):
        warm.told(b"%d" % n, 1, 0.0)
    assert not warm.has(b"9", 1, 1.0)
    assert warm.has(b"10", 1, 1.0)


def test_a_price_says_what_is_saved() -> None:
    assert saved_when_warm(Price(id=1, input=2_000_000, cache_read=500_000), 1000) == 1500
    assert saved_when_warm(Price(id=1, input=2_000_000), 1000) == 0
    dear = Price(id=1, input=2_000_000, cache_read=500_000, cache_write=2_500_000)
    assert saved_when_warm(dear, 1000) == 2000
