"""Do a group of operations in one transaction: lock, read, decide, write.

Every surprise is decided here; the fast path only supposes.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from uuid import UUID

from msgspec import Struct

from tenants.money.chain import Head, link
from tenants.money.decide import Attempt, Result, Values, decide
from tenants.money.ops import (
    Admit,
    Correct,
    Expire,
    HoldAgain,
    Mark,
    Note,
    Op,
    Place,
    Release,
    Settle,
    TakeClaim,
    TakeStep,
    bound_places,
)
from tenants.money.places import Places
from tenants.money.rows import HoldRow
from tenants.money.store import Store, StoreError, SurpriseError

_TRIES = 3


class GoneError(StoreError):
    """A bucket that was known is not there any more: the tables were emptied."""


class Chained(Struct, frozen=True):
    """Who writes, with which key."""

    writer_id: int
    key: bytes


def apply_carefully(
    store: Store, places: Places, chained: Chained, head: Head, ops: Sequence[Op]
) -> tuple[list[Result], Head, datetime]:
    """Return the results, the new head of the chain and the instant; committed when it returns."""
    now = store.now()
    for left in reversed(range(_TRIES)):
        found = places.make(store, _wanted(ops), now)
        store.begin()
        try:
            now = store.now()
            if any(places.find(place, now) is None for place in found):
                store.rollback()  # a period ended meanwhile
                continue
            results, head = _decide_and_write(store, chained, head, ops, (now, found))
            store.commit()
        except SurpriseError:
            store.rollback()
            if not left:
                raise
            continue  # a limit was changed between the look and the write
        except GoneError:
            store.rollback()
            places.forget()
            raise
        except BaseException:
            store.rollback()
            raise
        return results, head, now
    raise StoreError("the clock of the database does not stand still")


def _decide_and_write(
    store: Store,
    chained: Chained,
    head: Head,
    ops: Sequence[Op],
    at: tuple[datetime, dict[Place, int]],
) -> tuple[list[Result], Head]:
    now, found = at
    expiring = {op.hold.id for op in ops if isinstance(op, Expire)}
    hold_ids = {hold_id for op in ops if (hold_id := _hold_id(op))} - expiring
    ids = {*found.values(), *_bucket_ids(store, ops)}
    buckets = store.lock_buckets(ids, now) if ids else {}
    if not buckets.keys() >= ids:
        raise GoneError(f"buckets are gone: {sorted(ids - buckets.keys())}")
    values = Values(
        now=now,
        places=found,
        buckets=buckets,
        holds=_lock_holds(store, hold_ids, expiring),
        past=store.past([attempt for op in ops if (attempt := _attempt(op))]),
        claims=store.claim(
            [op.claim for op in ops if isinstance(op, TakeClaim)], chained.writer_id
        ),
        steps={
            step.request_id: store.step(step)
            for step in sorted(
                (op.step for op in ops if isinstance(op, TakeStep)), key=lambda each: each.place
            )
        },
    )
    results, effects = decide(values, ops)
    entries, head = link(chained.key, chained.writer_id, head, effects.entries)
    # Announced first: the guard of `apply` refuses a threshold that nobody was told of.
    store.annotate(effects)
    store.apply(effects, entries, chained.writer_id, head)
    return results, head


def _lock_holds(store: Store, ids: set[UUID], expiring: set[UUID]) -> dict[UUID, HoldRow]:
    found = store.lock_holds(ids) if ids else {}
    return found | store.lock_expired(expiring) if expiring else found


def _bucket_ids(store: Store, ops: Sequence[Op]) -> Iterator[int]:
    """Yield the buckets of all holds; they never change, so they may be read before the lock."""
    for op in ops:
        if isinstance(op, Settle | Expire | HoldAgain):
            yield from op.hold.bucket_ids or ()
        elif isinstance(op, Correct):
            yield from op.entry.bucket_ids
    unknown = [op.hold_id for op in ops if isinstance(op, Release | Mark)]
    if unknown:
        for hold in store.read_holds(unknown).values():
            yield from hold.bucket_ids


def _wanted(ops: Sequence[Op]) -> list[tuple[int, Place]]:
    wanted: list[tuple[int, Place]] = []
    for op in ops:
        if isinstance(op, Admit):
            request = op.request
        elif isinstance(op, Settle) and op.hold.bucket_ids is None:
            request = op.hold.request
        else:
            continue
        wanted.extend((request.tenant_id, place) for place in bound_places(request))
    return wanted


def _hold_id(op: Op) -> UUID | None:
    match op:
        case Settle() | Expire() | HoldAgain():
            return op.hold.id
        case Release() | Mark():
            return op.hold_id
        case _:
            return None


def _attempt(op: Op) -> Attempt | None:
    match op:
        case Settle() | HoldAgain():
            return op.hold.request.request_id, op.hold.request.attempt_no
        case Expire():
            return op.hold.request_id, op.hold.attempt_no
        case Note() | Correct():
            return op.entry.request_id, op.entry.attempt_no
        case _:
            return None
