"""Who is refused when a process has too much to do, and when it has."""

import asyncio
import time

import pytest

from llm_gateway.service.lag import FOR_S, LATE_S, LOOK_S, Lag
from llm_gateway.service.pressure import MOST, Load, too_much

LOUD, QUIET, NEW = 1, 2, 3


def load(in_flight: int, loud: int, *, late: bool = False, lag_s: float = 0.0) -> Load:
    return Load(in_flight, {LOUD: loud, QUIET: 2}, late, lag_s)


@pytest.mark.parametrize(
    ("now", "refused"),
    [
        (load(10, 8), set()),
        (load(MOST // 2 + 10, MOST // 2), set()),  # there is room: nobody is bounded
        (load(MOST - 50, MOST // 2), {LOUD}),  # the last places are for others
        (load(MOST - 50, MOST // 2 - 1), set()),
        (load(MOST + 1, 10), {LOUD, QUIET, NEW}),
        (load(300, 298, late=True, lag_s=0.1), {LOUD}),
        (load(300, 298, late=True, lag_s=1.1), {LOUD, QUIET, NEW}),
    ],
    ids=["calm", "half", "nearly full", "within its share", "full", "late", "hopelessly late"],
)
def test_the_loudest_is_refused_first(now: Load, refused: set[int]) -> None:
    assert {each for each in (LOUD, QUIET, NEW) if too_much(now, each)} == refused


def test_a_burst_is_no_overload() -> None:
    lag = Lag()
    for now, lag_s in enumerate([2 * LATE_S, 0.0, 2 * LATE_S]):
        lag.seen(lag_s, now)
        assert not lag.late
    assert (lag.taken(), lag.last) == (2 * LATE_S, 2 * LATE_S)


def test_being_late_for_a_while_is_one_until_it_is_over() -> None:
    lag = Lag()
    for after_s, late in ((0, False), (FOR_S / 2, False), (FOR_S * 1.01, True), (FOR_S * 2, True)):
        lag.seen(LATE_S + 0.001, 5.0 + after_s)
        assert lag.late == late
    lag.seen(LATE_S, 6.0 + FOR_S)
    assert not lag.late


async def test_a_loop_that_is_held_up_is_seen_to_be_late() -> None:
    lag = Lag()
    watch = asyncio.create_task(lag.watch())
    await asyncio.sleep(LOOK_S * 3)
    time.sleep(0.2)  # noqa: ASYNC251 - what is looked for
    async with asyncio.timeout(5):
        while lag.taken() < 0.15:  # noqa: ASYNC110 - what is waited for is a look
            await asyncio.sleep(0.001)
    watch.cancel()
