"""Find the period of an instant: half-open spans without gap or overlap in every time zone."""

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from tenants.types import Period, Span

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HOUR = timedelta(hours=1)
_DAY = timedelta(days=1)


def span(instant: datetime, kind: Period, zone: str) -> Span:
    """Return the period of `kind` that `instant` lies in; dates begin at midnight in `zone`."""
    if kind == "total":
        return Span(_EPOCH, None)
    if kind == "hour":
        start = instant.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        return Span(start, start + _HOUR)
    return _of_dates(instant, *_CALENDAR[kind], ZoneInfo(zone))


@lru_cache(maxsize=4096)
def period_key(kind: Period, zone: str, start: datetime) -> str:
    """Return the name of a period: another kind, zone or start is another bucket."""
    return f"{kind} {zone} {start:%Y-%m-%dT%H:%M:%SZ}"


def _of_dates(
    instant: datetime,
    floor: Callable[[date], date],
    following: Callable[[date], date],
    zone: ZoneInfo,
) -> Span:
    # The latest start not after the instant, not the local date: where clocks are set back across
    # midnight the local date goes back as well, and a budget would open twice.
    first = floor(instant.astimezone(zone).date() + _DAY)
    while (start := _midnight(first, zone)) > instant:
        first = floor(first - _DAY)
    return Span(start, _midnight(following(first), zone))


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    # fold=0 is the first of two midnights, and of a midnight that is skipped the moment of the skip
    return datetime.combine(day, time(0), tzinfo=zone).replace(fold=0).astimezone(UTC)


def _monday(day: date) -> date:
    return day - timedelta(days=day.weekday())


def _quarter(day: date) -> date:
    return day.replace(month=(day.month - 1) // 3 * 3 + 1, day=1)


def _months_on(months: int) -> Callable[[date], date]:
    def following(first: date) -> date:
        year, month = divmod(first.year * 12 + first.month - 1 + months, 12)
        return date(year, month + 1, 1)

    return following


_CALENDAR: dict[Period, tuple[Callable[[date], date], Callable[[date], date]]] = {
    "day": (lambda day: day, lambda first: first + _DAY),
    "week": (_monday, lambda first: first + 7 * _DAY),
    "month": (lambda day: day.replace(day=1), _months_on(1)),
    "quarter": (_quarter, _months_on(3)),
    "year": (lambda day: day.replace(month=1, day=1), _months_on(12)),
}
