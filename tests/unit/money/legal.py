"""Say whether what concurrent callers were told fits one order of their calls, done one by one.

Who was answered before another one asked comes before him; every order that this leaves is tried.
"""

from collections.abc import Sequence
from typing import Any, Literal
from uuid import UUID

from msgspec import Struct

from tenants.money.ops import Admit, Release, Settle
from tenants.money.types import Bound, Hold
from tests.unit.money.ground_values import budget_rule, request, settled
from tests.unit.money.model import Answer, Model


class Ask(Struct, frozen=True):
    """What one caller does. `attempt` names an admission within the history and what ends it."""

    act: Literal["admit", "settle", "release", "limit"]
    attempt: int
    amount: int
    budgets: tuple[int, ...]
    subject: str


class Call(Struct, frozen=True):
    """An ask with its answer, and when it was asked and answered: one clock for all callers."""

    ask: Ask
    began: float
    ended: float
    answer: tuple[Any, ...]


def is_legal(calls: Sequence[Call], limits: dict[int, int | None]) -> bool:
    """Look for an order of the calls in which the model answers each as it was answered."""
    tried: set[tuple[frozenset[int], tuple[int | None, ...]]] = set()

    def fits(left: frozenset[int], model: Model) -> bool:
        state = left, tuple(model.limits.values())
        if state in tried:
            return False  # what is used and held follows from who has had his turn
        tried.add(state)
        first_end = min((calls[place].ended for place in left), default=0)
        for place in left:
            if calls[place].began <= first_end:
                after = model.copy()
                if do(after, calls[place].ask) == calls[place].answer and (
                    len(left) == 1 or fits(left - {place}, after)
                ):
                    return True
        return not left

    return fits(frozenset(range(len(calls))), Model(dict(limits)))


def do(model: Model, ask: Ask) -> tuple[Any, ...]:
    """Return what the model answers; nothing is an empty answer."""
    if ask.act == "limit":
        model.limits[ask.budgets[0]] = ask.amount
        return ()
    hold_id = UUID(int=ask.attempt)
    if ask.act == "release":
        model.do(Release(hold_id))
        return ()
    answer: Answer
    if ask.act == "admit":
        wanted = request(ask.amount, *bounds(ask), request_id=hold_id)
        answer = model.do(Admit(hold_id, wanted))
    else:
        hold = Hold(id=hold_id, request=request(0, request_id=hold_id), bucket_ids=())
        answer = model.do(Settle(hold, settled(ask.amount)))
    return answer or ()


def bounds(ask: Ask) -> list[Bound]:
    return [(budget_rule(each), ask.subject) for each in ask.budgets]
