"""Requests and settlements as the tests of the ledger make them."""

from typing import Any

from tenants.ids import new_id
from tenants.money.types import Bound, HoldRequest, Settlement
from tenants.types import BudgetRule, Period

KEY = b"obviously-a-test-key-of-32-bytes"
TENANT = 1


def request(amount_nano: int, *bounds: Bound | BudgetRule, **values: Any) -> HoldRequest:
    known: dict[str, Any] = {
        "request_id": new_id(),
        "attempt_no": 1,
        "tenant_id": TENANT,
        "project_id": None,
        "api_key_id": None,
        "deployment_id": 4,
        "model": "m",
        "price_version_id": 5,
        "amount_nano": amount_nano,
        "buckets": tuple((each, "") if isinstance(each, BudgetRule) else each for each in bounds),
    }
    return HoldRequest(**known | values)


def settled(amount_nano: int, **values: Any) -> Settlement:
    return Settlement(
        outcome=values.pop("outcome", "settled"),
        amount_nano=amount_nano,
        usage={"output_token": amount_nano},
        **values,
    )


def budget_rule(budget_id: int, period: Period = "total", **values: Any) -> BudgetRule:
    known: dict[str, Any] = {
        "id": budget_id,
        "name": f"budget-{budget_id}",
        "scope": "tenant",
        "owner_id": TENANT,
        "period": period,
        "zone": "UTC",
        "limit_nano": 0,
        "hard": True,
        "mode": "strict",
    }
    return BudgetRule(**known | values)
