"""Decide what follows a failed attempt; never more attempts than policy and budget allow.

Another target needs no wait, waiting is only for the same one, and what a provider may have billed
is tried again once (faults.md §1, §4). Every step carries its reason for the decision record.
"""

from collections.abc import Mapping, Sequence
from random import Random
from typing import Literal

from msgspec import Struct

from llm_gateway.errors import (
    BusyError,
    Certainty,
    CredentialError,
    DeadlineError,
    DroppedError,
    GatewayError,
    InvalidAnswerError,
    MissingModelError,
    NotSentError,
    ServerFaultError,
    ThrottledError,
    UnavailableError,
    UpstreamError,
    UpstreamTimeoutError,
)
from llm_gateway.resilience.rest import told_to_wait_s
from llm_gateway.types import RetryPolicy

# No wait is shorter than was asked for, nor longer by a tenth once it is over and we are awake.
TOLD_AND_MORE = 1.05
LONGEST_TOLD_WAIT_S = 10.0  # a provider that asks for more is answered to the caller instead
AMBIGUOUS_FAILOVERS = 1
FEWEST_SUCCESSES = 0.1

_FAULT = RetryPolicy(max_attempts=2, initial_delay=1.0)
_DEFAULTS: Mapping[type[GatewayError], RetryPolicy] = {
    ThrottledError: RetryPolicy(max_attempts=5, initial_delay=5.0, max_delay=10.0),
    UnavailableError: RetryPolicy(max_attempts=3, initial_delay=1.0),
    NotSentError: RetryPolicy(max_attempts=3, initial_delay=0.5),
    UpstreamTimeoutError: RetryPolicy(max_attempts=2, initial_delay=0.1),
    DeadlineError: RetryPolicy(max_attempts=2, initial_delay=0.1),
    ServerFaultError: _FAULT,
    InvalidAnswerError: _FAULT,
    DroppedError: _FAULT,
}
_ONCE = RetryPolicy(max_attempts=1)
# Only somebody's hand mends the first two; who waited for the third's turn was refused for good.
_NEVER_REPEATED = (CredentialError, MissingModelError, BusyError)


class RetryBudget(Struct, frozen=True):
    """What a process may spend on further attempts: a first one pays in, a further one costs 1."""

    balance: float = 10.0

    def first(self) -> "RetryBudget":
        return RetryBudget(min(30.0, self.balance + 0.15))

    def further(self) -> "RetryBudget":
        return RetryBudget(self.balance - 1.0)

    @property
    def allows(self) -> bool:
        return self.balance >= 1.0


class Situation(Struct, frozen=True, kw_only=True):
    """What is known when an attempt has failed.

    `failures` are the errors of all attempts of this request, the last one is at hand. `repeats`
    counts the waits made for the same target. `soonest_s` is when the first resting target of the
    plan is back; None leaves it to the error. `error_rate` and `repeat_success` are the
    deployment's recent shares in 0..1, for the adaptive strategy.
    """

    failures: Sequence[GatewayError]
    targets_left: int
    deadline_left_s: float
    budget: RetryBudget
    policy: RetryPolicy | None = None
    repeats: int = 0
    soonest_s: float | None = None
    error_rate: float = 0.0
    repeat_success: float | None = None
    elsewhere: bool = False  # those left are named for what this one rejected
    started: bool = False  # a byte of the answer has gone to the caller


class Step(Struct, frozen=True):
    """What to do: the `next` target at once, `repeat` the one back first after a wait, `stop`."""

    action: Literal["next", "repeat", "stop"]
    reason: str
    wait_s: float = 0.0


def next_step(situation: Situation, rng: Random) -> Step:
    """Return what follows the last failure, and why."""
    error = situation.failures[-1]
    reason = _why_stop(error, situation)
    if reason is not None:
        return Step("stop", reason)
    if situation.targets_left > 0:
        return Step("next", f"{error.code}: next target")
    if not isinstance(error, UpstreamError):
        return Step("stop", "not an upstream error")
    return _repeat(error, situation, rng)


def rest_step(rest_s: float, deadline_left_s: float, rng: Random) -> Step:
    """Return what to do before a first attempt when every target rests this long."""
    return _told_wait(rest_s, deadline_left_s, rng)


def default_policy(error: GatewayError) -> RetryPolicy:
    """Return the policy of an error's category where none is configured (faults.md §4)."""
    return _DEFAULTS.get(type(error), _ONCE)


def wait_s(policy: RetryPolicy, k: int, rng: Random, *, error_rate: float = 0.0) -> float:
    """Return seconds to wait before repeat k = 0, 1, …, jittered, at most `max_delay`."""
    factor = _factor(policy, k) * (1 + 3 * error_rate if policy.strategy == "adaptive" else 1)
    jitter = rng.uniform(1 - policy.jitter, 1 + policy.jitter)
    return min(policy.max_delay, policy.initial_delay * factor * jitter)


def again_s(rng: Random) -> float:
    """Return when whoever was refused for want of room had better come back, not all at once."""
    return rng.uniform(1.0, 5.0)


def _why_stop(error: GatewayError, situation: Situation) -> str | None:
    """Return why nothing more may be tried anywhere, or None."""
    if situation.started:
        return "the answer has begun: it cannot be tried again"
    final = None if situation.elsewhere else _why_final(error)
    return final or _why_spent(error, situation)


def _why_final(error: GatewayError) -> str | None:
    if not isinstance(error, UpstreamError) or error.certainty is Certainty.REJECTED:
        return f"{error.code}: the same answer everywhere"
    return None


def _why_spent(error: GatewayError, situation: Situation) -> str | None:
    if situation.deadline_left_s <= 0:
        return "the deadline has passed"
    ambiguous = sum(_is_ambiguous(failure) for failure in situation.failures)
    if ambiguous > AMBIGUOUS_FAILOVERS:
        return "may be billed already: one failover is all"
    if _used_up(error, situation):
        return f"{len(situation.failures)} attempts are all that the policy allows"
    # A rejection is no failure that could be amplified: the budget is not for it.
    if not (situation.elsewhere or situation.budget.allows):
        return "the retry budget is empty"
    return None


def _is_ambiguous(error: GatewayError) -> bool:
    return isinstance(error, UpstreamError) and error.certainty is Certainty.AMBIGUOUS


def _used_up(error: GatewayError, situation: Situation) -> bool:
    if situation.policy is not None:
        return len(situation.failures) >= situation.policy.max_attempts
    if situation.targets_left > 0 and (situation.elsewhere or isinstance(error, _NEVER_REPEATED)):
        return False  # a bad key or name, or a rejection, says nothing of the next target
    alike = sum(type(failure) is type(error) for failure in situation.failures)
    return alike >= default_policy(error).max_attempts


def _repeat(error: UpstreamError, situation: Situation, rng: Random) -> Step:
    if isinstance(error, _NEVER_REPEATED):
        return Step("stop", f"{error.code}: never repeated on the same target, none other is left")
    told = situation.soonest_s
    if told is None:
        told = told_to_wait_s(error)
    if told is not None:
        return _told_wait(told, situation.deadline_left_s, rng)
    return _own_wait(error, situation, rng)


def _told_wait(told_s: float, deadline_left_s: float, rng: Random) -> Step:
    if told_s > LONGEST_TOLD_WAIT_S:
        return Step("stop", f"the provider asks for {told_s:.0f} s, more than we wait")
    if told_s > deadline_left_s:
        return Step("stop", f"the provider asks for {told_s:.1f} s, more than the deadline leaves")
    wait = min(told_s * rng.uniform(1.0, TOLD_AND_MORE), deadline_left_s)
    return Step("repeat", f"the provider asked for {told_s:.1f} s", wait)


def _own_wait(error: UpstreamError, situation: Situation, rng: Random) -> Step:
    policy = situation.policy or default_policy(error)
    success = situation.repeat_success
    if policy.strategy == "adaptive" and success is not None and success < FEWEST_SUCCESSES:
        return Step("stop", f"only {success:.0%} of recent repeats succeeded")
    wait = wait_s(policy, situation.repeats, rng, error_rate=situation.error_rate)
    if wait > situation.deadline_left_s:
        return Step("stop", "the next wait is more than the deadline leaves")
    return Step("repeat", f"{error.code}: repeat {situation.repeats + 1} after {wait:.2f} s", wait)


def _factor(policy: RetryPolicy, k: int) -> float:
    k = min(k, 64)  # max_delay has long cut it; more would overflow
    match policy.strategy:
        case "exponential" | "adaptive":
            return policy.base**k
        case "linear":
            return float(k + 1)
        case "fibonacci":
            return _fibonacci(k)


def _fibonacci(k: int) -> float:
    current, following = 1.0, 1.0
    for _ in range(k):
        current, following = following, current + following
    return current
