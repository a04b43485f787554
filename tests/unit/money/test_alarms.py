"""What is wrong with how an attempt is charged is found, told once a day, and changes no charge."""

from typing import Any

import pytest

from tenants.money.alarms import KINDS, alarms_of
from tenants.money.types import Hold, Settlement
from tests.unit.money.ground import Ground, ground
from tests.unit.money.ground_values import budget_rule, request, settled

__all__ = ["ground"]

HELD = 10_000
MARGIN = {"unit": "margin", "amount_nano": 500}


def kinds(amount_nano: int, *, hard: bool = True, **fields: Any) -> list[str]:
    settlement = Settlement(outcome="settled", amount_nano=amount_nano, **fields)
    return [alarm.kind for alarm in alarms_of(request(HELD, budget_rule(1, hard=hard)), settlement)]


@pytest.mark.parametrize(
    ("amount", "fields", "expected"),
    [
        (HELD, {}, []),
        (HELD + 1, {}, ["hold_exceeded"]),
        (HELD + 1, {"hard": False}, []),
        (5, {"usage": {"output_token": 5, "invalid": "-1"}}, ["usage_invalid"]),
        (1000, {"provider_cost_nano": 1010}, []),
        (1000, {"provider_cost_nano": 1011}, ["cost_differs"]),
        (1000, {"provider_cost_nano": 0}, ["cost_differs"]),
        (0, {"provider_cost_nano": 1}, ["cost_differs"]),
        (0, {"provider_cost_nano": 0}, []),
        (1500, {"provider_cost_nano": 1000, "lines": [MARGIN]}, []),
        (1500, {"provider_cost_nano": 1500, "lines": [MARGIN]}, ["cost_differs"]),
    ],
)
def test_what_is_wrong_is_named(amount: int, fields: dict[str, Any], expected: list[str]) -> None:
    assert kinds(amount, **fields) == expected


def test_one_attempt_may_have_every_alarm() -> None:
    assert kinds(2 * HELD, usage={"invalid": "x"}, provider_cost_nano=1) == list(KINDS)


@pytest.mark.promise("M9")
async def test_an_alarm_stands_beside_its_entry_once_a_day(ground: Ground) -> None:
    """Charged in full, on the fast way or the careful one, however often it is settled."""
    rule = ground.budget(1000)
    ledger = ground.ledger()
    holds = [await ledger.admit(request(10, rule, model=model)) for model in "aab"]
    for hold in holds:
        assert isinstance(hold, Hold)
        await ledger.settle(hold, settled(30))
        await ledger.settle(hold, settled(30))
    good = await ledger.admit(request(10, rule))
    assert isinstance(good, Hold)
    await ledger.settle(good, settled(10))
    await ledger.close()
    rows = ground.run(
        "SELECT kind, model, attempt_no, said, CAST(sent_at AS text)"
        " FROM ledger_alarm ORDER BY model"
    )
    said = "Charged 0.000000030 USD, more than the 0.000000010 held for it."
    assert rows == [("hold_exceeded", name, 1, said, None) for name in "ab"]
    assert ground.entries() == [("settled", "attempt", amount) for amount in (30, 30, 30, 10)]
    assert ground.counters(rule) == (100, 0)
    assert ground.verify().ok
