"""Imagine what keys would have asked over some weeks: by hour, in plausible sizes and with faults.

Pure: the same seed tells the same story.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from random import Random
from typing import Literal
from zoneinfo import ZoneInfo

from msgspec import Struct

from llm_gateway.configuration.demo_town import Habit

HOUR = timedelta(hours=1)
# What the story begins with, of what it ends with.
GROWTH = 0.55
FAULTS, LEAVING = 0.012, 0.02
# Of an office day, by the hour of the tenant's own clock.
_DAY = tuple(max(0.0, math.sin((hour - 6.5) / 13 * math.pi)) for hour in range(24))

Ending = Literal["settled", "failed", "cancelled", "hit"]


class Asked(Struct, frozen=True, kw_only=True):
    """One request, as it was asked and as it ended. Times are seconds."""

    habit: int
    at: datetime
    model: str
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    stream: bool
    ending: Ending
    first_token_s: float
    took_s: float
    end_user: str
    tags: Mapping[str, str]


def story(
    habits: Sequence[Habit],
    zones: Sequence[ZoneInfo],
    *,
    begin: datetime,
    end: datetime,
    per_day: float,
    rng: Random,
) -> Iterator[list[Asked]]:
    """Yield what is asked in each hour, in order; `per_day` is on a working day at the end."""
    hour = begin
    while hour < end:
        grown = GROWTH + (1 - GROWTH) * ((hour - begin) / (end - begin))
        asked = [
            _ask(place, habit, hour, rng)
            for place, (habit, zone) in enumerate(zip(habits, zones, strict=True))
            for _ in range(_how_many(per_day * grown * habit.share * _busy(habit, hour, zone), rng))
        ]
        yield sorted((one for one in asked if one.at < end), key=lambda one: one.at)
        hour += HOUR


def _busy(habit: Habit, hour: datetime, zone: ZoneInfo) -> float:
    """Return the share of a day's requests that falls into an hour."""
    local = hour.astimezone(zone)
    of_day = _DAY[local.hour] / sum(_DAY)
    spread = of_day * (1 - habit.night / 2) + habit.night / 2 / 24
    return spread * (habit.weekend if local.weekday() >= 5 else 1.0)  # noqa: PLR2004 - Saturday


def _how_many(expected: float, rng: Random) -> int:
    """Return a number of independent events (Knuth's way; a normal one where there are many)."""
    if expected > 50:  # noqa: PLR2004 - where the two are alike
        return max(0, round(rng.gauss(expected, math.sqrt(expected))))
    limit, count, product = math.exp(-expected), 0, rng.random()
    while product > limit:
        count, product = count + 1, product * rng.random()
    return count


def _ask(place: int, habit: Habit, hour: datetime, rng: Random) -> Asked:
    model = rng.choices(list(habit.models), list(habit.models.values()))[0]
    size = max(8, round(rng.lognormvariate(math.log(habit.input_tokens), 0.6)))
    warm = habit.cached > 0 and rng.random() < habit.cached
    output = _written(habit, rng)
    ending = _ending(habit, rng)
    first = rng.lognormvariate(math.log(0.45 + size / 60_000), 0.35)
    pace = rng.lognormvariate(math.log(0.012), 0.2)
    return Asked(
        habit=place,
        at=hour + timedelta(seconds=rng.uniform(0, 3600)),
        model=model,
        input_tokens=size,
        cached_tokens=round(size * habit.cached) if warm else 0,
        output_tokens=output if ending != "cancelled" else round(output * rng.random()),
        stream=rng.random() < habit.streams,
        ending=ending,
        first_token_s=0.001 if ending == "hit" else first,
        took_s=0.001 if ending == "hit" else first + output * pace,
        end_user=f"user-{rng.randrange(habit.end_users)}" if habit.end_users else "",
        tags={name: rng.choice(values) for name, values in habit.tags.items()},
    )


def _written(habit: Habit, rng: Random) -> int:
    if not habit.output_tokens:
        return 0
    return max(1, round(rng.lognormvariate(math.log(habit.output_tokens), 0.7)))


def _ending(habit: Habit, rng: Random) -> Ending:
    chance = rng.random()
    if chance < FAULTS:
        return "failed"
    if chance < FAULTS + LEAVING * habit.streams:
        return "cancelled"
    return "hit" if rng.random() < habit.hits else "settled"
