"""Read from an address what the overview is asked: which time, of whom, broken down by what.

Nobody of a tenant can ask for another one: whatever the address says, they are asked about alone.
"""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from msgspec import Struct

from llm_gateway.insight.overview import DAY, DIMENSIONS, NARROWED, TAG, Asked, Window, last
from tenants.models import Tenant
from tenants.seats import Seat

DEFAULT, FROM, TO = "24h", "from", "to"
LONGEST = timedelta(days=3 * 366)
_CHOICES = ("tenant", *NARROWED, TAG)
_NOBODY = 0


class Preset(Struct, frozen=True):
    """A span of time up to now."""

    name: str
    title: str
    span: timedelta


PRESETS = {
    one.name: one
    for one in (
        Preset(DEFAULT, "24 hours", DAY),
        Preset("7d", "7 days", 7 * DAY),
        Preset("30d", "30 days", 30 * DAY),
        Preset("90d", "90 days", 90 * DAY),
    )
}


class Page(Struct, frozen=True, kw_only=True):
    """What an address asks for; `preset` is empty where days were typed, `trouble` is about those.

    `chosen` are the names it is narrowed to, the tenant's too where an operator chose one.
    """

    asked: Asked
    preset: str
    chosen: dict[str, str]
    days: dict[str, str]
    trouble: str

    def address(self, **changes: str) -> str:
        """Return the address of the same page with some parameters others, or none where empty."""
        kept = {"range": self.preset, "by": self.asked.by, **self.days, **self.chosen}
        return "?" + urlencode({name: value for name, value in (kept | changes).items() if value})


def page_of(given: Mapping[str, Any], seat: Seat, now: datetime) -> Page:
    """Return what is asked; of days that cannot be, the trouble and the default range instead."""
    preset, by = given.get("range", ""), given.get("by", "")
    preset = preset if preset in PRESETS else DEFAULT
    days = {name: given[name] for name in (FROM, TO) if given.get(name)}
    window, trouble = last(PRESETS[preset].span, now), ""
    try:
        window, preset = (_days(days, now.date()), "") if days else (window, preset)
    except ValueError as error:
        trouble, days = str(error), {}
    chosen = {name: given[name] for name in _CHOICES if given.get(name)}
    if not seat.operator:
        chosen.pop("tenant", None)
    return Page(
        asked=Asked(
            window=window,
            tenant_id=_tenant_id(seat, chosen.get("tenant")),
            chosen={name: value for name, value in chosen.items() if name != "tenant"},
            by=by if by in DIMENSIONS and (seat.operator or by != "tenant") else "model",
        ),
        preset=preset,
        chosen=chosen,
        days=days,
        trouble=trouble,
    )


def _tenant_id(seat: Seat, chosen: str | None) -> int | None:
    """Return whose requests are shown; None are all tenants'."""
    if not seat.operator:
        return seat.tenant_id or _NOBODY
    if chosen is None:
        return None
    return Tenant.objects.filter(name=chosen).values_list("pk", flat=True).first() or _NOBODY


def _days(given: Mapping[str, str], today: date) -> Window:
    """Return the window of these days of UTC, both included. Raises ValueError with the trouble."""
    if FROM not in given:
        raise ValueError(f"{FROM}: say on which day it begins")
    first, final = _day(given, FROM, today), _day(given, TO, today)
    if first > final:
        raise ValueError(f"{FROM}: lies after {TO}")
    if final - first > LONGEST:
        raise ValueError(f"{FROM}: at most {LONGEST.days} days before {TO}")
    start, end = (datetime(day.year, day.month, day.day, tzinfo=UTC) for day in (first, final))
    return Window(start, end + DAY)


def _day(given: Mapping[str, str], name: str, today: date) -> date:
    try:
        day = date.fromisoformat(given.get(name, f"{today}"))
    except ValueError:
        raise ValueError(f"{name}: a day is written {today}") from None
    if not date(2000, 1, 1) <= day <= today:
        raise ValueError(f"{name}: a day between 2000 and today")
    return day
