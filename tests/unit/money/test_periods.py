"""Periods: no gap, no overlap, and the zone's own idea of a day."""

from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenants.money.periods import period_key, span
from tenants.types import Period

KINDS = [kind for kind in get_args(Period) if kind != "total"]
ZONES = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/Sao_Paulo",  # skipped midnight itself until 2019
    "America/Havana",  # repeats midnight
    "Asia/Kathmandu",
    "Australia/Lord_Howe",  # half an hour of summer time
    "Pacific/Apia",  # had no 30 December 2011
]
instants = st.datetimes(datetime(2005, 1, 1), datetime(2035, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - the strategy adds the zone


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.promise("M8")
@given(instants, st.sampled_from(KINDS), st.sampled_from(ZONES))
def test_every_instant_lies_in_exactly_one_period(instant: datetime, kind: Any, zone: str) -> None:
    period = span(instant, kind, zone)
    assert period.end is not None
    assert period.start <= instant < period.end
    moment = timedelta(microseconds=1)
    assert span(period.start, kind, zone) == period
    assert span(period.end - moment, kind, zone) == period
    assert span(period.end, kind, zone).start == period.end
    assert span(period.start - moment, kind, zone).end == period.start


@pytest.mark.promise("M8")
@pytest.mark.parametrize(
    ("zone", "instant", "start", "end"),
    [
        ("Europe/Berlin", "2026-03-29T12:00", "2026-03-28T23:00", "2026-03-29T22:00"),  # 23 hours
        ("Europe/Berlin", "2026-10-25T12:00", "2026-10-24T22:00", "2026-10-25T23:00"),  # 25 hours
        ("America/Sao_Paulo", "2018-11-04T12:00", "2018-11-04T03:00", "2018-11-05T02:00"),
        ("America/Sao_Paulo", "2018-02-18T02:30", "2018-02-17T02:00", "2018-02-18T03:00"),
        ("America/Havana", "2024-11-03T05:30", "2024-11-03T04:00", "2024-11-04T05:00"),
        ("Pacific/Apia", "2011-12-30T09:59", "2011-12-29T10:00", "2011-12-30T10:00"),
        ("UTC", "2028-02-29T23:59", "2028-02-29T00:00", "2028-03-01T00:00"),
    ],
)
def test_days_follow_the_clock_of_their_zone(zone: str, instant: str, start: str, end: str) -> None:
    period = span(at(instant), "day", zone)
    assert (period.start, period.end) == (at(start), at(end))


@pytest.mark.parametrize(
    ("kind", "start", "end"),
    [
        ("hour", "2026-12-31T23:00", "2027-01-01T00:00"),
        ("week", "2026-12-28T00:00", "2027-01-04T00:00"),
        ("month", "2026-12-01T00:00", "2027-01-01T00:00"),
        ("quarter", "2026-10-01T00:00", "2027-01-01T00:00"),
        ("year", "2026-01-01T00:00", "2027-01-01T00:00"),
    ],
)
def test_longer_periods_begin_where_the_calendar_says(kind: Any, start: str, end: str) -> None:
    period = span(at("2026-12-31T23:59:59.999"), kind, "UTC")
    assert (period.start, period.end) == (at(start), at(end))


def test_total_never_ends() -> None:
    assert span(at("2026-01-01"), "total", "Asia/Kathmandu").end is None


def test_another_zone_is_another_bucket() -> None:
    start = at("2026-01-01")
    assert period_key("day", "UTC", start) != period_key("day", "Europe/Berlin", start)
