"""Stop calling a deployment that fails, and come back gently; at most one probe runs at a time.

closed → open → half_open → ramp → closed, and by hand forced_open, forced_closed (faults.md §5).
Values in, values out: whoever calls keeps the state and logs `transition(before, after)`.
Every `begin` that allows a call is followed by `after` with its ticket, also when the caller left.
What is shared by a fleet is decided here too: by `counted`, `stricter` and `joined`.
"""

import math
from enum import Enum
from random import Random
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from llm_gateway.errors import UpstreamError
from llm_gateway.types import BreakerSettings

State = Literal["closed", "open", "half_open", "ramp", "forced_open", "forced_closed"]
Source = Literal["", "traffic", "probe"]  # a call of a caller, a look at the model list
Action = Literal["reset", "force_open", "force_closed"]

WINDOW_S = 10
RATE_CALLS = 10
RATE = 0.5
PROBE_S = 30.0  # a probe that never reports gives its slot back
LIST_FIRST_S = 5.0  # how long callers wait for a look at the model list
ELSEWHERE_S = 1.0  # how long to believe that another process probes
RAMP_FIRST_S, RAMP_S, RAMP_SHARE = 1.0, 10.0, 0.1
WHOLE = 1 - 1e-9  # ten tenths are a little less than one
JITTER = 0.2
HALF_LIFE_S = 600.0


class Outcome(Enum):
    """How a call ended, for the breaker. NEUTRAL says nothing about the deployment."""

    SUCCESS = "success"
    FAILURE = "failure"
    NEUTRAL = "neutral"


class Second(Struct, frozen=True):
    """Calls that ended in one second."""

    at: int
    calls: int
    failures: int


class Breaker(Struct, frozen=True, kw_only=True):
    """State of one deployment's circuit; times are monotonic seconds."""

    state: State = "closed"
    reason: str = ""
    error: str = ""  # category of the last failure
    order: int = 0  # the last one given by hand that was obeyed
    since: float = 0.0
    until: float = math.inf  # when time alone ends this state, or the probe of half_open
    openings: int = 0  # in a row: each doubles the next wait
    failures: int = 0  # consecutive
    successes: int = 0  # of probes
    probing: bool = False
    listed: bool = False  # the provider's model list was there since it is half open
    source: Source = ""  # what decided this state
    credit: float = 0.0  # of the ramp: a call is let through for every whole one
    ticket: int = 0  # names who may report: outcomes of calls from before a change are ignored
    seconds: tuple[Second, ...] = ()
    past_at: float = 0.0  # adaptive: calls and failures with a half-life of ten minutes
    past_calls: float = 0.0
    past_failures: float = 0.0


class Counts(Struct, frozen=True):
    """What a whole fleet counted: the last seconds, and adaptive's past."""

    in_a_row: int
    calls: int
    failures: int
    past_calls: float = 0.0
    past_failures: float = 0.0


class Order(Struct, frozen=True):
    """What somebody decided by hand; `until` is when a forced state ends."""

    id: int
    action: Action
    by: str
    until: float = math.inf


class Verdict(Struct, frozen=True):
    """Whether a call may be made; `probe` means it takes the one slot of a half-open circuit."""

    allowed: bool
    reason: str
    ticket: int = 0
    probe: bool = False
    retry_after_s: float | None = None


class Transition(Struct, frozen=True):
    """One change of state, to be logged."""

    before: State
    after: State
    reason: str
    at: float
    error: str = ""
    source: Source = ""


def outcome_of(error: BaseException | None) -> Outcome:
    """Return what an attempt's error, or None, says about the deployment."""
    if error is None:
        return Outcome.SUCCESS
    counts = isinstance(error, UpstreamError) and error.counts_for_breaker
    return Outcome.FAILURE if counts else Outcome.NEUTRAL


def allows(breaker: Breaker, now: float, *, list_first: bool = False) -> Verdict:
    """Say whether a call may be made now, without taking anything.

    `list_first`: of a half-open circuit the model list is looked at before a caller's request is
    risked; not for long, since whoever looks may be gone.
    """
    breaker = at(breaker, now)
    match breaker.state:
        case "closed" | "forced_closed":
            return Verdict(True, breaker.state, breaker.ticket)
        case "ramp":
            return _ramp_verdict(breaker, now)
        case "half_open":
            return _probe_verdict(breaker, now, list_first=list_first)
        case "open" | "forced_open":
            wait = breaker.until - now
            reason = f"{breaker.state}: {breaker.reason}"
            return Verdict(False, reason, retry_after_s=wait if math.isfinite(wait) else None)


def begin(breaker: Breaker, now: float, *, list_first: bool = False) -> tuple[Breaker, Verdict]:
    """Say whether a call may be made now; where it is the probe, its slot is taken."""
    breaker = at(breaker, now)
    verdict = allows(breaker, now, list_first=list_first)
    if verdict.probe:
        until = now + PROBE_S
        breaker = replace(breaker, probing=True, until=until, ticket=verdict.ticket)
    elif breaker.state == "ramp":
        credit = breaker.credit + ramp_share(now - breaker.since) - verdict.allowed
        breaker = replace(breaker, credit=credit)
    return breaker, verdict


def waits_for_list(breaker: Breaker) -> bool:
    """Say whether a look at the model list would tell anything of a half-open circuit."""
    return breaker.state == "half_open" and not (breaker.listed or breaker.successes)


def elsewhere(breaker: Breaker, ticket: int, until: float) -> Breaker:
    """Return the state once it is known that another process has the probe that began here."""
    if breaker.state != "half_open" or breaker.ticket != ticket:
        return breaker
    return replace(breaker, until=until)


def after(
    breaker: Breaker,
    outcome: Outcome,
    ticket: int,
    *,
    now: float,
    rng: Random,
    settings: BreakerSettings,
) -> Breaker:
    """Return the state after a call that `begin` allowed has ended."""
    breaker = at(breaker, now)
    if ticket != breaker.ticket:
        return breaker
    return _decided(breaker, _after(breaker, outcome, now, rng, settings), "traffic")


def after_look(
    breaker: Breaker,
    outcome: Outcome,
    ticket: int,
    *,
    now: float,
    rng: Random,
    settings: BreakerSettings,
) -> Breaker:
    """Return the state after a look at the model list that `begin` allowed.

    A list that fails counts as a call that fails. One that is there stands for every probe but the
    last, and heals nothing else: models fail whose list is fine.
    """
    breaker = at(breaker, now)
    if ticket != breaker.ticket:
        return breaker
    if outcome is not Outcome.SUCCESS:
        return _decided(breaker, _after(breaker, outcome, now, rng, settings), "probe")
    if breaker.state != "half_open":
        return breaker
    successes = max(breaker.successes, min(breaker.successes + 1, settings.success_threshold - 1))
    return replace(_freed(breaker), successes=successes, listed=True)


def _decided(before: Breaker, after: Breaker, source: Source) -> Breaker:
    return after if transition(before, after) is None else replace(after, source=source)


def _after(
    breaker: Breaker, outcome: Outcome, now: float, rng: Random, settings: BreakerSettings
) -> Breaker:
    match breaker.state:
        case "closed":
            return _counted(breaker, outcome, now, rng, settings)
        case "ramp" if outcome is Outcome.FAILURE:
            return _opened(breaker, "failed while coming back", now, rng, settings)
        case "half_open":
            return _probed(breaker, outcome, now, rng, settings)
        case _:
            return breaker


def at(breaker: Breaker, now: float) -> Breaker:
    """Return the state once the time up to now has passed."""
    if now < breaker.until:
        return breaker
    match breaker.state:
        case "open":
            return _moved(breaker, "half_open", "waited", now)
        case "forced_open":
            return reset(breaker, now, "end of forced_open")
        case "ramp" | "forced_closed":
            return _closed(breaker, f"end of {breaker.state}", now)
        case "half_open" | "closed":
            return _freed(breaker)


def reset(breaker: Breaker, now: float, reason: str = "reset by hand") -> Breaker:
    """Forget what failed and come back through the ramp."""
    return replace(_ramped(breaker, reason, now), openings=0)


def force_open(breaker: Breaker, now: float, until: float, reason: str = "by hand") -> Breaker:
    return replace(_moved(breaker, "forced_open", reason, now), until=until)


def force_closed(breaker: Breaker, now: float, until: float, reason: str = "by hand") -> Breaker:
    return replace(_moved(breaker, "forced_closed", reason, now), until=until)


def obeyed(breaker: Breaker, order: Order, now: float) -> Breaker:
    """Return the state after an order; one that is known, or over, changes nothing."""
    if order.id <= breaker.order or order.until <= now:
        return breaker
    breaker = replace(breaker, order=order.id)
    match order.action:
        case "reset":
            return reset(breaker, now, f"reset by {order.by}")
        case "force_open":
            return force_open(breaker, now, order.until, f"by {order.by}")
        case "force_closed":
            return force_closed(breaker, now, order.until, f"by {order.by}")


def counted(
    breaker: Breaker, counts: Counts, *, now: float, rng: Random, settings: BreakerSettings
) -> Breaker:
    """Return the state of a closed circuit by what the whole fleet counted."""
    if breaker.state != "closed":
        return breaker
    reason = _why_open(counts, settings)
    return breaker if reason is None else _opened(breaker, reason, now, rng, settings)


def joined(ours: Breaker, theirs: Breaker) -> Breaker:
    """Return the fleet's circuit as this process holds it, with what is only its own."""
    same = ours.state == theirs.state
    if not same and (ours.state, theirs.state) != ("ramp", "closed"):
        # Calls from before the change may no longer report.
        ours = _moved(ours, theirs.state, theirs.reason, theirs.since)
    slot = ours.until if same and ours.state == "half_open" else theirs.until
    return replace(
        ours,
        state=theirs.state,
        reason=theirs.reason,
        error=theirs.error,
        order=theirs.order,
        since=theirs.since,
        until=slot,
        openings=theirs.openings,
        successes=theirs.successes,
    )


def stricter(ours: Breaker, theirs: Breaker) -> Breaker:
    """Return which of two circuits of one deployment holds, where neither follows the other."""
    return max(theirs, ours, key=_strictness)


def _strictness(breaker: Breaker) -> tuple[int, int, float]:
    rank = ("closed", "ramp", "half_open", "open").index
    forced = breaker.state.startswith("forced")
    end = breaker.until if breaker.state in {"open", "ramp"} else 0.0
    return breaker.order, 9 if forced else rank(breaker.state), end


def transition(before: Breaker, after: Breaker) -> Transition | None:
    """Return the change between two values of one breaker, None where the state is the same."""
    if before.state == after.state and before.since == after.since:
        return None
    return Transition(
        before.state, after.state, after.reason, after.since, after.error, after.source
    )


def ramp_share(elapsed_s: float) -> float:
    """Return which part of its calls a deployment gets this long after it came back."""
    if elapsed_s < RAMP_FIRST_S:
        return RAMP_SHARE
    grown = (elapsed_s - RAMP_FIRST_S) / (RAMP_S - RAMP_FIRST_S)
    return min(1.0, RAMP_SHARE + (1 - RAMP_SHARE) * grown)


def _ramp_verdict(breaker: Breaker, now: float) -> Verdict:
    share = ramp_share(now - breaker.since)
    # Counted, not drawn: by chance every other second would see more than its share.
    if breaker.credit + share >= WHOLE:
        return Verdict(True, "ramp", breaker.ticket)
    return Verdict(False, f"ramp: {share:.0%} of its share", retry_after_s=1.0)


def _probe_verdict(breaker: Breaker, now: float, *, list_first: bool) -> Verdict:
    if breaker.probing:
        return Verdict(False, "half_open: a probe is running", retry_after_s=1.0)
    if list_first and waits_for_list(breaker) and now < breaker.since + LIST_FIRST_S:
        return Verdict(False, "half_open: its model list is looked at first", retry_after_s=1.0)
    # A new ticket: a probe that outlived its slot may not report for the one after it.
    return Verdict(True, "half_open: probe", breaker.ticket + 1, probe=True)


def _moved(breaker: Breaker, state: State, reason: str, now: float) -> Breaker:
    """Return a fresh state; what ran before it may no longer report."""
    return Breaker(
        state=state,
        reason=reason,
        error=breaker.error,
        order=breaker.order,
        since=now,
        openings=breaker.openings,
        ticket=breaker.ticket + 1,
        past_at=breaker.past_at,
        past_calls=breaker.past_calls,
        past_failures=breaker.past_failures,
    )


def _freed(breaker: Breaker) -> Breaker:
    return replace(breaker, probing=False, until=math.inf)


def _ramped(breaker: Breaker, reason: str, now: float) -> Breaker:
    return replace(_moved(breaker, "ramp", reason, now), until=now + RAMP_S)


def _closed(breaker: Breaker, reason: str, now: float) -> Breaker:
    # Calls that began in the ramp still count when they end: their ticket stays good.
    return replace(_moved(breaker, "closed", reason, now), openings=0, ticket=breaker.ticket)


def _opened(
    breaker: Breaker, reason: str, now: float, rng: Random, settings: BreakerSettings
) -> Breaker:
    # The exponent is bounded: a deployment that is down for months must not overflow a float.
    doubled = settings.recovery_timeout * 2.0 ** min(breaker.openings, 30)
    wait = min(doubled, settings.max_recovery_timeout) * rng.uniform(1 - JITTER, 1 + JITTER)
    moved = _moved(breaker, "open", reason, now)
    return replace(moved, until=now + wait, openings=breaker.openings + 1)


def _probed(
    breaker: Breaker, outcome: Outcome, now: float, rng: Random, settings: BreakerSettings
) -> Breaker:
    if outcome is Outcome.FAILURE:
        return _opened(breaker, "probe failed", now, rng, settings)
    if outcome is Outcome.NEUTRAL or not breaker.probing:
        return _freed(breaker)
    successes = breaker.successes + 1
    if successes >= settings.success_threshold:
        return _ramped(breaker, f"{successes} probes succeeded", now)
    return replace(_freed(breaker), successes=successes)


def _counted(
    breaker: Breaker, outcome: Outcome, now: float, rng: Random, settings: BreakerSettings
) -> Breaker:
    if outcome is Outcome.NEUTRAL:
        return breaker
    failed = outcome is Outcome.FAILURE
    breaker = replace(
        breaker,
        failures=breaker.failures + 1 if failed else 0,
        seconds=_tallied(breaker.seconds, int(now), failed),
    )
    if settings.adaptive:
        breaker = _remembered(breaker, now, failed)
    reason = _why_open(_counts(breaker), settings) if failed else None
    return breaker if reason is None else _opened(breaker, reason, now, rng, settings)


def _tallied(seconds: tuple[Second, ...], second: int, failed: bool) -> tuple[Second, ...]:
    if seconds and seconds[-1].at == second:
        last = seconds[-1]
        return (*seconds[:-1], Second(second, last.calls + 1, last.failures + failed))
    recent = tuple(kept for kept in seconds if kept.at > second - WINDOW_S)
    return (*recent, Second(second, 1, int(failed)))


def _remembered(breaker: Breaker, now: float, failed: bool) -> Breaker:
    kept = 0.5 ** ((now - breaker.past_at) / HALF_LIFE_S)
    return replace(
        breaker,
        past_at=now,
        past_calls=breaker.past_calls * kept + 1,
        past_failures=breaker.past_failures * kept + failed,
    )


def _counts(breaker: Breaker) -> Counts:
    return Counts(
        breaker.failures,
        sum(second.calls for second in breaker.seconds),
        sum(second.failures for second in breaker.seconds),
        breaker.past_calls,
        breaker.past_failures,
    )


def _why_open(counts: Counts, settings: BreakerSettings) -> str | None:
    if counts.in_a_row >= settings.failure_threshold:
        return f"{counts.in_a_row} failures in a row"
    least, rate = _usual(counts) if settings.adaptive else (RATE_CALLS, RATE)
    if counts.calls >= least and counts.failures >= rate * counts.calls:
        return f"{counts.failures} of {counts.calls} calls failed within {WINDOW_S} s"
    return None


def _usual(counts: Counts) -> tuple[int, float]:
    """Return how many calls and which failure rate are out of the ordinary here."""
    # What is judged is taken out of what it is judged by, else a burst hides itself.
    past_calls = counts.past_calls - counts.calls
    past_failures = counts.past_failures - counts.failures
    baseline = past_failures / past_calls if past_calls >= 1 else 0.0
    expected = counts.past_calls * math.log(2) / HALF_LIFE_S * WINDOW_S
    return round(_clamp(expected / 2, 10, 100)), _clamp(5 * baseline, 0.2, 0.8)


def _clamp(value: float, least: float, most: float) -> float:
    return max(least, min(most, value))
