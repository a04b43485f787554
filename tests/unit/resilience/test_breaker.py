"""The breaker opens on failure, probes with one call at a time and always finds its way back."""

from random import Random
from typing import Any

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from llm_gateway.errors import (
    DeadlineError,
    DroppedError,
    InvalidRequestError,
    NotSentError,
    RejectedError,
    ServerFaultError,
    ThrottledError,
    UnavailableError,
    UpstreamTimeoutError,
)
from llm_gateway.resilience.breaker import (
    LIST_FIRST_S,
    PROBE_S,
    RAMP_S,
    Breaker,
    Counts,
    Order,
    Outcome,
    State,
    Verdict,
    after,
    after_look,
    allows,
    at,
    begin,
    counted,
    elsewhere,
    force_closed,
    force_open,
    joined,
    obeyed,
    outcome_of,
    ramp_share,
    reset,
    stricter,
    transition,
)
from llm_gateway.types import BreakerSettings

FAILURE, SUCCESS, NEUTRAL = Outcome.FAILURE, Outcome.SUCCESS, Outcome.NEUTRAL


class Circuit:
    """A breaker with its clock, as a service would hold it."""

    def __init__(self, settings: BreakerSettings | None = None, seed: int = 1) -> None:
        self.settings = settings or BreakerSettings()
        self.rng = Random(seed)
        self.now = 1000.0
        self.breaker = Breaker()

    def begin(self) -> Verdict:
        self.breaker, verdict = begin(self.breaker, self.now)
        return verdict

    def end(self, outcome: Outcome, verdict: Verdict) -> None:
        self.breaker = after(
            self.breaker,
            outcome,
            verdict.ticket,
            now=self.now,
            rng=self.rng,
            settings=self.settings,
        )

    def look(self, outcome: Outcome) -> Verdict:
        """Look at the model list, where that is allowed."""
        verdict = self.begin()
        if verdict.allowed:
            self.breaker = after_look(
                self.breaker,
                outcome,
                verdict.ticket,
                now=self.now,
                rng=self.rng,
                settings=self.settings,
            )
        return verdict

    def call(self, outcome: Outcome) -> Verdict:
        verdict = self.begin()
        if verdict.allowed:
            self.end(outcome, verdict)
        return verdict

    @property
    def state(self) -> str:
        return at(self.breaker, self.now).state

    def open(self) -> None:
        for _ in range(self.settings.failure_threshold):
            self.call(FAILURE)

    def wait_out(self) -> None:
        self.now = max(self.now, self.breaker.until)


def test_it_opens_at_the_fifth_failure_in_a_row() -> None:
    circuit = Circuit()
    for _ in range(4):
        circuit.call(FAILURE)
    assert circuit.state == "closed"
    circuit.call(FAILURE)
    assert circuit.state == "open"
    assert circuit.breaker.reason == "5 failures in a row"


def test_a_success_ends_the_row_and_a_neutral_call_does_not() -> None:
    circuit = Circuit()
    for outcome in (FAILURE,) * 4 + (SUCCESS,) + (FAILURE,) * 4:
        circuit.call(outcome)
    assert circuit.state == "closed"
    circuit.call(NEUTRAL)
    circuit.call(FAILURE)
    assert circuit.state == "open"


def test_it_opens_when_half_of_ten_calls_fail_within_ten_seconds() -> None:
    circuit = Circuit()
    for _ in range(4):
        circuit.call(SUCCESS)
        circuit.call(FAILURE)
    circuit.call(SUCCESS)
    assert circuit.state == "closed"
    circuit.call(FAILURE)
    assert circuit.state == "open"


def test_failures_of_more_than_ten_seconds_ago_are_forgotten() -> None:
    circuit = Circuit()
    for _ in range(4):
        circuit.call(FAILURE)
        circuit.call(SUCCESS)
    circuit.now += 11
    for _ in range(4):
        circuit.call(SUCCESS)
        circuit.call(FAILURE)
    assert circuit.state == "closed"


def test_an_open_circuit_refuses_and_says_how_long() -> None:
    circuit = Circuit()
    circuit.open()
    verdict = circuit.begin()
    assert not verdict.allowed
    assert verdict.retry_after_s is not None
    assert 4.0 <= verdict.retry_after_s <= 6.0
    assert "5 failures in a row" in verdict.reason


def test_the_wait_doubles_up_to_its_maximum_give_or_take_a_fifth() -> None:
    circuit = Circuit()
    circuit.open()
    for expected in (5, 10, 20, 40, 60, 60, 60):
        wait = circuit.breaker.until - circuit.now
        assert expected * 0.8 <= wait <= expected * 1.2
        circuit.wait_out()
        circuit.call(FAILURE)


def test_one_probe_at_a_time_and_a_second_caller_is_refused() -> None:
    circuit = Circuit()
    circuit.open()
    circuit.wait_out()
    first, second = circuit.begin(), circuit.begin()
    assert (first.allowed, first.probe) == (True, True)
    assert not second.allowed
    circuit.end(SUCCESS, first)
    assert circuit.begin().probe


def test_looks_at_the_list_that_fail_open_it_and_are_named() -> None:
    circuit = Circuit()
    for _ in range(4):
        circuit.look(FAILURE)
    before = circuit.breaker
    circuit.look(FAILURE)
    change = transition(before, circuit.breaker)
    assert change is not None
    assert (change.after, change.source) == ("open", "probe")
    circuit.wait_out()
    circuit.look(FAILURE)
    assert (circuit.state, circuit.breaker.source) == ("open", "probe")
    circuit.wait_out()
    circuit.call(FAILURE)
    assert (circuit.state, circuit.breaker.source) == ("open", "traffic")


def test_a_list_that_is_there_heals_nothing_that_fails_for_callers() -> None:
    circuit = Circuit()
    for outcome in (FAILURE,) * 4:
        circuit.call(outcome)
        circuit.look(SUCCESS)
    assert circuit.breaker.failures == 4
    circuit.call(FAILURE)
    assert circuit.state == "open"


@pytest.mark.parametrize("threshold", [1, 2, 4])
def test_a_list_that_is_there_never_stands_for_the_last_probe(threshold: int) -> None:
    circuit = Circuit(BreakerSettings(success_threshold=threshold))
    circuit.open()
    circuit.wait_out()
    for _ in range(10):
        assert circuit.look(SUCCESS).probe
    assert circuit.state == "half_open"
    circuit.call(SUCCESS)
    assert circuit.state == "ramp"


@pytest.mark.parametrize("threshold", [1, 2])
def test_callers_wait_for_the_list_but_not_for_long(threshold: int) -> None:
    circuit = Circuit(BreakerSettings(success_threshold=threshold))
    circuit.open()
    circuit.wait_out()
    circuit.breaker, refused = begin(circuit.breaker, circuit.now, list_first=True)
    assert (refused.allowed, refused.retry_after_s) == (False, 1.0)
    circuit.look(SUCCESS)
    assert allows(circuit.breaker, circuit.now, list_first=True).probe

    circuit.call(FAILURE)
    circuit.wait_out()
    circuit.breaker, _ = begin(circuit.breaker, circuit.now, list_first=True)
    circuit.look(NEUTRAL)
    assert not allows(circuit.breaker, circuit.now, list_first=True).allowed
    circuit.now += LIST_FIRST_S
    assert allows(circuit.breaker, circuit.now, list_first=True).probe


def test_looking_does_not_take_the_probe() -> None:
    circuit = Circuit()
    circuit.open()
    circuit.wait_out()
    assert allows(circuit.breaker, circuit.now).probe
    assert circuit.begin().probe


def test_a_probe_whose_caller_left_gives_its_slot_back_and_counts_for_nothing() -> None:
    circuit = Circuit()
    circuit.open()
    circuit.wait_out()
    circuit.call(NEUTRAL)
    assert circuit.state == "half_open"
    assert circuit.begin().probe


def test_a_probe_that_never_reports_loses_its_slot_and_its_voice() -> None:
    circuit = Circuit()
    circuit.open()
    circuit.wait_out()
    lost = circuit.begin()
    circuit.now += PROBE_S
    circuit.begin()
    circuit.end(FAILURE, lost)
    assert circuit.state == "half_open"
    assert not circuit.begin().allowed


def test_one_probe_reporting_twice_is_one_success() -> None:
    circuit = Circuit()
    circuit.open()
    circuit.wait_out()
    probe = circuit.begin()
    circuit.end(SUCCESS, probe)
    circuit.end(SUCCESS, probe)
    assert circuit.state == "half_open"


def test_two_good_probes_lead_through_the_ramp_to_closed() -> None:
    circuit = Circuit()
    circuit.open()
    circuit.wait_out()
    circuit.call(SUCCESS)
    circuit.call(SUCCESS)
    assert circuit.state == "ramp"
    circuit.now += RAMP_S
    assert circuit.state == "closed"
    assert circuit.call(SUCCESS).allowed
    assert circuit.breaker.openings == 0


def test_the_ramp_lets_a_tenth_through_at_first_and_all_after_ten_seconds() -> None:
    assert ramp_share(0) == ramp_share(0.99) == 0.1
    assert ramp_share(5.5) == pytest.approx(0.55)
    assert ramp_share(10) == 1.0
    circuit = Circuit()
    circuit.breaker = reset(circuit.breaker, circuit.now)
    circuit.now += 0.5
    verdicts = [circuit.begin().allowed for _ in range(1_000)]
    assert verdicts[:20] == ([False] * 9 + [True]) * 2
    assert sum(verdicts) == 100
    circuit.now += 5
    assert sum(circuit.begin().allowed for _ in range(1_000)) == 550


def test_a_failure_in_the_ramp_opens_again_for_longer() -> None:
    circuit = Circuit()
    circuit.open()
    circuit.wait_out()
    circuit.call(SUCCESS)
    circuit.call(SUCCESS)
    circuit.now += 9.9
    while not circuit.call(FAILURE).allowed:
        pass
    assert circuit.state == "open"
    assert 8.0 <= circuit.breaker.until - circuit.now <= 12.0


def test_what_began_before_the_circuit_opened_cannot_reopen_it() -> None:
    circuit = Circuit()
    slow = circuit.begin()
    circuit.open()
    circuit.wait_out()
    circuit.call(SUCCESS)
    circuit.call(SUCCESS)
    circuit.end(FAILURE, slow)
    assert circuit.state == "ramp"


def test_a_call_that_began_in_the_ramp_still_counts_once_closed() -> None:
    circuit = Circuit()
    circuit.breaker = reset(circuit.breaker, circuit.now)
    circuit.now += 9.9
    verdict = circuit.begin()
    while not verdict.allowed:
        verdict = circuit.begin()
    circuit.now += 1
    circuit.end(FAILURE, verdict)
    assert (circuit.breaker.state, circuit.breaker.failures) == ("closed", 1)


def test_forced_states_hold_until_their_end_whatever_happens() -> None:
    circuit = Circuit()
    circuit.breaker = force_closed(circuit.breaker, circuit.now, until=circuit.now + 60)
    for _ in range(20):
        assert circuit.call(FAILURE).allowed
    circuit.now += 60
    assert circuit.state == "closed"
    circuit.breaker = force_open(circuit.breaker, circuit.now, until=circuit.now + 60)
    verdict = circuit.begin()
    assert (verdict.allowed, verdict.retry_after_s) == (False, 60)
    circuit.now += 60
    assert circuit.state == "ramp"


def test_reset_by_hand_leads_through_the_ramp() -> None:
    circuit = Circuit()
    circuit.open()
    circuit.breaker = reset(circuit.breaker, circuit.now)
    assert (circuit.state, circuit.breaker.reason) == ("ramp", "reset by hand")


def test_every_change_of_state_can_be_logged() -> None:
    circuit = Circuit()
    before = circuit.breaker
    circuit.open()
    change = transition(before, circuit.breaker)
    assert change is not None
    assert (change.before, change.after, change.at) == ("closed", "open", circuit.now)
    assert transition(circuit.breaker, circuit.breaker) is None


def test_a_deployment_that_always_fails_a_little_does_not_open_when_adaptive() -> None:
    def run(settings: BreakerSettings) -> str:
        circuit = Circuit(settings)
        for i in range(600):  # an hour of one failure in five
            circuit.now += 6
            circuit.call(FAILURE if i % 5 == 0 else SUCCESS)
        for _ in range(5):  # then two in three
            circuit.call(FAILURE)
            circuit.call(FAILURE)
            circuit.call(SUCCESS)
        return circuit.state

    assert run(BreakerSettings(adaptive=True)) == "closed"
    assert run(BreakerSettings()) == "open"


def test_a_deployment_that_never_fails_opens_sooner_when_adaptive() -> None:
    def run(settings: BreakerSettings) -> str:
        circuit = Circuit(settings)
        for _ in range(600):
            circuit.now += 6
            circuit.call(SUCCESS)
        for outcome in (SUCCESS,) * 7 + (FAILURE,) * 3:
            circuit.call(outcome)
        return circuit.state

    assert run(BreakerSettings(adaptive=True)) == "open"
    assert run(BreakerSettings()) == "closed"


# --- a fleet's


def shared(state: State, **fields: Any) -> Breaker:
    return Breaker(state=state, reason="theirs", since=1000.0, **fields)


def test_what_a_fleet_counted_opens_a_closed_circuit_alone() -> None:
    def judged(breaker: Breaker, *numbers: int) -> str:
        counts, settings = Counts(*numbers), BreakerSettings()
        return counted(breaker, counts, now=1.0, rng=Random(1), settings=settings).state

    assert judged(Breaker(), 4, 9, 9) == "closed"
    assert judged(Breaker(), 5, 5, 5) == "open"
    assert judged(Breaker(), 1, 10, 5) == "open"
    assert judged(shared("ramp"), 9, 9, 9) == "ramp"


def test_who_hears_of_another_state_forgets_the_calls_of_the_one_before() -> None:
    circuit = Circuit()
    slow = circuit.begin()
    circuit.breaker = joined(circuit.breaker, shared("open", until=1005.0, openings=1))
    assert (circuit.state, circuit.breaker.until) == ("open", 1005.0)
    circuit.now = 1005.0
    assert circuit.begin().probe
    circuit.end(FAILURE, slow)
    assert circuit.state == "half_open"


def test_who_hears_of_the_same_state_keeps_what_is_its_own() -> None:
    circuit = Circuit()
    circuit.open()
    circuit.wait_out()
    probe = circuit.begin()
    circuit.breaker = joined(circuit.breaker, shared("half_open", successes=1))
    assert not circuit.begin().allowed
    circuit.end(SUCCESS, probe)
    assert circuit.state == "ramp"


def test_a_call_of_the_ramp_counts_though_another_process_closed_the_circuit() -> None:
    circuit = Circuit()
    circuit.breaker = reset(circuit.breaker, circuit.now)
    verdict = [circuit.begin() for _ in range(10)][-1]
    circuit.breaker = joined(circuit.breaker, shared("closed"))
    circuit.end(FAILURE, verdict)
    assert circuit.breaker.failures == 1


def test_a_probe_that_another_process_has_is_waited_for_a_moment() -> None:
    circuit = Circuit()
    circuit.open()
    circuit.wait_out()
    probe = circuit.begin()
    circuit.breaker = elsewhere(circuit.breaker, probe.ticket, circuit.now + 1)
    assert not circuit.begin().allowed
    circuit.now += 1
    assert circuit.begin().probe


def test_the_stricter_of_two_holds_and_a_later_order_before_all() -> None:
    ladder = [
        shared("closed"),
        shared("ramp", until=1001.0),
        shared("ramp", until=1002.0),
        shared("half_open"),
        shared("open", until=1001.0),
        shared("open", until=1002.0),
        shared("forced_closed", until=1001.0, order=1),
        shared("ramp", until=1001.0, order=2),
    ]
    for i, milder in enumerate(ladder):
        for harder in ladder[i + 1 :]:
            assert stricter(milder, harder) is harder
            assert stricter(harder, milder) is harder


def test_an_order_is_obeyed_once_and_never_after_its_end() -> None:
    circuit = Circuit()
    order = Order(7, "force_open", "root", circuit.now + 60)
    circuit.breaker = obeyed(circuit.breaker, order, circuit.now)
    assert (circuit.state, circuit.breaker.reason) == ("forced_open", "by root")
    assert obeyed(circuit.breaker, order, circuit.now) is circuit.breaker
    again = Order(8, "reset", "root")
    circuit.breaker = obeyed(circuit.breaker, again, circuit.now)
    assert (circuit.state, circuit.breaker.order) == ("ramp", 8)
    late = Order(9, "force_closed", "root", circuit.now)
    assert obeyed(circuit.breaker, late, circuit.now) is circuit.breaker


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (None, SUCCESS),
        (NotSentError("x"), FAILURE),
        (UpstreamTimeoutError("x"), FAILURE),
        (ServerFaultError("x"), FAILURE),
        (UnavailableError("x"), FAILURE),
        (DroppedError("x"), FAILURE),
        (ThrottledError("x"), NEUTRAL),
        (DeadlineError("x"), NEUTRAL),
        (RejectedError("x"), NEUTRAL),
        (InvalidRequestError("x"), NEUTRAL),
        (GeneratorExit(), NEUTRAL),
    ],
)
def test_only_faults_of_the_deployment_count(error: BaseException | None, outcome: Outcome) -> None:
    assert outcome_of(error) is outcome


class BreakerMachine(RuleBasedStateMachine):
    """Calls begin and end in any order while time passes; the rules hold all along."""

    def __init__(self) -> None:
        super().__init__()
        self.circuit = Circuit()
        self.running: list[tuple[Verdict, float]] = []

    @rule()
    def begin(self) -> None:
        was = self.circuit.state
        verdict = self.circuit.begin()
        assert not (verdict.allowed and was in {"open", "forced_open"})
        assert not (verdict.probe and was != "half_open")
        if verdict.allowed:
            self.running.append((verdict, self.circuit.now))

    @precondition(lambda self: self.running)
    @rule(data=st.data(), outcome=st.sampled_from(Outcome))
    def end(self, data: st.DataObject, outcome: Outcome) -> None:
        index = data.draw(st.integers(0, len(self.running) - 1))
        verdict, _ = self.running.pop(index)
        self.circuit.end(outcome, verdict)

    @rule(seconds=st.floats(0.01, 40))
    def time_passes(self, seconds: float) -> None:
        self.circuit.now += seconds

    @rule(seconds=st.floats(1, 60), force=st.sampled_from([force_open, force_closed]))
    def force(self, seconds: float, force: object) -> None:
        assert callable(force)
        now = self.circuit.now
        self.circuit.breaker = force(self.circuit.breaker, now, now + seconds)

    @rule()
    def reset(self) -> None:
        self.circuit.breaker = reset(self.circuit.breaker, self.circuit.now)

    @invariant()
    def never_two_probes_at_once(self) -> None:
        probes = [
            verdict
            for verdict, since in self.running
            if verdict.probe
            and self.circuit.now < since + PROBE_S
            and verdict.ticket == self.circuit.breaker.ticket
        ]
        assert len(probes) <= 1
        if self.circuit.state == "half_open" and probes:
            assert not allows(self.circuit.breaker, self.circuit.now).allowed

    @invariant()
    def it_closes_again_when_everything_succeeds(self) -> None:
        copy = Circuit()
        copy.breaker, copy.now = self.circuit.breaker, self.circuit.now
        for _ in range(400):
            copy.now += 1
            copy.call(SUCCESS)
        assert copy.state == "closed"

    @invariant()
    def waits_are_bounded(self) -> None:
        breaker = self.circuit.breaker
        if breaker.state == "open":
            assert 0 < breaker.until - breaker.since <= 60 * 1.2


TestBreakerMachine = BreakerMachine.TestCase
TestBreakerMachine.settings = hypothesis_settings(
    max_examples=50, stateful_step_count=30, deadline=None
)
