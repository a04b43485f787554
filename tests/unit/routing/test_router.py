"""A plan leads only where a caller may go and the request can be answered."""

from collections import Counter
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.errors import (
    ContextLengthError,
    CredentialError,
    GatewayError,
    InvalidRequestError,
    MissingModelError,
    ModelNotFoundError,
    NoTargetError,
    ServerFaultError,
    ThrottledError,
)
from llm_gateway.routing.candidates import Ask
from llm_gateway.routing.health import Health, View
from llm_gateway.routing.router import Plan, plan, remaining
from llm_gateway.types import (
    Configuration,
    Deployment,
    KeyConfig,
    ProviderConfig,
    RouteConfig,
    RouteTarget,
    Settings,
    Target,
    When,
)


def provider(name: str, *, keys: int = 1, **more: Any) -> ProviderConfig:
    number = sum(map(ord, name))
    adapters = {"chat": "openai_chat", "embeddings": "openai_embeddings"}
    facts: dict[str, Any] = {"adapters": adapters, **more}
    return ProviderConfig(
        id=number,
        name=name,
        kind="mock",
        base_url="http://upstream.test",
        keys=tuple(KeyConfig(id=number * 10 + n, name=f"k{n}") for n in range(keys)),
        **facts,
    )


ALPHA, BETA = provider("alpha"), provider("beta")


def model(number: int, name: str, at: ProviderConfig = ALPHA, **more: Any) -> Deployment:
    return Deployment(id=number, name=name, provider=at, upstream_name=name, **more)


def configured(
    *models: Deployment, routes: tuple[RouteConfig, ...] = (), fallback: tuple[str, ...] = ()
) -> Configuration:
    names = dict.fromkeys(one.name for one in models)
    return Configuration(
        models={name: tuple(one for one in models if one.name == name) for name in names},
        routes={route.name: route for route in routes},
        settings=Settings(fallback_routes=fallback),
    )


def route(name: str, *lines: RouteTarget | str, **more: Any) -> RouteConfig:
    targets = tuple(RouteTarget(model=ln) if isinstance(ln, str) else ln for ln in lines)
    return RouteConfig(name=name, targets=targets, **more)


def planned(
    configuration: Configuration, name: str, *, seed: int = 1, view: View | None = None, **ask: Any
) -> Plan:
    facts: dict[str, Any] = {"model": name, "tenant_id": 1, **ask}
    return plan(Ask(**facts), configuration, view or View(now=0.0), Random(seed))


def ids(found: Plan) -> list[int]:
    return [target.deployment.id for target in found.attempts]


A, B, C = model(1, "a"), model(2, "b", BETA), model(3, "c")
SMART = route("smart", "a", "b")


def test_a_route_is_its_targets_in_order() -> None:
    assert ids(planned(configured(A, B, C, routes=(SMART,)), "smart")) == [1, 2]


def test_a_model_name_is_all_its_deployments_by_weight() -> None:
    configuration = configured(model(1, "m", weight=3), model(2, "m", BETA, weight=1))
    firsts = Counter(ids(planned(configuration, "m", seed=seed))[0] for seed in range(2000))
    assert 0.7 < firsts[1] / 2000 < 0.8
    assert sorted(ids(planned(configuration, "m"))) == [1, 2]


def test_deployments_of_one_name_share_the_weight_of_their_line() -> None:
    many = [model(n, "many") for n in range(10, 19)]
    both = route("both", "many", "b", strategy="weighted")
    configuration = configured(*many, B, routes=(both,))
    firsts = Counter(ids(planned(configuration, "both", seed=seed))[0] for seed in range(2000))
    assert 0.45 < firsts[2] / 2000 < 0.55


def test_a_route_hides_a_model_of_the_same_name() -> None:
    assert ids(planned(configured(A, B, routes=(route("a", "b"),)), "a")) == [2]


def test_the_unknown_and_the_forbidden_are_refused_in_the_same_words() -> None:
    configuration = configured(A, B, model(4, "x", provider("own", tenant_id=2)))
    answers = []
    for name, allowed in (("a", frozenset({"b"})), ("nothing", None), ("x", None)):
        with pytest.raises(ModelNotFoundError) as caught:
            planned(configuration, name, models=allowed)
        answers.append(str(caught.value).replace(repr(name), "…"))
    assert len(set(answers)) == 1


def test_a_key_that_may_call_a_route_may_call_its_targets() -> None:
    found = planned(configured(A, B, routes=(SMART,)), "smart", models=frozenset({"smart"}))
    assert ids(found) == [1, 2]


def test_a_key_of_one_tenant_never_meets_the_provider_of_another() -> None:
    configuration = configured(
        model(1, "m"),
        model(2, "m", provider("own", tenant_id=1)),
        model(3, "m", provider("x", tenant_id=2)),
    )
    found = planned(configuration, "m", tenant_id=1)
    assert sorted(ids(found)) == [1, 2]
    assert "x/m" not in {one.name for one in found.dropped}


def test_fallback_routes_are_appended_to_every_plan_once() -> None:
    spare = route("spare", "b", "c")
    configuration = configured(A, B, C, routes=(SMART, spare), fallback=("spare",))
    assert ids(planned(configuration, "a")) == [1, 2, 3]
    assert ids(planned(configuration, "smart")) == [1, 2, 3]
    assert ids(planned(configuration, "spare")) == [2, 3]


def test_a_fallback_route_leads_no_key_to_a_model_it_may_not_call() -> None:
    configuration = configured(A, B, C, routes=(route("spare", "b", "c"),), fallback=("spare",))
    found = planned(configuration, "a", models=frozenset({"a", "c"}))
    assert ids(found) == [1, 3]
    assert [(one.name, one.cause) for one in found.dropped] == [("beta/b", "not_allowed")]


def test_embeddings_are_not_led_to_another_model() -> None:
    configuration = configured(A, B, routes=(route("spare", "b"),), fallback=("spare",))
    assert ids(planned(configuration, "a", operation="embeddings")) == [1]


def test_fallbacks_off_leaves_the_first_target_alone() -> None:
    spare = route("spare", "c")
    configuration = configured(A, B, C, routes=(SMART, spare), fallback=("spare",))
    found = planned(configuration, "smart", fallbacks=False)
    assert ids(found) == [1]
    assert [(one.name, one.cause) for one in found.dropped] == [("beta/b", "fallbacks_off")]


def test_the_preferred_provider_comes_first_and_the_rest_keeps_its_order() -> None:
    configuration = configured(A, B, C, routes=(route("r", "a", "c", "b"),))
    assert ids(planned(configuration, "r", provider="beta")) == [2, 1, 3]
    assert ids(planned(configuration, "r", provider="nobody")) == [1, 3, 2]


def test_the_caller_may_choose_the_strategy() -> None:
    view = View(now=0.0, health={1: Health(in_flight=5)})
    configuration = configured(A, B, routes=(SMART,))
    assert ids(planned(configuration, "smart", view=view, strategy="least_busy")) == [2, 1]
    with pytest.raises(InvalidRequestError, match="slowest") as caught:
        planned(configuration, "smart", strategy="slowest")
    assert caught.value.param == "x-mobius-strategy"


def test_a_target_without_a_capability_is_dropped_by_name() -> None:
    blind = model(1, "a", capabilities=frozenset({"chat", "stream"}))
    found = planned(configured(blind, B, routes=(SMART,)), "smart", needs=frozenset({"vision"}))
    assert ids(found) == [2]
    assert [(one.name, one.reason) for one in found.dropped] == [
        ("alpha/a", "does not support vision")
    ]


def test_a_capability_that_no_target_has_is_named() -> None:
    blind = model(1, "a", capabilities=frozenset({"chat"}))
    with pytest.raises(InvalidRequestError, match="vision") as caught:
        planned(configured(blind), "a", needs=frozenset({"chat", "vision"}))
    assert caught.value.param == "model"


def test_an_operation_that_no_adapter_speaks_is_named() -> None:
    deaf = model(1, "a", provider("deaf", adapters={"chat": "anthropic_messages"}))
    with pytest.raises(InvalidRequestError, match="embeddings"):
        planned(configured(deaf), "a", operation="embeddings")


def test_what_is_known_to_be_too_long_is_dropped() -> None:
    short, long = model(1, "a", context_window=100), model(2, "b", BETA, context_window=1000)
    configuration = configured(short, long, C, routes=(route("r", "a", "b"),))
    assert ids(planned(configuration, "r", input_at_least={1: 100, 2: 100})) == [1, 2]
    assert ids(planned(configuration, "r", input_at_least={1: 101, 2: 101})) == [2]
    with pytest.raises(ContextLengthError, match="1001"):
        planned(configuration, "r", input_at_least={1: 900, 2: 1001})
    assert ids(planned(configuration, "c", input_at_least={3: 10**9})) == [3]


def test_what_is_too_long_for_all_targets_goes_to_those_named_for_it() -> None:
    short, long = model(1, "a", context_window=100), model(2, "b", BETA, context_window=1000)
    wide = model(4, "wide")
    others: Any = {"context_length": ("wide",), "content_policy": ("c",)}
    configuration = configured(short, long, C, wide, routes=(route("r", "a", "b", instead=others),))
    tokens = {1: 1001, 2: 1001}
    found = planned(configuration, "r", input_at_least=tokens)
    assert (ids(found), found.rejection) == ([4], "context_length")
    assert [one.cause for one in found.dropped] == ["context", "context"]
    for more in ({"fallbacks": False}, {"needs": frozenset({"vision"})}):
        able = model(4, "wide", capabilities=frozenset({"chat"}))
        unable = configured(short, long, C, able, routes=(route("r", "a", "b", instead=others),))
        with pytest.raises(ContextLengthError):
            planned(unable, "r", input_at_least=tokens, **more)


@pytest.mark.parametrize(
    ("when", "ask", "holds"),
    [
        (When(max_input_tokens=10), {"input_tokens": 10}, True),
        (When(max_input_tokens=10), {"input_tokens": 11}, False),
        (When(tags={"team": "x"}), {"tags": {"team": "x", "env": "y"}}, True),
        (When(tags={"team": "x"}), {"tags": {"team": "y"}}, False),
        (When(tags={"team": "x"}), {}, False),
        (When(budget_used_below=0.8), {"budget_used": 0.79}, True),
        (When(budget_used_below=0.8), {"budget_used": 0.8}, False),
        (When(max_input_tokens=10, tags={"team": "x"}), {"tags": {"team": "x"}}, True),
    ],
)
def test_a_target_whose_condition_does_not_hold_is_skipped(
    when: When, ask: dict[str, Any], holds: bool
) -> None:
    line = RouteTarget(model="a", when=when)
    found = planned(configured(A, B, routes=(route("r", line, "b"),)), "r", **ask)
    assert ids(found) == ([1, 2] if holds else [2])
    assert [one.cause for one in found.dropped] == ([] if holds else ["condition"])


def test_the_condition_of_a_route_holds_for_all_its_targets() -> None:
    small = route("small", "a", when=When(max_input_tokens=10))
    spare = route("spare", "b")
    configuration = configured(A, B, routes=(small, spare), fallback=("spare",))
    assert ids(planned(configuration, "small", input_tokens=11)) == [2]
    with pytest.raises(InvalidRequestError, match="10 input tokens"):
        planned(configured(A, routes=(small,)), "small", input_tokens=11)


def test_a_route_that_leads_nowhere_says_so() -> None:
    with pytest.raises(NoTargetError):
        planned(configured(A, routes=(route("empty", "gone"),)), "empty")


def test_every_key_of_a_provider_is_a_target_next_to_the_first() -> None:
    configuration = configured(model(1, "a", provider("two", keys=2)), B, routes=(SMART,))
    found = planned(configuration, "smart")
    assert ids(found) == [1, 1, 2]
    assert len({target.key.id for target in found.attempts[:2] if target.key}) == 2


def test_a_provider_without_keys_is_called_without_one() -> None:
    found = planned(configured(model(1, "a", provider("free", keys=0))), "a")
    assert [target.key for target in found.attempts] == [None]


def test_what_rests_comes_last_and_is_not_lost() -> None:
    configuration = configured(A, B, C, routes=(route("r", "a", "b", "c"),))
    view = View(now=10.0, rests={(1, None): 30.0, (2, None): 20.0})
    assert ids(planned(configuration, "r", view=view)) == [3, 2, 1]


TARGETS = [
    Target(deployment=one, key=KeyConfig(id=key, name="k"))
    for one, key in ((A, 1), (A, 2), (C, 1), (B, 3))
]


@pytest.mark.parametrize(
    ("error", "left"),
    [
        (ThrottledError("x"), [(1, 2), (3, 1), (2, 3)]),
        (CredentialError("x"), [(1, 2), (2, 3)]),
        (MissingModelError("x"), [(3, 1), (2, 3)]),
        (ServerFaultError("x"), [(3, 1), (2, 3)]),
    ],
)
def test_what_failed_decides_which_targets_are_still_worth_trying(
    error: GatewayError, left: list[tuple[int, int]]
) -> None:
    found = remaining(TARGETS[1:], TARGETS[0], error)
    assert [(one.deployment.id, one.key.id) for one in found if one.key] == left


@given(
    strategy=st.sampled_from(["fallback", "weighted", "cheapest", "race", "round_robin"]),
    weights=st.lists(st.integers(0, 5), min_size=1, max_size=6),
    keys=st.integers(0, 3),
    resting=st.dictionaries(st.integers(0, 5), st.floats(0, 100)),
    seed=st.integers(),
)
def test_a_plan_has_each_fitting_pair_exactly_once(
    strategy: str, weights: list[int], keys: int, resting: dict[int, float], seed: int
) -> None:
    at = provider("p", keys=keys)
    configuration = configured(*[model(n, "m", at, weight=w) for n, w in enumerate(weights)])
    view = View(now=50.0, rests={(number, None): until for number, until in resting.items()})
    found = planned(configuration, "m", seed=seed, strategy=strategy, view=view)
    pairs = [(one.deployment.id, one.key and one.key.id) for one in found.attempts]
    assert len(pairs) == len(set(pairs)) == len(weights) * max(1, keys)


# --- races


def racers(found: Plan) -> list[int]:
    return [target.deployment.id for target in found.racers]


def test_a_race_starts_each_deployment_of_its_route_once_and_five_at_most() -> None:
    two_keys = provider("gamma", keys=2)
    field = [model(n, f"m{n}", two_keys) for n in range(1, 8)]
    further = (route("race", *(one.name for one in field), strategy="race"), route("last", "c"))
    found = planned(configured(*field, model(9, "c"), routes=further, fallback=("last",)), "race")
    assert racers(found) == [1, 2, 3, 4, 5]
    assert len(found.attempts) == 2 * len(field) + 1
    assert ids(found)[-1] == 9


def test_a_race_is_asked_for_by_route_or_caller_and_only_for_chats() -> None:
    configuration = configured(A, B, routes=(SMART,))
    assert racers(planned(configuration, "smart")) == []
    assert racers(planned(configuration, "smart", strategy="race")) == [1, 2]
    assert racers(planned(configuration, "a", further=("b",), strategy="race")) == [1, 2]
    vectors = planned(configuration, "smart", strategy="race", operation="embeddings")
    assert racers(vectors) == []


def test_a_race_is_no_fallback() -> None:
    configuration = configured(A, B, C, routes=(SMART, route("last", "c")), fallback=("last",))
    found = planned(configuration, "smart", strategy="race", fallbacks=False)
    assert racers(found) == ids(found) == [1, 2]
