"""The ledger against a small model of it: the same random history on every store and path."""

import random
from datetime import UTC, datetime
from typing import Any
from uuid import UUID  # noqa: TC003 - a Struct reads its annotations

import pytest
from msgspec import Struct

from tenants.ids import new_id
from tenants.money.ops import Admit, Mark, Op, Release, Settle
from tenants.money.types import Charges, Hold, Refusal
from tenants.types import BudgetRule
from tests.harness.database import Databases
from tests.unit.money.ground import Clock, Ground, ground
from tests.unit.money.ground_values import request, settled

STEPS = 420
__all__ = ["ground"]


class Kept(Struct):
    """What the model knows of a hold."""

    hold: Hold
    amount: int
    buckets: list[tuple[int, str]]
    marked: bool = False


class Model:
    """Budgets as plain sums; hours are periods."""

    def __init__(self) -> None:
        self.limits: dict[int, int | None] = {}
        self.used: dict[tuple[int, str], int] = {}
        self.held: dict[tuple[int, str], int] = {}
        self.holds: dict[UUID, Kept] = {}
        self.spent: dict[UUID, tuple[str, int]] = {}  # request id: outcome, sum of entries

    def admit(self, op: Admit, hour: str, result: Any) -> None:
        buckets = [(rule.id, hour) for rule, _ in op.request.buckets]
        fits = all(
            (limit := self.limits[rule]) is None
            or self.used.get(key, 0) + self.held.get(key, 0) + op.request.amount_nano <= limit
            for key in buckets
            for rule in key[:1]
        )
        assert isinstance(result, Hold if fits else Refusal)
        if isinstance(result, Hold):
            self.holds[result.id] = Kept(result, op.request.amount_nano, buckets)
            self._add(self.held, buckets, op.request.amount_nano)

    def settle(self, kept: Kept, outcome: str, amount: int) -> None:
        request_id = kept.hold.request.request_id
        before = self.spent.get(request_id)
        if before is None or (before[0] in {"orphan", "uncertain"} and outcome == "settled"):
            self.spent[request_id] = (outcome, amount)
            self._add(self.used, kept.buckets, amount - (before[1] if before else 0))
        self.free(kept)

    def free(self, kept: Kept) -> None:
        if self.holds.pop(kept.hold.id, None):
            self._add(self.held, kept.buckets, -kept.amount)

    @staticmethod
    def _add(sums: dict[tuple[int, str], int], keys: list[tuple[int, str]], amount: int) -> None:
        for key in keys:
            sums[key] = sums.get(key, 0) + amount


class History:
    """One random history of a session and its model, side by side."""

    def __init__(self, ground: Ground, seed: int, *, fast: bool) -> None:
        self.rng = random.Random(seed)
        self.ground = ground
        self.clock = Clock(ground, datetime(2026, 3, 28, 22, 50, tzinfo=UTC))
        self.fast = fast
        self.session = ground.session(self.clock, fast=fast)
        self.model = Model()
        self.rules = [self._rule(limit) for limit in (40, 90, 200, None)]
        self.known: list[Kept] = []
        self.ended: dict[UUID, tuple[str, int]] = {}

    def step(self) -> None:
        act = self.rng.choices(
            [self.group, self.change_limit, self.pass_time, self.expire, self.crash],
            [80, 6, 8, 4, 2],
        )[0]
        act()
        self.check()

    def group(self) -> None:
        ops: list[Op] = [self._op() for _ in range(self.rng.randint(1, 5))]
        results = self.session.commit(ops)
        hour = self.clock.now.strftime("%d %H")
        for op in ops:
            self._model_end(op)
        for op, result in zip(ops, results, strict=True):
            if isinstance(op, Admit):
                self.model.admit(op, hour, result)
                if isinstance(result, Hold):
                    self.known.append(self.model.holds[result.id])

    def change_limit(self) -> None:
        rule = self.rng.choice(self.rules[:3])
        self.model.limits[rule.id] = limit = self.rng.randint(0, 200)
        self.ground.set_limit(rule, limit)

    def pass_time(self) -> None:
        self.clock.forward(self.rng.choice([1, 600, 3600]))
        self.session.beat()

    def expire(self) -> None:
        """Let every hold pass its deadline, and sweep with an unbroken lease."""
        for _ in range(30):
            self.clock.forward(25)
            self.session.beat()
        while self.session.sweep(Charges()):
            pass
        for kept in list(self.model.holds.values()):
            outcome = "uncertain" if kept.marked else "orphan"
            # By default an orphan is charged its hold, an uncertain one its input and output.
            amount = min(kept.amount, 2 + 3) if kept.marked else kept.amount
            self.model.settle(kept, outcome, amount)

    def crash(self) -> None:
        """Leave everything as it is; another process goes on."""
        self.session.store.close()
        self.session = self.ground.session(self.clock, fast=self.fast)

    def check(self) -> None:
        counters = self.ground.all_counters()
        for rule in self.rules:
            sums = [
                sum(amount for (rule_id, _), amount in each.items() if rule_id == rule.id)
                for each in (self.model.used, self.model.held)
            ]
            assert list(counters.get(rule.id, (0, 0))) == sums

    def _op(self) -> Op:
        if not self.known or self.rng.random() < 0.45:
            rules = self.rng.sample(self.rules, self.rng.randint(0, 3))
            amount = self.rng.randint(0, 30)
            prices = {"input_nano": 2, "output_nano_per_million": 1_000_000}
            return Admit(new_id(), request(amount, *rules, **prices))
        kept = self.rng.choice(self.known[-12:])
        choice = self.rng.random()
        if choice < 0.1:
            return Release(kept.hold.id)
        if choice < 0.2:
            return Mark(kept.hold.id, 3)
        # A replay brings what it brought before.
        amount = self.ended.setdefault(kept.hold.id, ("settled", self.rng.randint(0, 40)))[1]
        return Settle(kept.hold, settled(amount))

    def _model_end(self, op: Op) -> None:
        if isinstance(op, Settle):
            kept = next(each for each in self.known if each.hold.id == op.hold.id)
            self.model.settle(kept, "settled", op.settlement.amount_nano)
        elif isinstance(op, Release | Mark):
            live = self.model.holds.get(op.hold_id)
            if live and isinstance(op, Release):
                self.model.free(live)
            elif live:
                live.marked = True

    def _rule(self, limit: int | None) -> BudgetRule:
        rule = self.ground.budget(limit, period="hour")
        self.model.limits[rule.id] = limit
        return rule


@pytest.mark.promise("M4")
@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_ledger_does_what_the_model_does(
    ground: Ground, databases: Databases, seed: int, fast: bool
) -> None:
    if fast and databases.backend == "sqlite":
        seed += 10  # it has no fast path: another history instead of the same again
    history = History(ground, seed, fast=fast and databases.backend == "postgres")
    for _ in range(STEPS):
        history.step()
    report = ground.verify()
    assert report.differences == []
    assert report.terminal_entries == len(history.model.spent)
    assert report.holds == len(history.model.holds)
