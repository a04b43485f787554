"""Which budgets bind an attempt."""

from typing import Any

from tenants.money.applicable import applicable
from tenants.types import BudgetRule


def rule(**values: Any) -> BudgetRule:
    known: dict[str, Any] = {
        "id": 1,
        "name": "b",
        "scope": "tenant",
        "owner_id": 1,
        "period": "day",
        "zone": "UTC",
        "limit_nano": 1,
        "hard": True,
        "mode": "strict",
    }
    return BudgetRule(**known | values)


def test_a_budget_of_another_model_does_not_bind() -> None:
    rules = [rule(id=1, model="gpt-4o"), rule(id=2, model="claude"), rule(id=3)]
    assert [each.id for each, _ in applicable(rules, model="gpt-4o")] == [1, 3]


def test_a_budget_on_a_route_binds_what_was_asked_for_by_that_name() -> None:
    rules = [rule(id=1, model="smart"), rule(id=2, model="gpt-4o"), rule(id=3, model="other")]
    bound = applicable(rules, model="gpt-4o", asked="smart")
    assert [each.id for each, _ in bound] == [1, 2]


def test_each_subject_has_its_own_bucket() -> None:
    rules = [rule(per="end_user"), rule(per="tag.team"), rule(per="run"), rule()]
    bounds = applicable(rules, model="m", end_user="ada", tags={"team": "red"}, run="r1")
    assert [subject for _, subject in bounds] == ["ada", "red", "r1", ""]


def test_leaving_a_name_out_is_no_way_around_a_budget() -> None:
    rules = [rule(per="end_user"), rule(per="tag.team"), rule(per="run")]
    bounds = applicable(rules, model="m")
    assert [(each.per, subject) for each, subject in bounds] == [("end_user", ""), ("tag.team", "")]


def test_a_long_or_odd_subject_is_still_one_subject() -> None:
    long = [
        applicable([rule(per="end_user")], model="m", end_user="x" * n)[0][1] for n in (900, 901)
    ]
    assert long[0] != long[1]
    assert max(map(len, long)) <= 128
    assert applicable([rule(per="end_user")], model="m", end_user="a\0\ud800")[0][1] == "a?"
