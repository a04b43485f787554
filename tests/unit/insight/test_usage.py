"""Usage is what the log says, by any groups, page by page, and no cell of a file is a formula."""

import csv
import json
from datetime import UTC, date, datetime, timedelta
from io import StringIO
from typing import Any

import pytest

from llm_gateway.insight.export import FOCUS, FOCUS_GROUPS, MEASURES, focus_csv, safe, usage_csv
from llm_gateway.insight.usage import Question, UsageRow, cursor_of, is_group, usage
from llm_gateway.recorder.journal import Journal
from tests.unit.request_log import call

START = datetime(2026, 11, 1, tzinfo=UTC)


def question(*groups: str, zone: str = "UTC", days: int = 30, **fields: Any) -> Question:
    known = {"tenant_id": 1, "start": START, "end": START + timedelta(days=days)}
    return Question(groups=groups, zone=zone, **{**known, **fields})


def keys(rows: list[UsageRow]) -> list[tuple[Any, ...]]:
    return [row.keys for row in rows]


def test_usage_is_grouped_by_everything_that_was_asked(alias: str, journal: Journal) -> None:
    at = START + timedelta(hours=5)
    journal.write([
        call(created_at=at, tags={"team": "a"}, project_name="search", cost_nano=1),
        call(created_at=at, tags={"team": "a"}, project_name="search", cost_nano=2),
        call(created_at=at, tags={"team": "b"}, key_name="other", provider="beta", cost_nano=4),
        call(created_at=at + timedelta(days=1), cost_nano=8, outcome="failed"),
        call(created_at=at, model="", provider="", requested_model="gone", outcome="refused"),
    ])  # fmt: skip

    def asked(*groups: str) -> list[tuple[Any, ...]]:
        return keys(usage(question(*groups), limit=50, using=alias))

    assert asked("day") == [(date(2026, 11, 1),), (date(2026, 11, 2),)]
    assert asked("tag.team") == [("",), ("a",), ("b",)]
    assert asked("model") == [("gone",), ("gpt-4o",)]
    assert asked("key", "provider") == [("dev", ""), ("dev", "alpha"), ("other", "beta")]
    assert [json.loads(key) for (key,) in asked("tag")] == [{"team": "a"}, {"team": "b"}, {}]
    rows = usage(question("project"), limit=50, using=alias)
    assert [(row.keys, row.requests, row.errors) for row in rows] == [
        (("",), 3, 2),
        (("search",), 2, 0),
    ]
    assert rows[1].cost_nano == 3


def test_a_tenant_sees_its_own_and_nothing_out_of_the_span(alias: str, journal: Journal) -> None:
    journal.write([
        call(created_at=START - timedelta(seconds=1)),
        call(created_at=START),
        call(created_at=START + timedelta(days=1)),
        call(created_at=START, tenant_id=2),
    ])  # fmt: skip
    (row,) = usage(question("day", days=1), limit=50, using=alias)
    assert row.requests == 1
    assert usage(question("day", tenant_id=3), limit=50, using=alias) == []


@pytest.mark.parametrize(
    ("zone", "before", "after"),
    [
        # the first full hour of UTC at or after midnight there, and the hour before it
        ("Europe/Berlin", "2026-11-01T22:59:00+00:00", "2026-11-01T23:00:00+00:00"),
        ("America/New_York", "2026-11-02T04:59:00+00:00", "2026-11-02T05:00:00+00:00"),
        ("Asia/Kathmandu", "2026-11-01T18:59:00+00:00", "2026-11-01T19:00:00+00:00"),
        ("Asia/Kolkata", "2026-11-01T18:59:00+00:00", "2026-11-01T19:00:00+00:00"),
    ],
)
def test_days_begin_with_the_tenants_own_midnight(
    alias: str, journal: Journal, zone: str, before: str, after: str
) -> None:
    journal.write([call(created_at=datetime.fromisoformat(at)) for at in (before, after)])
    rows = usage(question("day", zone=zone), limit=50, using=alias)
    assert keys(rows) == [(date(2026, 11, 1),), (date(2026, 11, 2),)]


def test_the_day_clocks_are_set_back_has_25_hours(alias: str, journal: Journal) -> None:
    journal.write([
        call(created_at=datetime(2026, 10, 24, 22, tzinfo=UTC) + timedelta(hours=hour))
        for hour in range(25)
    ])  # fmt: skip
    asked = question("day", zone="Europe/Berlin", start=START - timedelta(days=10))
    (row,) = usage(asked, limit=50, using=alias)
    assert (row.keys, row.requests) == ((date(2026, 10, 25),), 25)


@pytest.mark.parametrize("groups", [("day", "model"), ("tag",), ("tag.t", "day"), ("model", "tag")])
def test_pages_are_the_whole_without_gap_or_overlap(
    alias: str, journal: Journal, groups: tuple[str, ...]
) -> None:
    journal.write([
        call(
            created_at=START + timedelta(days=number % 5),
            model=f"m{number % 3}",
            tags={"t": ["", "ä", "Z", "a b", "'"][number % 5], "u": "x"} if number % 7 else {},
        )
        for number in range(60)
    ])  # fmt: skip
    whole = usage(question(*groups), limit=1000, using=alias)
    paged: list[UsageRow] = []
    after = None
    while page := usage(question(*groups), limit=2, after=after, using=alias):
        paged += page
        after = cursor_of(page[-1])
    assert paged == whole
    assert sum(row.requests for row in paged) == 60


@pytest.mark.parametrize("after", [["2026-11-01"], ["x", "y"], ["2026-13-01", "y"]])
def test_a_cursor_of_something_else_is_refused(alias: str, after: list[str]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        usage(question("day", "model"), limit=2, after=after, using=alias)


def test_only_what_can_be_grouped_by_is_a_group() -> None:
    assert all(map(is_group, ("day", "model", "key", "project", "tag", "tag.a'b", "provider")))
    assert not any(map(is_group, ("", "tags", "tag.", "cost_nano", "pk", "tenant_id")))


# --- files ---------------------------------------------------------------------------------------


def row(*keys: Any, **values: Any) -> UsageRow:
    sums = dict.fromkeys(UsageRow.__struct_fields__[1:], 0)
    return UsageRow(keys=keys, **{**sums, **values})


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\tx", "\r=1", "=cmd|' /C calc'!A0"])
def test_a_cell_that_spreadsheets_would_run_is_text(text: str) -> None:
    assert safe(text) == f"'{text}"
    written = usage_csv(("model",), [row(text)])
    assert next(csv.reader(StringIO(written.splitlines()[1])))[0].startswith("'")


def test_other_cells_stay_as_they_are() -> None:
    assert [safe(cell) for cell in ("a=b", 5, "", "0.5")] == ["a=b", 5, "", "0.5"]


def test_a_file_has_a_line_for_each_group() -> None:
    made = row(date(2026, 11, 1), '{"b": "2", "a": "=1"}', requests=3, cost_nano=1_100_000)
    head, line = csv.reader(StringIO(usage_csv(("day", "tag"), [made])))
    assert head == ["day", "tag", *MEASURES]
    assert line[:3] == ["2026-11-01", '{"a": "=1", "b": "2"}', "3"]
    assert line[head.index("cost_usd")] == "0.001100000"


def test_the_focus_file_has_the_columns_of_its_specification() -> None:
    made = row(
        *(date(2026, 12, 31), "search", "dev", "alpha", "gpt-4o", '{"team": "a"}'),
        input_tokens=100,
        output_tokens=20,
        requests=2,
        cost_nano=1_100_000,
    )
    assert len(FOCUS_GROUPS) == len(made.keys)
    (line,) = csv.DictReader(StringIO(focus_csv((7, "acme"), "Europe/Berlin", [made])))
    assert tuple(line) == FOCUS
    assert {line[name] for name in FOCUS if name.endswith("Cost")} == {"0.001100000"}
    assert (line["BillingAccountId"], line["BillingAccountName"]) == ("7", "acme")
    assert (line["ChargePeriodStart"], line["ChargePeriodEnd"]) == (
        "2026-12-30T23:00:00Z",
        "2026-12-31T23:00:00Z",
    )
    assert (line["BillingPeriodStart"], line["BillingPeriodEnd"]) == (
        "2026-11-30T23:00:00Z",
        "2026-12-31T23:00:00Z",
    )
    assert (line["ConsumedQuantity"], line["ConsumedUnit"]) == ("120", "Tokens")
    assert (line["ServiceCategory"], line["ChargeCategory"]) == (
        "AI and Machine Learning",
        "Usage",
    )
    assert json.loads(line["Tags"]) == {"team": "a"}
