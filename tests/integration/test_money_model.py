"""The ledger against a small model of it: the same random history on every store and path."""

from typing import Any
from uuid import UUID

import pytest
from msgspec import Struct
from typing_extensions import override

from tenants.money.postgres import PostgresStore
from tenants.money.store import Store
from tests.harness.database import Databases
from tests.harness.mutants import UnguardedPostgres, UnguardedSqlite
from tests.unit.money.ground import Ground, ground
from tests.unit.money.history import History

SEEDS = (1, 2, 3)
STEPS = 850  # of each seed twice, fast and careful: 5,100 on each database
__all__ = ["ground"]


class Commits(Struct):
    fast: int = 0


class Counting(PostgresStore):
    """Counts the groups that were done in one round trip."""

    commits: Commits

    @override
    def apply(self, *args: Any) -> Any:
        applied = super().apply(*args)
        self.commits.fast += 1
        return applied

    @override
    def commit(self) -> None:
        self.commits.fast -= 1  # of those that a transaction goes around
        super().commit()


@pytest.mark.promise("M4")
@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_the_ledger_does_what_the_model_does(
    ground: Ground, databases: Databases, seed: int, fast: bool
) -> None:
    if fast and databases.backend == "sqlite":
        seed += 10  # it has no fast path: another history instead of the same again
    commits = Commits()

    def make_store() -> Store:
        store = ground.store(postgres=Counting)
        if isinstance(store, Counting):
            store.fast, store.commits = fast, commits
        return store

    history = History(ground, seed, make_store)
    history.run(STEPS)
    check_entries(history)
    report = ground.verify()
    assert report.differences == []
    assert report.holds == len(history.model.holds)
    assert commits.fast >= (STEPS // 10 if fast and databases.backend == "postgres" else 0)
    happened = {act for act, times in history.acts.items() if times}
    assert happened >= {"Correct", "Note", "TakeStep", "TakeClaim", "DropClaim", "held again"}
    assert happened >= {"change_limit", "change_price", "move_key", "crash", "expire", "ended"}


@pytest.mark.promise("M4")
def test_a_ledger_without_its_guard_is_told_from_the_model(ground: Ground) -> None:
    """Mutation control: neither `decide` nor the database looks whether there is room."""
    history = History(
        ground, 1, lambda: ground.store(sqlite=UnguardedSqlite, postgres=UnguardedPostgres)
    )
    with pytest.raises(AssertionError):
        history.run(STEPS)


def check_entries(history: History) -> None:
    """Check that each request has the model's entries, each at the price its hold pinned."""
    written: dict[UUID, list[tuple[str, int]]] = {}
    rows = history.ground.run(
        "SELECT request_id, outcome, amount_nano, kind, price_version_id FROM ledger_entry"
        " ORDER BY request_id, seq"
    )
    pinned = {each.hold.request.request_id: each.price_version_id for each in history.known}
    for name, outcome, amount, kind, price_version_id in rows:
        request_id = UUID(str(name))
        written.setdefault(request_id, []).append((outcome, int(amount)))
        if kind == "attempt":
            assert price_version_id == pinned[request_id]
        assert amount >= 0 or kind in {"correction", "adjustment"}
    assert written == {key: value for key, value in history.model.entries.items() if value}
