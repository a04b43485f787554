"""What providers do wrong before the first token: the first ten rows of faults.md §2."""

from dataclasses import dataclass
from typing import Any

import pytest
from typing_extensions import override

from tests.harness.dialects import OPENAI, Dialect, Told
from tests.integration.faulty import IMPATIENT_S, LEFT_OVER, WAYS, Faulty, Way
from tests.upstream.scripts import Script, answer, failing, stalled, throttled

KEY = "sk-proj-abcdefgh12345678"
TEXT = f"the provider speaks of {KEY}"
DATE = "Tue, 07 Jan 2020 10:00:00 GMT"  # the provider's clock is years behind ours
LATER = "Tue, 07 Jan 2020 10:00:20 GMT"
SOON = range(3, 8)  # where the provider says nothing to go by: 5 s ± 25 %, rounded up


@dataclass(frozen=True, slots=True)
class Fault:
    """What a provider does, and what a caller gets where no other target is left.

    `calls` are those that reach the provider, `attempts` those that were made.
    """

    name: str
    script: Script
    status: int
    code: str
    attempts: int = 1
    calls: int | None = None
    outcome: str = "failed"
    pool: str = "plain"
    retry_after: range | None = None
    final: bool = False
    said: bool = False

    @override
    def __str__(self) -> str:
        return self.name


def limited(name: str, told: range, **headers: str) -> Fault:
    script = failing(429, TEXT, **headers)
    return Fault(name, script, 429, "upstream_rate_limited", pool="once", retry_after=told)


def refused(status: int, code: str) -> Fault:
    return Fault(f"{status}", failing(status, TEXT), 502, code)


def rejected(status: int, code: str = "invalid_request_error") -> Fault:
    return Fault(f"{status}", failing(status, TEXT), status, code, final=True, said=True)


def broken(status: int) -> Fault:
    script = failing(status, TEXT)
    return Fault(f"{status}", script, 502, "upstream_error", attempts=2, outcome="uncertain")


def away(status: int) -> Fault:
    script = failing(status, TEXT)
    return Fault(f"{status}", script, 503, "no_target_available", 3, retry_after=range(1, 61))


def unreached(pool: str) -> Fault:
    soon = range(1, 61)
    return Fault(pool, Script(), 503, "no_target_available", 3, 0, pool=pool, retry_after=soon)


def silent(name: str, script: Script) -> Fault:
    return Fault(name, script, 504, "upstream_timeout", 2, outcome="uncertain", pool="impatient")


TWENTY = range(20, 21)
FAULTS = [
    limited("429 for seconds", TWENTY, retry_after="20"),
    limited("429 until a date", range(19, 22), retry_after=LATER, date=DATE),
    limited("429 for milliseconds", TWENTY, retry_after_ms="20000", retry_after="7"),
    limited("429 alone", SOON),
    limited("429 with garbage", SOON, retry_after="soon"),
    limited("429 with a negative", SOON, retry_after="-5"),
    limited("429 with a huge value", SOON, retry_after="99999999"),
    limited("429 with a week", SOON, retry_after="500000"),
    limited("429 with resets", SOON, x_ratelimit_reset_requests="garbage"),
    refused(401, "upstream_auth"),
    refused(403, "upstream_auth"),
    refused(404, "upstream_error"),
    rejected(400),
    rejected(413, "request_too_large"),
    rejected(422),
    broken(500),
    broken(502),
    broken(504),
    away(503),
    away(529),
    unreached("refused"),
    unreached("nowhere"),
    unreached("untrusted"),
    silent("nothing at all", stalled()),
    silent("a head and nothing more", stalled(0)),
]


def applies(fault: Fault, way: Way) -> bool:
    return not (fault.pool == "impatient" and way.relayed_whole)


def one_of_each(fault: Fault, way: Way) -> bool:
    """A whole answer in the caller's own dialect, a stream in the other, and so on."""
    return applies(fault, way) and way.stream == (way.caller.name != way.kind)


CASES = [
    pytest.param(fault, way, id=f"{fault}-{way}")
    for fault in FAULTS
    for way in WAYS
    if one_of_each(fault, way) or (fault.pool == "impatient" and applies(fault, way))
]


@pytest.mark.parametrize(("fault", "way"), CASES)
def test_without_another_target_the_caller_gets_the_documented_error(
    faulty: Faulty, fault: Fault, way: Way
) -> None:
    name = faulty.fresh(way.kind, fault.pool)
    faulty.upstream.script(name, fault.script)
    faulty.pay_in(fault.attempts - 1)
    told = faulty.ask(way, name)
    assert (told.status, told.code) == (fault.status, fault.code), told.text
    check_error(fault, way.caller, told)
    check_times(fault, told)
    calls = fault.attempts if fault.calls is None else fault.calls
    assert faulty.upstream.order == [name] * calls
    assert faulty.attempts(told) == [fault.outcome] * fault.attempts


@pytest.mark.parametrize(("fault", "way"), CASES)
def test_another_target_answers_where_the_request_is_not_at_fault(
    faulty: Faulty, fault: Fault, way: Way
) -> None:
    # One try in all would leave none for the second target.
    pool = "plain" if fault.pool == "once" else fault.pool
    name, second = faulty.fresh(way.kind, pool), f"{LEFT_OVER}{way.kind}"
    faulty.upstream.script(name, fault.script)
    faulty.upstream.script(second, answer("from the second"))
    faulty.pay_in(1)
    told = faulty.ask(way, f"{name}-or-second")
    if fault.final:
        assert (told.status, told.code) == (fault.status, fault.code), told.text
        assert faulty.upstream.order == [name]
        assert faulty.attempts(told) == [fault.outcome]
        return
    assert told.status == 200, told.text
    assert told.clean
    assert "second" in told.text
    assert told.headers["x-mobius-attempts"] == "2"
    assert told.headers["x-mobius-provider"] == second
    assert faulty.upstream.order == [*[name][: fault.calls], second]
    assert faulty.attempts(told) == [fault.outcome, "settled"]


def check_error(fault: Fault, caller: Dialect, told: Told) -> None:
    error = caller.error(told)
    assert error["type"] == (_openai if caller is OPENAI else _anthropic)(fault.status)
    assert KEY not in told.text + str(told.headers)
    assert ("the provider speaks" in error["message"]) == fault.said
    listed: list[dict[str, Any]] = error["attempts"]
    assert [attempt.keys() for attempt in listed] == [
        {"provider", "status", "category"}
    ] * fault.attempts
    assert {attempt["category"] for attempt in listed} != {None}


def check_times(fault: Fault, told: Told) -> None:
    if fault.retry_after is None:
        assert "retry-after" not in told.headers
    else:
        assert int(told.headers["retry-after"]) in fault.retry_after
    # Who must not try again is told so; the SDKs go by it.
    assert (told.headers.get("x-should-retry") == "false") == fault.final


def _openai(status: int) -> str:
    if status == 429:
        return "rate_limit_error"
    return "server_error" if status >= 500 else "invalid_request_error"


def _anthropic(status: int) -> str:
    special = {
        413: "request_too_large",
        429: "rate_limit_error",
        503: "overloaded_error",
        504: "timeout_error",
    }
    return special.get(status, "api_error" if status >= 500 else "invalid_request_error")


# --- waiting -------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS[:2], ids=str)
def test_a_short_rest_is_waited_for_and_then_the_same_target_answers(
    faulty: Faulty, way: Way
) -> None:
    name = faulty.fresh(way.kind)
    faulty.upstream.script(name, throttled(1), answer("again"))
    faulty.pay_in(1)
    told = faulty.ask(way, name)
    assert (told.status, told.headers["x-mobius-attempts"]) == (200, "2"), told.text
    first, second = faulty.upstream.calls
    assert first.ended_at is not None
    # n … n + 10 %, and what a loaded machine takes.
    assert 1.0 <= second.received_at - first.ended_at <= 1.1 + 1.0
    assert faulty.attempts(told) == ["failed", "settled"]


def test_a_resting_target_is_not_called_again(faulty: Faulty) -> None:
    way = WAYS[0]
    name = faulty.fresh(way.kind)
    faulty.upstream.script(name, throttled(20))
    assert [faulty.ask(way, name).code for _ in range(3)] == ["upstream_rate_limited"] * 3
    assert faulty.upstream.order == [name]
    told = faulty.ask(way, name)
    assert int(told.headers["retry-after"]) in range(10, 21)
    assert faulty.attempts(told) == []


@pytest.mark.parametrize("way", [way for way in WAYS if not way.relayed_whole], ids=str)
def test_silence_ends_at_its_limit(faulty: Faulty, way: Way) -> None:
    name = faulty.fresh(way.kind, "impatient")
    faulty.upstream.script(name, stalled(0), answer("now"))
    faulty.pay_in(1)
    assert faulty.ask(way, name).status == 200
    call = faulty.upstream.calls[0]
    assert call.ended_at is not None
    assert (call.outcome, call.closed_by) == ("client_left", "client")
    assert IMPATIENT_S - 0.1 <= call.ended_at - call.received_at <= IMPATIENT_S + 1.2


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_a_deadline_ends_the_whole_request(faulty: Faulty, way: Way) -> None:
    name = faulty.fresh(way.kind)
    faulty.upstream.script(name, stalled())
    told = faulty.ask(way, f"{name}-or-second", headers={"x-mobius-timeout": "0.7"})
    assert (told.status, told.code) == (504, "deadline_exceeded"), told.text
    way.caller.error(told)
    faulty.upstream.wait_ended(1)
    (call,) = faulty.upstream.calls
    assert call.ended_at is not None
    assert call.ended_at - call.received_at <= 0.7 + 0.25 + 1.0
    assert faulty.attempts(told) == ["uncertain"]
