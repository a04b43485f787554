"""Rates hold over all processes together, and who is refused has used nothing (M10)."""

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from tests.fleet.fleet import Fleet
from tests.fleet.town import COST_NANO, FITS, MODEL_RATES, RATES, secret
from tests.harness.crowd import Crowd, crowded, each, statuses
from tests.harness.dialects import ANTHROPIC, OPENAI, Told
from tests.upstream.client import SeenCall, Upstream
from tests.upstream.scripts import delayed

ASKED, IN_SECONDS, AT_ONCE = 2000, 10.0, 48
MINUTE_S = 60.0
Limits = Mapping[str, int]
KINDS = ("requests", "tokens", "concurrency")

pytestmark = [pytest.mark.promise("M10"), pytest.mark.timed]


def most_in_a_minute(calls: Sequence[SeenCall]) -> int:
    """Return how many calls arrived in the busiest minute."""
    times = sorted(call.received_at for call in calls)
    return max(
        (
            sum(start <= time < start + MINUTE_S for time in times[at:])
            for at, start in enumerate(times)
        ),
        default=0,
    )


def check_kept(upstream: Upstream, told: Sequence[Told], limits: Limits = RATES) -> None:
    """Exactly what fits a minute reached the provider, never more of it at once than may."""
    seen = upstream.seen()
    served = [each for each in told if each.status == 200]
    assert len(seen.calls) == len(served)
    assert most_in_a_minute(seen.calls) == limits["requests_per_minute"]
    assert sum(used(each) for each in served) <= limits["tokens_per_minute"]
    assert seen.peak <= limits["concurrency"]
    assert statuses(told).keys() == {200, 429}


def used(told: Told) -> int:
    """Return the tokens an answer says it used; those of input are the input's words."""
    usage = told.json["usage"]
    return int(usage.get("total_tokens") or usage["input_tokens"] + usage["output_tokens"])


def check_headers(told: Sequence[Told], limits: Limits = RATES) -> None:
    """Every answer tells of all three limits; a refusal names one, and when it fits again."""
    for one in told:
        for kind in KINDS:
            limit = limits[kind if kind == "concurrency" else f"{kind}_per_minute"]
            assert int(one.headers[f"x-ratelimit-limit-{kind}"]) == limit
            assert 0 <= int(one.headers[f"x-ratelimit-remaining-{kind}"]) <= limit
            assert (f"x-ratelimit-reset-{kind}" in one.headers) == (kind != "concurrency")
        if one.status == 429:
            assert one.code == "rate_limit_exceeded"
            assert 1 <= int(one.headers["retry-after"]) <= 61


async def paced(crowd: Crowd, model: str, key: str) -> list[Told]:
    """Ask at even times over ten seconds, whatever the answers do."""
    loop = asyncio.get_running_loop()
    began = loop.time()

    async def ask(n: int) -> Told:
        await asyncio.sleep(max(0.0, began + n * IN_SECONDS / ASKED - loop.time()))
        return await crowd.ask(OPENAI if n % 2 else ANTHROPIC, model, key=secret(key))

    return await each(range(ASKED), ask, at_once=AT_ONCE)


async def at_once(crowd: Crowd, count: int, model: str, key: str) -> list[Told]:
    async def ask(_: int) -> Told:
        return await crowd.ask(OPENAI, model, key=secret(key))

    return await each(range(count), ask, at_once=AT_ONCE)


def test_two_thousand_in_ten_seconds_are_held_to_every_limit_of_their_key(fleet: Fleet) -> None:
    fleet.upstream.script("rated", delayed(20))
    told = fleet.crowded(lambda crowd: paced(crowd, "rated", "rated-all"))
    check_kept(fleet.upstream, told)
    check_headers(told)
    check_booked(fleet, told)

    # Who was refused asks again, at every age of what was booked but the last.
    for seconds in (20, 20):
        fleet.age_rates(seconds)
        again = fleet.crowded(lambda crowd: at_once(crowd, 100, "rated", "rated-all"))
        assert statuses(again) == {429: 100}
    check_booked(fleet, told)
    fleet.age_rates(30)
    told = fleet.crowded(lambda crowd: at_once(crowd, RATES["concurrency"], "rated", "rated-all"))
    assert statuses(told) == {200: RATES["concurrency"]}


def check_booked(fleet: Fleet, told: Sequence[Told]) -> None:
    """Redis holds what was served and nothing of what was refused."""
    served = [each for each in told if each.status == 200]
    assert fleet.booked("requests") == len(served)
    assert fleet.booked("tokens") == sum(map(used, served))


def test_a_model_has_rates_of_its_own_and_tells_of_them(fleet: Fleet) -> None:
    fleet.upstream.script("rated-itself", delayed(5))
    told = fleet.crowded(lambda crowd: at_once(crowd, 600, "rated-itself", "rated-not"))
    check_kept(fleet.upstream, told, MODEL_RATES)
    check_headers(told, MODEL_RATES)
    check_booked(fleet, told)


def test_tokens_are_bound_by_what_was_really_used(fleet: Fleet) -> None:
    told = fleet.crowded(lambda crowd: at_once(crowd, 600, "rated", "rated-tokens"))
    served = [each for each in told if each.status == 200]
    total = sum(map(used, served))
    limit = RATES["tokens_per_minute"]
    assert limit * 0.9 < total <= limit
    assert fleet.booked("tokens") == total
    assert len(served) == len(fleet.upstream.calls)


def test_who_has_no_money_keeps_its_rates(fleet: Fleet) -> None:
    told = fleet.crowded(lambda crowd: at_once(crowd, 300, "rated", "rated-poor"))
    assert statuses(told) == {200: FITS, 402: 300 - FITS}
    assert fleet.upstream.bill().total_nano_usd == FITS * COST_NANO
    assert fleet.booked("requests") == FITS


def test_without_the_guards_the_checks_are_red(fleet: Fleet) -> None:
    """Control: a process that books in Redis without looking, and gives nothing back."""
    with fleet.mutant("unlimited") as port:
        told = crowded(port, lambda crowd: at_once(crowd, 150, "rated", "rated-all"))
        with pytest.raises(AssertionError):
            check_kept(fleet.upstream, told)
        fleet.forget_rates()
        crowded(port, lambda crowd: at_once(crowd, FITS + 5, "rated", "rated-poor-too"))
        assert fleet.booked("requests") > FITS
