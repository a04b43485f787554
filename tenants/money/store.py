"""What the writer needs of a database; PostgreSQL and SQLite each do it in their own file.

Locks are taken in one order everywhere: buckets by id, then holds by id, then inserts.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Protocol
from uuid import UUID

from tenants.money.chain import Head, Linked
from tenants.money.claims import Claim, Claimed, ClaimKey
from tenants.money.decide import Attempt, Effects
from tenants.money.ops import BucketState, Past
from tenants.money.rows import HoldRow
from tenants.money.runs import RunState, Step

# For how long a writer's stamp speaks for its holds and claims.
LEASE_S = 30.0

# [bucket id, used, held, limit with its raise or None]
State = tuple[int, int, int, int | None]


class StoreError(Exception):
    """The database refused; nothing of the transaction is left."""


class SurpriseError(StoreError):
    """A group was not as supposed: something does not fit, is gone or is there already."""


class LostError(StoreError):
    """The connection is gone: whether the last transaction committed is not known."""


class BucketKey(tuple[int, str, str]):
    """Budget, subject and period key of a bucket."""

    __slots__ = ()


class Store(Protocol):
    """One connection, used by one thread. Outside `begin … commit` every call commits itself."""

    fast: bool  # whether `apply` alone, supposing that all fits, is worth a try
    lease_s: float

    def open(self) -> None: ...
    def close(self) -> None: ...
    def cut(self) -> None:
        """Break a call that hangs; called from another thread."""

    def register(self, host: str, pid: int) -> int: ...
    def head(self, writer_id: int) -> Head: ...
    def beat(self, writer_id: int, *, stopped: bool = False) -> datetime: ...

    def now(self) -> datetime: ...
    def make_bucket(
        self, tenant_id: int, key: BucketKey, starts_at: datetime, ends_at: datetime | None
    ) -> int: ...

    def begin(self) -> None: ...
    def commit(self) -> None: ...
    def rollback(self) -> None: ...

    def lock_buckets(self, ids: Collection[int], now: datetime) -> dict[int, BucketState]: ...
    def lock_holds(self, ids: Collection[UUID]) -> dict[UUID, HoldRow]: ...
    def lock_expired(self, ids: Collection[UUID]) -> dict[UUID, HoldRow]:
        """Lock those that are still expired: an owner may have come back in between."""

    def read_holds(self, ids: Collection[UUID]) -> dict[UUID, HoldRow]: ...
    def past(self, attempts: Collection[Attempt]) -> dict[Attempt, tuple[Past, ...]]: ...

    def claim(self, claims: Sequence[Claim], writer_id: int) -> dict[ClaimKey, Claimed]:
        """Claim each key that nobody has; return what stands under each, locked."""

    def step(self, step: Step) -> RunState:
        """Count a step if the run has one left; return how the run stands."""

    def apply(
        self, effects: Effects, entries: Sequence[Linked], writer_id: int, head: Head
    ) -> tuple[datetime, Sequence[State]]:
        """Write all of it under the guard, or raise SurpriseError and write nothing.

        Marks, alerts, alarms and answers of claims are not among it: see `annotate`.
        """

    def annotate(self, effects: Effects) -> None: ...
    def checkpoint(self, seen: Mapping[UUID, int]) -> None: ...
    def expired(self, limit: int) -> Iterable[HoldRow]: ...
    def sweep_claims(self, limit: int) -> None:
        """Remove claims that are too old, and those whose writer is gone before an answer."""


def in_order(claims: Sequence[Claim]) -> list[Claim]:
    """Return the first claim of each key, in the order in which keys are locked."""
    first: dict[ClaimKey, Claim] = {}
    for claim in claims:
        first.setdefault(claim.place, claim)
    return [first[place] for place in sorted(first)]


def bucket_state(row: Any) -> BucketState:  # noqa: ANN401 - a row of whatever was selected
    """Return a locked bucket; `thresholds` is JSON text of fractions."""
    return BucketState(
        id=row.id,
        starts_at=row.starts_at,
        ends_at=row.ends_at,
        used_nano=row.used_nano,
        held_nano=row.held_nano,
        limit_nano=row.limit_nano,
        hard=bool(row.hard),
        raise_nano=row.raise_nano,
        thresholds_ppm=tuple(
            round(Decimal(str(each)) * 1_000_000) for each in json.loads(row.thresholds)
        ),
        alerted_ppm=row.alerted_ppm,
    )
