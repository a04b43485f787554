"""The date of a forecast is where the line of spend meets the limit; its range is the spread's."""

from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest

from llm_gateway.insight.budgets import BudgetNow, forecasts
from llm_gateway.insight.forecast import DAY, HOUR, Spend, forecast, step_of
from llm_gateway.recorder.journal import Journal
from tenants.types import NANO, BudgetRule, Span
from tests.unit.request_log import call

NOW = datetime(2026, 11, 11, 12, tzinfo=UTC)
MONTH = Span(datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC))
FOREVER = Span(datetime(1970, 1, 1, tzinfo=UTC), None)


def spend(limit: int | None, used: int, **fields: Any) -> Spend:
    nano = None if limit is None else limit * NANO
    return Spend(**{"limit_nano": nano, "used_nano": used * NANO, "period": MONTH, **fields})


def nano(*dollars: float) -> list[int]:
    return [int(one * NANO) for one in dollars]


def test_even_spend_has_one_date_and_no_range() -> None:
    found = forecast(spend(100, 50, history=nano(*[5] * 28)), NOW)
    assert found.at == found.earliest == found.latest == NOW + timedelta(days=10)
    assert (found.method, found.steps, found.rate_nano) == ("history", 28, 5 * NANO)


def test_uneven_spend_of_the_same_mean_has_the_same_date_within_a_range() -> None:
    found = forecast(spend(100, 50, history=nano(*[2, 8] * 14)), NOW)
    assert found.at == NOW + timedelta(days=10)
    assert found.earliest is not None
    assert found.latest is not None
    assert NOW < found.earliest < found.at < found.latest
    # m·t ± z·s·√t = R holds at both ends: 5 t ± 1.2816·3.055·√t = 50
    for end, sign in ((found.earliest, 1), (found.latest, -1)):
        days = (end - NOW) / DAY
        assert 5 * days + sign * 1.2816 * 3.05505 * days**0.5 == pytest.approx(50, abs=1e-3)


def test_four_in_five_of_random_futures_fall_into_the_range() -> None:
    rng = Random(5)
    history = [int(rng.expovariate(0.2) * NANO) for _ in range(28)]
    found = forecast(spend(300, 0, history=history, period=FOREVER), NOW)
    assert found.earliest is not None
    assert found.latest is not None
    inside = 0
    for _ in range(400):
        day, total = 0, 0
        while total < 300 * NANO:
            day += 1
            total += rng.choice(history)
        inside += found.earliest <= NOW + day * DAY <= found.latest + DAY
    assert 0.7 < inside / 400 < 0.95


def test_time_before_the_first_spend_does_not_slow_the_rate() -> None:
    found = forecast(spend(100, 50, history=nano(*[0] * 20, *[5] * 8)), NOW)
    assert (found.at, found.steps) == (NOW + timedelta(days=10), 8)


def test_what_renews_before_it_is_reached_has_no_date() -> None:
    found = forecast(spend(1000, 50, history=nano(*[5] * 28)), NOW)
    assert (found.at, found.earliest, found.latest) == (None, None, None)
    assert found.rate_nano == 5 * NANO


def test_a_range_may_end_behind_the_renewal() -> None:
    found = forecast(spend(140, 50, history=nano(*[0.5, 9.5] * 14)), NOW)
    assert found.at == NOW + timedelta(days=18)
    assert found.earliest is not None
    assert found.latest is None


def test_what_is_full_is_reached_now() -> None:
    found = forecast(spend(100, 100, history=nano(5)), NOW)
    assert found.at == found.earliest == found.latest == NOW


def test_without_a_complete_step_the_period_so_far_is_the_rate() -> None:
    found = forecast(spend(100, 50, period=Span(NOW - DAY, NOW + 9 * DAY)), NOW)
    assert (found.method, found.at) == ("period_to_date", NOW + DAY)
    assert (found.earliest, found.latest, found.rate_nano) == (None, None, 50 * NANO)


@pytest.mark.parametrize(
    "one",
    [
        spend(None, 50, history=nano(5)),
        spend(100, 0),
        spend(100, 0, history=nano(0, 0)),
        spend(100, 5, period=FOREVER),
    ],
)
def test_what_has_no_limit_or_no_rate_has_no_date(one: Spend) -> None:
    found = forecast(one, NOW)
    assert (found.method, found.at, found.rate_nano) == ("none", None, 0)


def test_a_total_that_takes_longer_than_anybody_lives_is_never_reached() -> None:
    assert forecast(spend(10**9, 0, period=FOREVER, history=nano(1e-6)), NOW).at is None


def test_short_periods_are_measured_in_hours() -> None:
    assert [step_of(p) for p in ("hour", "day", "week", "total")] == [HOUR, HOUR, DAY, DAY]
    today = Span(NOW.replace(hour=0), NOW.replace(hour=0) + DAY)
    found = forecast(spend(12, 6, period=today, step=HOUR, history=nano(*[1] * 30)), NOW)
    assert (found.at, found.rate_nano) == (NOW + timedelta(hours=6), 24 * NANO)


# --- from the database ---------------------------------------------------------------------------


def rule(id_: int, **fields: Any) -> BudgetRule:
    known = {"scope": "tenant", "owner_id": 1, "period": "month", "zone": "UTC", "hard": True}
    return BudgetRule(
        **{
            "id": id_,
            "name": f"b{id_}",
            "limit_nano": 100 * NANO,
            "mode": "strict",
            **known,
            **fields,
        }
    )


def budget(id_: int, used: int = 50, subject: str = "", **fields: Any) -> BudgetNow:
    made = rule(id_, **fields)
    return BudgetNow(
        rule=made, period=MONTH, subject=subject, limit_nano=100 * NANO, used_nano=used * NANO
    )


def test_each_budget_is_forecast_from_the_spend_it_binds(alias: str, journal: Journal) -> None:
    days = [NOW - timedelta(days=day, minutes=1) for day in range(28)]
    journal.write([call(created_at=at, cost_nano=2 * NANO, tags={"team": "a"}) for at in days])
    journal.write([call(created_at=at, cost_nano=NANO, project_id=3) for at in days])
    journal.write([call(created_at=at, cost_nano=NANO, api_key_id=7, model="b") for at in days])
    journal.write([call(created_at=at, cost_nano=NANO, tenant_id=2) for at in days])
    journal.write([call(created_at=NOW - timedelta(days=29), cost_nano=NANO * 10**6)])
    journal.write([call(created_at=NOW, cost_nano=NANO * 10**6)])  # this hour is not complete
    asked = [
        budget(1),
        budget(2, scope="project", owner_id=3),
        budget(3, scope="api_key", owner_id=7),
        budget(4, model="b"),
        budget(5, model="smart"),  # a route: everything was asked for by this name
        budget(6, per="tag.team", subject="a"),
        budget(7, per="tag.team", subject=""),
        budget(8, per="end_user", subject="u"),
        budget(9, scope="project", owner_id=99, used=0),
    ]
    told = forecasts(1, asked, NOW, using=alias)
    found = {one.rule.id: each for one, each in zip(asked, told, strict=True)}
    rates = {id_: one.rate_nano / NANO for id_, one in found.items()}
    assert rates == {1: 4, 2: 1, 3: 1, 4: 1, 5: 4, 6: 2, 7: 2, 8: pytest.approx(50 / 10.5), 9: 0}
    assert found[1].at == NOW + timedelta(days=12.5)
    assert [found[id_].method for id_ in (1, 8, 9)] == ["history", "period_to_date", "none"]
