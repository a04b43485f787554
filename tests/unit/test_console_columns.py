"""What people read in the console's lists."""

from datetime import UTC, datetime, timedelta

import pytest

from tenants.admin.columns import NOTHING, ago, duration, fact, facts_table, money

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("nano", "text"),
    [
        (None, NOTHING),
        (0, "$0.00"),
        (300_000_000, "$0.30"),
        (1_234_567_890_123, "$1,234.57"),
        (1_234_567, "$0.00123"),
        (12, "$0.000000012"),
        (999_999_999, "$1.00"),
        (-2_500_000_000, "$-2.50"),
    ],
)
def test_money_has_cents_above_a_dollar_and_three_digits_below(nano: int | None, text: str) -> None:
    assert money(nano) == text


@pytest.mark.parametrize(("past", "text"), [(90, "1 min ago"), (-7200, "in 2 h"), (0, "0 s ago")])
def test_a_time_is_shown_as_its_distance_and_kept_exact(past: int, text: str) -> None:
    moment = NOW - timedelta(seconds=past)
    shown = ago(moment, now=NOW)
    assert f">{text}<" in shown
    assert moment.isoformat() in shown


@pytest.mark.parametrize(("ms", "text"), [(840.2, "840 ms"), (12_340, "12.34 s"), (None, NOTHING)])
def test_a_duration_has_its_unit(ms: float | None, text: str) -> None:
    assert duration(ms) == text


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("amount_nano", 10**9, "$1.00"),
        ("wait_ms", 1500, "1.50 s"),
        ("used", 12345, "12,345"),
        ("allowed", False, "no"),
        ("tags", {"team": "a"}, "team a"),
        ("models", ["a", "b"], "a, b"),
        ("reason", None, NOTHING),
    ],
)
def test_a_fact_is_shown_in_the_unit_its_name_tells(name: str, value: object, text: str) -> None:
    assert fact(name, value) == text


def test_a_table_of_facts_is_text_whatever_stands_in_it() -> None:
    table = facts_table([{"<b>": "<img>"}, {"other": 1}])
    assert "<img>" not in table
    assert "<b>" not in table
    assert facts_table([]) == NOTHING
