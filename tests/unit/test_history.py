"""The made-up past: the same from the same seed, and with days, nights and weekends in it."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from random import Random
from zoneinfo import ZoneInfo

from llm_gateway.configuration.demo_town import HABITS, demo_town
from llm_gateway.management.history import Asked, story

BERLIN = ZoneInfo("Europe/Berlin")
END = datetime(2026, 11, 16, tzinfo=UTC)
DAYS = 28


def told(seed: int = 7) -> list[Asked]:
    hours = story(
        HABITS,
        [BERLIN] * len(HABITS),
        begin=END - timedelta(days=DAYS),
        end=END,
        per_day=400,
        rng=Random(seed),
    )
    return [asked for hour in hours for asked in hour]


def test_the_same_seed_tells_the_same_story() -> None:
    assert told() == told() != told(8)


def test_it_is_in_order_and_within_its_time() -> None:
    times = [asked.at for asked in told()]
    assert times == sorted(times)
    assert END - timedelta(days=DAYS) <= times[0]
    assert times[-1] < END


def test_days_are_busier_than_nights_and_weekends_and_it_grows() -> None:
    asked = told()
    hours = Counter(one.at.astimezone(BERLIN).hour for one in asked)
    days = Counter(one.at.astimezone(BERLIN).weekday() for one in asked)
    weeks = Counter((one.at - (END - timedelta(days=DAYS))).days // 7 for one in asked)
    assert hours[13] > 3 * hours[3] > 0
    assert days[1] > 1.5 * days[6] > 0
    assert weeks[3] > 1.1 * weeks[0]


def test_everything_that_can_happen_happens() -> None:
    asked = told()
    assert {one.ending for one in asked} == {"settled", "failed", "cancelled", "hit"}
    assert {one.habit for one in asked} == set(range(len(HABITS)))
    assert all(0 <= one.cached_tokens <= one.input_tokens for one in asked)
    assert all(one.first_token_s <= one.took_s for one in asked)


def test_every_habit_is_of_a_key_and_of_models_that_there_are() -> None:
    town = demo_town()
    keys = {(tenant.name, key.name) for tenant in town.tenants for key in tenant.keys}
    names = {model.name for model in town.models} | {route.name for route in town.routes}
    assert {(habit.tenant, habit.key) for habit in HABITS} == keys
    assert {name for habit in HABITS for name in habit.models} == names
    assert abs(sum(habit.share for habit in HABITS) - 1) < 1e-9
