"""Budgets roll at the moment the calendar of their zone says: not a millisecond early or late."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from tenants.ids import new_id
from tenants.money.ops import Admit, Settle
from tenants.money.postgres_functions import LEDGER_APPLY
from tenants.money.types import Charges, Hold
from tenants.types import BudgetRule, Period
from tests.unit.money.ground import Clock, Ground, ground
from tests.unit.money.ground_values import request, settled

__all__ = ["ground"]

MILLISECOND = timedelta(milliseconds=1)
FULL = 100

# When days begin, in UTC: around one of 23 and one of 25 hours, and at the ends of months.
DAYS: dict[str, tuple[str, ...]] = {
    "Europe/Berlin": (
        *("2026-03-28T23:00", "2026-03-29T22:00"),  # 23 hours
        *("2026-10-24T22:00", "2026-10-25T23:00"),  # 25 hours
        *("2028-02-28T23:00", "2028-02-29T23:00"),  # 29 February
    ),
    "America/New_York": (
        *("2026-03-08T05:00", "2026-03-09T04:00"),
        *("2026-11-01T04:00", "2026-11-02T05:00"),  # 25 hours, and the first of a month
        "2027-01-01T05:00",
    ),
    "America/Sao_Paulo": (  # what is skipped or repeated is midnight itself
        *("2017-10-15T03:00", "2017-10-16T02:00"),
        *("2018-02-17T02:00", "2018-02-18T03:00"),
        "2018-03-01T03:00",
    ),
    "America/Havana": (
        *("2026-03-08T05:00", "2026-03-09T04:00"),
        *("2026-11-01T04:00", "2026-11-02T05:00"),  # a second midnight at 05:00 is none
        "2026-12-01T05:00",
    ),
}
# Where a zone's clock shows midnight, or the end of a day, for a second time.
NO_DAYS = {"America/Havana": "2026-11-01T05:00", "America/Sao_Paulo": "2018-02-18T02:00"}
MONTHS = {
    *("2026-11-01T04:00", "2026-12-01T05:00", "2027-01-01T05:00"),
    *("2018-03-01T03:00", "2028-02-29T23:00"),
}

pytestmark = pytest.mark.promise("M8")


class Calendar:
    """Budgets in one zone, each full with one hold; `clock` is the database's and ours."""

    def __init__(self, ground: Ground, zone: str) -> None:
        self.ground, self.zone = ground, zone
        self.clock = Clock(ground, datetime(2017, 1, 1, tzinfo=UTC))
        self.session = ground.session(self.clock)

    def budget(self, period: Period) -> BudgetRule:
        return self.ground.budget(FULL, period=period, zone=self.zone)

    def go_to(self, moment: datetime) -> None:
        self.clock.forward((moment - self.clock.now) / timedelta(seconds=1))

    def hold(self, rule: BudgetRule) -> Hold | None:
        (answer,) = self.session.commit([Admit(new_id(), request(FULL, rule))])
        return answer if isinstance(answer, Hold) else None

    def held(self, rule: BudgetRule) -> Hold:
        hold = self.hold(rule)
        assert hold is not None
        return hold

    def settle(self, hold: Hold, amount: int) -> None:
        self.session.commit([Settle(hold, settled(amount))])

    def buckets(self, rule: BudgetRule) -> list[tuple[datetime, datetime, int, int]]:
        """Return start, end, used and held of each, in order."""
        rows = self.ground.run(
            "SELECT starts_at, ends_at, used_nano, held_nano FROM ledger_bucket"
            " WHERE budget_id = ? ORDER BY starts_at",
            (rule.id,),
        )
        return [(at(row[0]), at(row[1]), int(row[2]), int(row[3])) for row in rows]


def at(moment: datetime | str) -> datetime:
    """Return an instant as either database, or a table above, writes it."""
    known = moment if isinstance(moment, datetime) else datetime.fromisoformat(moment)
    return known.astimezone(UTC) if known.tzinfo else known.replace(tzinfo=UTC)


@pytest.mark.parametrize("zone", DAYS)
def test_a_day_begins_with_its_first_millisecond(ground: Ground, zone: str) -> None:
    calendar = Calendar(ground, zone)
    for moment in map(at, DAYS[zone]):
        rule = calendar.budget("day")
        calendar.go_to(moment - MILLISECOND)
        old = calendar.held(rule)
        assert calendar.hold(rule) is None  # not a millisecond early
        calendar.go_to(moment)
        new = calendar.held(rule)  # nor late
        calendar.go_to(moment + MILLISECOND)
        assert calendar.hold(rule) is None
        calendar.settle(old, 70)  # a stream that ran across
        calendar.settle(new, 30)
        (before, after) = calendar.buckets(rule)
        assert (before[1:], after[0], after[2:]) == ((moment, 70, 0), moment, (30, 0))
    named = [row[0] for row in ground.run("SELECT bucket_ids FROM ledger_entry")]
    assert len(named) == 2 * len(DAYS[zone])
    assert all(len(json.loads(ids) if isinstance(ids, str) else ids) == 1 for ids in named)
    assert ground.verify().ok


@pytest.mark.parametrize("zone", DAYS)
def test_a_month_begins_only_with_its_first_day(ground: Ground, zone: str) -> None:
    calendar = Calendar(ground, zone)
    for moment in DAYS[zone]:
        rule = calendar.budget("month")
        calendar.go_to(at(moment) - MILLISECOND)
        calendar.held(rule)
        calendar.go_to(at(moment))
        assert (calendar.hold(rule) is not None) is (moment in MONTHS)
        calendar.go_to(at(moment) + MILLISECOND)
        assert calendar.hold(rule) is None
    assert ground.verify().ok


@pytest.mark.parametrize("zone", NO_DAYS)
def test_a_midnight_that_comes_again_begins_no_day(ground: Ground, zone: str) -> None:
    calendar = Calendar(ground, zone)
    moment, rule = at(NO_DAYS[zone]), calendar.budget("day")
    calendar.go_to(moment - MILLISECOND)
    calendar.held(rule)
    for _ in range(3):
        assert calendar.hold(rule) is None
        calendar.clock.forward(0.001)


OFF_S = (-300, -0.001, 0.001, 300)


@pytest.mark.parametrize("zone", DAYS)
def test_a_clock_that_is_off_moves_no_boundary(ground: Ground, zone: str) -> None:
    """A process estimates the database's clock: what counts is what the database says."""
    calendar = Calendar(ground, zone)
    for off_s in OFF_S:
        assert misplaced(calendar, at(DAYS[zone][0]), off_s) == []


def misplaced(calendar: Calendar, moment: datetime, off_s: float) -> list[datetime]:
    """Hold around a boundary with a clock that is off; return when that was in the wrong day."""
    calendar.session.store.close()
    calendar.clock.now = moment - timedelta(seconds=301)
    calendar.session = calendar.ground.session(calendar.clock)
    rule, wrong = calendar.budget("day"), []
    # From the first one on the bucket is known.
    for instant in (moment - timedelta(seconds=301), moment - MILLISECOND, moment):
        calendar.go_to(instant)
        calendar.clock.seconds += off_s
        hold = calendar.held(rule)
        ((start, end, *_),) = (each for each in calendar.buckets(rule) if each[3])
        if not start <= instant < end:
            wrong.append(instant)
        calendar.clock.seconds -= off_s
        calendar.settle(hold, 0)  # whose answer sets the estimate right
    return wrong


@pytest.mark.parametrize("database_backend", ["postgres"], indirect=True)
def test_without_the_guard_a_clock_that_is_behind_moves_it(ground: Ground) -> None:
    """Mutation control: what is done in one round trip does not look at the end of the period."""
    guard = "coalesce(b.ends_at, 'infinity')"
    assert guard in LEDGER_APPLY
    ground.run("DROP FUNCTION ledger_apply")
    ground.run(literal(LEDGER_APPLY.replace(guard, "timestamptz 'infinity'")))
    zone = "Europe/Berlin"
    moment = at(DAYS[zone][0])
    assert misplaced(Calendar(ground, zone), moment, -0.001) == [moment]


def literal(sql: str) -> str:
    """Return SQL for `Ground.run`, which fills in braces and parameters."""
    return sql.replace("{", "{{").replace("}", "}}").replace("%", "%%")


def test_what_is_swept_after_midnight_is_charged_to_its_own_day(ground: Ground) -> None:
    zone = "Europe/Berlin"
    calendar = Calendar(ground, zone)
    moment, rule = at(DAYS[zone][0]), calendar.budget("day")
    calendar.go_to(moment - timedelta(seconds=5))
    calendar.held(rule)
    other = ground.session(calendar.clock)
    for _ in range(8):
        calendar.clock.forward(5)
        other.beat()
    assert other.sweep(Charges()) == 1
    calendar.held(rule)
    assert [bucket[2:] for bucket in calendar.buckets(rule)] == [(FULL, 0), (0, FULL)]
    assert ground.verify().ok
