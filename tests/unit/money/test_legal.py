"""The judge of concurrent histories is just: it finds the order there is, and none that is not."""

from typing import Any, Literal

import pytest

from tests.unit.money.legal import Ask, Call, is_legal

BUDGET = 1
Span = tuple[float, float]


def call(
    act: Literal["admit", "settle", "release", "limit"],
    amount: int,
    span: Span,
    *answer: Any,
    attempt: int = 1,
) -> Call:
    return Call(Ask(act, attempt, amount, (BUDGET,), "s"), *span, answer)


def admit(attempt: int, amount: int, span: Span, *answer: Any) -> Call:
    return call("admit", amount, span, *answer, attempt=attempt)


@pytest.mark.parametrize(
    ("calls", "legal"),
    [
        ([admit(1, 30, (0, 1), "held", 20), admit(2, 30, (2, 3), "refused", 0, 30)], True),
        # The second was answered before the first asked.
        ([admit(1, 30, (2, 3), "held", 20), admit(2, 30, (0, 1), "refused", 0, 30)], False),
        # At the same time either may be first, but not both.
        ([admit(1, 30, (0, 2), "held", 20), admit(2, 30, (1, 3), "refused", 0, 30)], True),
        ([admit(1, 30, (0, 2), "refused", 0, 30), admit(2, 30, (1, 3), "held", 20)], True),
        ([admit(1, 30, (0, 2), "held", 20), admit(2, 30, (1, 3), "held", 20)], False),
        ([admit(1, 30, (0, 2), "refused", 0, 30), admit(2, 30, (1, 3), "refused", 0, 30)], False),
        # What was given back is free as soon as that was answered.
        (
            [
                admit(1, 30, (0, 1), "held", 20),
                call("release", 0, (2, 3)),
                admit(2, 50, (4, 5), "held", 0),
            ],
            True,
        ),
        (
            [
                admit(1, 30, (0, 1), "held", 20),
                call("settle", 10, (2, 3), "settled", 40),
                admit(2, 50, (4, 5), "refused", 0, 30),
            ],
            False,
        ),
        # A limit that is changed meanwhile may be the old or the new one.
        ([call("limit", 10, (0, 3)), admit(1, 30, (1, 2), "held", 20)], True),
        ([call("limit", 10, (0, 3)), admit(1, 30, (1, 2), "refused", 0, 0)], True),
        ([call("limit", 10, (0, 1)), admit(1, 30, (2, 3), "held", 20)], False),
    ],
)
def test_a_history_is_legal_if_some_order_explains_it(calls: list[Call], legal: bool) -> None:
    assert is_legal(calls, {BUDGET: 50}) is legal
