"""What follows a failed attempt, and that failure is never amplified."""

from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.errors import (
    BudgetError,
    CredentialError,
    DeadlineError,
    DroppedError,
    GatewayError,
    InvalidAnswerError,
    MissingModelError,
    NotSentError,
    PromptTooLongError,
    RejectedError,
    ServerFaultError,
    ThrottledError,
    UnavailableError,
    UnexpectedStatusError,
    UpstreamTimeoutError,
)
from llm_gateway.resilience.retry import (
    RetryBudget,
    Situation,
    Step,
    next_step,
    rest_step,
    wait_s,
)
from llm_gateway.types import RetryPolicy

AMBIGUOUS = [ServerFaultError, InvalidAnswerError, UpstreamTimeoutError, DroppedError]
SAFE = [NotSentError, ThrottledError, UnavailableError]
HAND_MENDED = [CredentialError, MissingModelError]
Failing = Callable[[str], GatewayError]


def step(*failures: GatewayError, **situation: Any) -> Step:
    facts: dict[str, Any] = {
        "targets_left": 0,
        "deadline_left_s": 60.0,
        "budget": RetryBudget(),
        **situation,
    }
    return next_step(Situation(failures=failures, **facts), Random(1))


@pytest.mark.parametrize("error", AMBIGUOUS + SAFE + HAND_MENDED)
def test_another_target_is_tried_at_once(error: Failing) -> None:
    taken = step(error("x"), targets_left=2)
    assert (taken.action, taken.wait_s) == ("next", 0.0)


@pytest.mark.parametrize(
    "error", [RejectedError("x"), BudgetError("x"), UnexpectedStatusError("x")]
)
def test_what_fails_everywhere_is_not_tried_again(error: GatewayError) -> None:
    assert step(error, targets_left=5).action == "stop"


@pytest.mark.parametrize("first", AMBIGUOUS)
@pytest.mark.parametrize("second", AMBIGUOUS)
def test_what_may_be_billed_is_tried_once_more_and_never_again(
    first: Failing, second: Failing
) -> None:
    assert step(first("x"), targets_left=3).action == "next"
    assert step(first("x"), second("x"), targets_left=3).action == "stop"


def test_an_unbilled_failure_does_not_use_up_the_one_failover() -> None:
    assert step(ThrottledError("x"), ServerFaultError("x"), targets_left=1).action == "next"


def test_nothing_is_tried_once_the_answer_has_begun() -> None:
    assert step(ServerFaultError("x"), targets_left=3, started=True).action == "stop"


@pytest.mark.parametrize("error", HAND_MENDED)
def test_a_refused_key_or_name_is_never_repeated_but_all_other_targets_are_tried(
    error: Failing,
) -> None:
    assert step(error("x")).action == "stop"
    assert step(*[error("x")] * 6, targets_left=1).action == "next"


@pytest.mark.parametrize(
    ("error", "tries", "first_wait"),
    [
        (ThrottledError, 5, 5.0),
        (UnavailableError, 3, 1.0),
        (NotSentError, 3, 0.5),
        (ServerFaultError, 2, 1.0),
        (UpstreamTimeoutError, 2, 0.1),
    ],
)
def test_the_same_target_is_repeated_as_its_category_allows(
    error: Failing, tries: int, first_wait: float
) -> None:
    failures: list[GatewayError] = [error("x")]
    first = step(*failures)
    assert first.action == "repeat"
    assert first_wait * 0.75 <= first.wait_s <= first_wait * 1.25
    while step(*failures, repeats=len(failures) - 1).action == "repeat":
        failures.append(error("x"))
    assert len(failures) == tries


def test_a_configured_policy_bounds_the_request_over_all_targets_and_kinds() -> None:
    policy = RetryPolicy(max_attempts=3)
    failures = [ThrottledError("x"), UnavailableError("x")]
    assert step(*failures, targets_left=9, policy=policy).action == "next"
    assert step(*failures, NotSentError("x"), targets_left=9, policy=policy).action == "stop"


def test_a_configured_policy_does_not_lift_the_limit_on_what_may_be_billed() -> None:
    failures = [ServerFaultError("x"), ServerFaultError("x")]
    assert step(*failures, targets_left=9, policy=RetryPolicy(max_attempts=9)).action == "stop"


@pytest.mark.parametrize("told", [0.0, 0.5, 2.0, 10.0])
def test_a_wait_that_the_provider_asks_for_is_kept_within_a_tenth(told: float) -> None:
    for error in (
        ThrottledError("x", retry_after_s=told),
        UnavailableError("x", retry_after_s=told),
    ):
        taken = step(error, policy=RetryPolicy(initial_delay=7))
        assert taken.action == "repeat"
        assert told <= taken.wait_s <= told * 1.1


def test_a_provider_that_asks_for_more_than_ten_seconds_is_not_waited_for() -> None:
    assert step(ThrottledError("x", retry_after_s=10.1)).action == "stop"
    assert step(ThrottledError("x", retry_after_s=10.1), targets_left=1).action == "next"


def test_the_target_that_is_back_first_decides_the_wait() -> None:
    taken = step(ThrottledError("x", retry_after_s=60), soonest_s=2.0)
    assert taken.action == "repeat"
    assert 2.0 <= taken.wait_s <= 2.2


@pytest.mark.parametrize("told", [-1.0, float("nan"), float("inf"), 1e9])
def test_a_wait_that_is_not_credible_is_not_listened_to(told: float) -> None:
    taken = step(ThrottledError("x", retry_after_s=told))
    assert taken.action == "repeat"
    assert taken.wait_s <= 10.0


def test_a_target_whose_time_is_up_leaves_the_next_one_its_own() -> None:
    assert step(DeadlineError("x"), targets_left=1, deadline_left_s=5.0).action == "next"
    assert step(DeadlineError("x"), targets_left=1, deadline_left_s=0.0).action == "stop"
    assert step(DeadlineError("x"), deadline_left_s=0.0).action == "stop"


def test_no_wait_goes_past_the_deadline() -> None:
    assert step(ThrottledError("x", retry_after_s=3), deadline_left_s=2.9).action == "stop"
    assert step(ThrottledError("x", retry_after_s=3), deadline_left_s=3.0).wait_s == 3.0
    assert step(ThrottledError("x"), deadline_left_s=1.0).action == "stop"
    assert step(ThrottledError("x"), deadline_left_s=0.0, targets_left=4).action == "stop"


def test_an_empty_retry_budget_ends_it() -> None:
    taken = step(UnavailableError("x"), targets_left=4, budget=RetryBudget(0.99))
    assert (taken.action, taken.reason) == ("stop", "the retry budget is empty")


def test_the_adaptive_strategy_gives_up_where_repeats_do_not_help() -> None:
    policy = RetryPolicy(strategy="adaptive")
    assert step(NotSentError("x"), policy=policy, repeat_success=0.09).action == "stop"
    assert step(NotSentError("x"), policy=policy, repeat_success=0.1).action == "repeat"
    assert step(NotSentError("x"), policy=policy).action == "repeat"


def test_before_a_first_attempt_a_short_rest_is_waited_for_and_a_long_one_is_not() -> None:
    assert rest_step(3.0, 60.0, Random(1)).action == "repeat"
    assert rest_step(30.0, 60.0, Random(1)).action == "stop"


@pytest.mark.parametrize(
    ("strategy", "waits"),
    [
        ("exponential", [1, 3, 9, 27, 50]),
        ("linear", [1, 2, 3, 4, 5]),
        ("fibonacci", [1, 1, 2, 3, 5]),
        ("adaptive", [2.5, 7.5, 22.5, 50, 50]),
    ],
)
def test_waits_grow_as_the_strategy_says(strategy: Any, waits: list[float]) -> None:
    policy = RetryPolicy(strategy=strategy, initial_delay=1, base=3, max_delay=50, jitter=0)
    assert [wait_s(policy, k, Random(1), error_rate=0.5) for k in range(5)] == waits


@given(
    policy=st.builds(
        RetryPolicy,
        strategy=st.sampled_from(["exponential", "linear", "fibonacci", "adaptive"]),
        initial_delay=st.floats(0, 100),
        max_delay=st.floats(0, 100),
        base=st.floats(1, 10),
        jitter=st.floats(0, 1),
    ),
    k=st.integers(0, 10_000),
    seed=st.integers(),
    error_rate=st.floats(0, 1),
)
def test_a_wait_is_never_negative_and_never_above_the_maximum(
    policy: RetryPolicy, k: int, seed: int, error_rate: float
) -> None:
    assert 0 <= wait_s(policy, k, Random(seed), error_rate=error_rate) <= policy.max_delay


ERRORS = st.sampled_from([*AMBIGUOUS, *SAFE, *HAND_MENDED, RejectedError, UnexpectedStatusError])


@given(kinds=st.lists(ERRORS, min_size=1, max_size=30), targets=st.integers(0, 8))
def test_whatever_fails_a_request_ends(kinds: list[Failing], targets: int) -> None:
    failures: list[GatewayError] = []
    budget = RetryBudget(30.0).first()
    for kind in kinds:
        failures.append(kind("x"))
        taken = step(*failures, targets_left=targets, budget=budget, repeats=len(failures))
        assert taken.reason
        if taken.action == "stop":
            break
        targets -= taken.action == "next"
        budget = budget.further()
    ambiguous = sum(isinstance(failure, tuple(AMBIGUOUS)) for failure in failures)
    assert ambiguous <= 2
    assert budget.balance >= 0


@pytest.mark.parametrize("processes", [1, 4])
@pytest.mark.parametrize("error", SAFE)
def test_a_thousand_failing_requests_make_few_further_calls(processes: int, error: Failing) -> None:
    calls = 0
    for _ in range(processes):
        budget = RetryBudget()
        for _ in range(1000 // processes):
            budget = budget.first()
            failures = [error("x")]
            while step(*failures, targets_left=2, budget=budget).action != "stop":
                budget = budget.further()
                failures.append(error("x"))
            calls += len(failures)
    assert calls <= 1000 * 1.15 + 10 * processes


def test_the_retry_budget_never_saves_more_than_thirty() -> None:
    budget = RetryBudget()
    for _ in range(1000):
        budget = budget.first()
    assert budget.balance == 30.0


def test_a_rejection_is_final_unless_others_are_named_for_it() -> None:
    rejected = PromptTooLongError("x")
    assert step(rejected, targets_left=1).action == "stop"
    empty = RetryBudget(0.0)
    assert step(rejected, targets_left=1, elsewhere=True, budget=empty).action == "next"
    policy = RetryPolicy(max_attempts=1)
    assert step(rejected, targets_left=1, elsewhere=True, policy=policy).action == "stop"
