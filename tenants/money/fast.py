"""Suppose that a whole group fits and nothing surprises; the database checks exactly that."""

from collections.abc import Collection, Sequence
from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from tenants.money.alarms import alarms_of
from tenants.money.decide import Effects, Result, tightest
from tenants.money.ops import Admit, Note, Op, Settle, bound_places
from tenants.money.places import Places
from tenants.money.rows import entry_row, hold_row
from tenants.money.store import State
from tenants.money.types import Hold

Supposed = tuple[Op, tuple[int, ...]]


class Supposition(Struct, frozen=True):
    """The effects of the group, and the buckets of each operation."""

    effects: Effects
    ops: list[Supposed]


def suppose(
    ops: Sequence[Op], places: Places, now: datetime, refusing: Collection[int]
) -> Supposition | None:
    """Return what the group would write; None where it needs a look at the database first."""
    effects = Effects()
    supposed: list[Supposed] = []
    for op in ops:
        if isinstance(op, Admit):
            ids = _admit(effects, op, places, now)
        elif isinstance(op, Settle) and op.kept is None:
            ids = _settle(effects, op, now)
        elif isinstance(op, Note):
            effects.entries.append(replace(op.entry, created_at=now))
            ids = ()
        else:
            return None
        if ids is None:
            return None
        supposed.append((op, ids))
    if refusing and not effects.admitting.isdisjoint(refusing):
        return None
    return Supposition(effects, supposed)


def results(supposition: Supposition, states: Sequence[State]) -> list[Result]:
    """Return what each operation came to, given the buckets after the group."""
    known = {state[0]: (state[3], state[1], state[2]) for state in states}
    return [_result(op, ids, known) for op, ids in supposition.ops]


def _admit(effects: Effects, op: Admit, places: Places, now: datetime) -> tuple[int, ...] | None:
    request = op.request
    ids = []
    for place in bound_places(request):
        bucket_id = places.find(place, now)
        if bucket_id is None:
            return None
        ids.append(bucket_id)
        effects.held[bucket_id] = effects.held.get(bucket_id, 0) + request.amount_nano
    effects.admitting.update(ids)
    found = tuple(ids)
    effects.holds.append(hold_row(op.id, request, found))
    return found


def _settle(effects: Effects, op: Settle, now: datetime) -> tuple[int, ...] | None:
    hold, settlement = op.hold, op.settlement
    ids = hold.bucket_ids
    if ids is None or alarms_of(hold.request, settlement):
        return None
    for bucket_id in ids:
        effects.used[bucket_id] = effects.used.get(bucket_id, 0) + settlement.amount_nano
        effects.held[bucket_id] = effects.held.get(bucket_id, 0) - hold.request.amount_nano
    effects.gone.append(hold.id)
    effects.entries.append(entry_row(hold.request, settlement, ids, now))
    return ids


def _result(op: Op, ids: tuple[int, ...], known: dict[int, tuple[int | None, int, int]]) -> Result:
    if isinstance(op, Note):
        return None
    figures = tightest(
        (limit, used, held)
        for limit, used, held in map(known.__getitem__, ids)
        if limit is not None
    )
    if isinstance(op, Admit):
        return Hold(
            id=op.id,
            request=op.request,
            bucket_ids=ids,
            remaining_nano=figures.remaining_nano,
        )
    return figures
