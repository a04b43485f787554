"""Five hundred small histories of callers at the same time: each fits some order one by one.

On PostgreSQL each caller is a process of its own, on SQLite all share the one there may be.
"""

import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import msgspec
import pytest

from tests.harness.processes import PROJECT
from tests.unit.money.callers import Task
from tests.unit.money.ground import Ground, ground
from tests.unit.money.legal import Ask, Call, is_legal

HISTORIES, CALLERS, MOST = 500, 4, 10
SOON_S = 0.002  # until all have read their part
__all__ = ["ground"]

Worker = subprocess.Popen[str]

pytestmark = pytest.mark.promise("M4")


@contextmanager
def fleet(ground: Ground, store: str) -> Iterator[list[Worker]]:
    """Start the processes: the callers are dealt out to them evenly."""
    command = [sys.executable, "-m", "tests.unit.money.callers", ground.url, store]
    processes = [
        subprocess.Popen(  # noqa: S603 - our own
            command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(CALLERS if ground.backend == "postgres" else 1)
    ]
    try:
        for each in processes:
            assert each.stdout
            assert each.stdout.readline() == "ready\n"
        yield processes
    finally:
        for each in processes:
            each.communicate()


class Histories:
    """Two budgets and callers who compete for them; each history has buckets of its own."""

    def __init__(self, ground: Ground, seed: int) -> None:
        self.ground = ground
        self.rng = random.Random(seed)
        self.budgets = (ground.budget(0).id, ground.budget(0).id)
        self.answers: Counter[str] = Counter()
        self.overlapping = 0

    def run(self, workers: list[Worker], number: int) -> bool:
        """Play one history; say whether what was told is legal."""
        limits: dict[int, int | None] = {}
        for budget in self.budgets:
            limits[budget] = self.rng.randint(20, 60)
            self.ground.run(
                "UPDATE ledger_budget SET limit_nano = ? WHERE id = ?", (limits[budget], budget)
            )
        calls = self._play(workers, self._asks(f"history {number}"))
        self.answers.update(str(call.answer[0]) for call in calls if call.answer)
        self.overlapping += overlap(calls)
        return is_legal(calls, limits)

    def _play(self, workers: list[Worker], asks: list[list[Ask]]) -> list[Call]:
        at, share = time.monotonic() + SOON_S, len(asks) // len(workers)
        for place, worker in enumerate(workers):
            task = Task(at, asks[place * share : (place + 1) * share])
            assert worker.stdin
            worker.stdin.write(msgspec.json.encode(task).decode() + "\n")
            worker.stdin.flush()
        calls: list[Call] = []
        for worker in workers:
            assert worker.stdout
            calls += msgspec.json.decode(worker.stdout.readline(), type=list[Call])
        return calls

    def _asks(self, subject: str) -> list[list[Ask]]:
        """Return what each caller does: ten acts in all, most of them admissions and their ends."""
        asks: list[list[Ask]] = [[] for _ in range(CALLERS)]
        for attempt in range(MOST):
            caller = asks[attempt % CALLERS]
            budgets = tuple(self.rng.sample(self.budgets, self.rng.randint(1, 2)))
            before = caller[-1] if caller else None
            if before and before.act == "admit" and self.rng.random() < 0.6:
                act = self.rng.choice(("settle", "settle", "release"))
                amount = self.rng.randint(0, 25)
                caller.append(Ask(act, before.attempt, amount, before.budgets, subject))  # type: ignore[arg-type] # one of them
            elif self.rng.random() < 0.12:
                caller.append(Ask("limit", 0, self.rng.randint(10, 70), budgets[:1], subject))
            else:
                amount = self.rng.randint(5, 30)
                caller.append(Ask("admit", attempt + 1, amount, budgets, subject))
        return asks


def overlap(calls: list[Call]) -> bool:
    """Say whether any two were under way at the same time."""
    ordered = sorted(calls, key=lambda call: call.began)
    return any(b.began < a.ended for a, b in pairwise(ordered))


def test_every_concurrent_history_fits_an_order_one_by_one(ground: Ground) -> None:
    histories = Histories(ground, seed=1)
    with fleet(ground, "plain") as workers:
        illegal = [number for number in range(HISTORIES) if not histories.run(workers, number)]
    assert illegal == []
    assert histories.overlapping > HISTORIES * 0.9
    assert min(histories.answers[each] for each in ("held", "refused", "settled")) > HISTORIES / 2
    assert ground.verify().ok


def test_decisions_on_what_has_changed_meanwhile_are_found(ground: Ground) -> None:
    """Mutation control: buckets are not locked while it is decided."""
    histories = Histories(ground, seed=2)
    with fleet(ground, "mutated") as workers:
        assert not all(histories.run(workers, number) for number in range(HISTORIES))
