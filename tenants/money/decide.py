"""Decide a group of ledger operations over locked values: pure, so that one model test drives it.

Settles and releases come first, then admissions in order of arrival against the running values;
`used + held <= limit` holds at every admission, and a settle never fails.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from msgspec import Struct, field
from msgspec.structs import replace

from tenants.money.alarms import Alarm, alarms_of
from tenants.money.claims import Claim, Claimed, ClaimKey, Kept
from tenants.money.ops import (
    CHARGED_BEFORE,
    Admit,
    BucketState,
    Correct,
    DropClaim,
    Expire,
    HoldAgain,
    Mark,
    Note,
    Op,
    Past,
    Place,
    Release,
    Settle,
    TakeClaim,
    TakeStep,
    bound_places,
    expired_settlement,
    place,
)
from tenants.money.rows import EntryRow, HoldRow, entry_row, hold_row
from tenants.money.runs import RunState
from tenants.money.types import Bound, Hold, HoldRequest, Refusal, Settled, Settlement

Result = Hold | Refusal | Settled | Claimed | RunState | None
Attempt = tuple[UUID, int]

# Outcomes that were a guess: real usage that comes later corrects them.
_GUESSED = ("orphan", "uncertain")


class Values(Struct, frozen=True, kw_only=True):
    """All that the group touches, as locked and read by its transaction at `now`."""

    now: datetime
    places: dict[Place, int]
    buckets: dict[int, BucketState]
    holds: dict[UUID, HoldRow]
    past: dict[Attempt, tuple[Past, ...]]
    claims: dict[ClaimKey, Claimed] = {}
    steps: dict[UUID, RunState] = {}


class Effects(Struct, kw_only=True):
    """What the transaction has to write. `admitting` are buckets whose guard must hold."""

    used: dict[int, int] = field(default_factory=dict)
    held: dict[int, int] = field(default_factory=dict)
    admitting: set[int] = field(default_factory=set)
    gone: list[UUID] = field(default_factory=list)
    holds: list[HoldRow] = field(default_factory=list)
    entries: list[EntryRow] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    alerts: list[tuple[int, int]] = field(default_factory=list)
    alarms: list[Alarm] = field(default_factory=list)
    kept: list[Kept] = field(default_factory=list)
    dropped: list[Claim] = field(default_factory=list)


def decide(values: Values, ops: Sequence[Op]) -> tuple[list[Result], Effects]:
    """Return a result for each operation, in their order, and what to write."""
    group = _Group(values)
    results: list[Result] = [None] * len(ops)
    for admissions in (False, True):
        for index, op in enumerate(ops):
            if isinstance(op, Admit) == admissions:
                results[index] = _DO[type(op)](group, op)
    group.announce()
    return results, group.effects


class _Group:
    """The running values of one group."""

    def __init__(self, values: Values) -> None:
        self.values = values
        self.holds = dict(values.holds)
        self.past = dict(values.past)
        self.effects = Effects()

    def used(self, bucket_id: int) -> int:
        return self.values.buckets[bucket_id].used_nano + self.effects.used.get(bucket_id, 0)

    def held(self, bucket_id: int) -> int:
        return self.values.buckets[bucket_id].held_nano + self.effects.held.get(bucket_id, 0)

    def admit(self, op: Admit) -> Hold | Refusal:
        request = op.request
        bounds = () if request.zero_price else request.buckets
        ids = tuple(self.values.places[place(bound)] for bound in bounds)
        for bound, bucket_id in zip(bounds, ids, strict=True):
            if not self._fits(bucket_id, request.amount_nano):
                return self._refusal(bound, bucket_id)
        _add(self.effects.held, ids, request.amount_nano)
        self.effects.admitting.update(ids)
        self.effects.holds.append(hold_row(op.id, request, ids))
        figures = self._tightest(ids)
        return Hold(
            id=op.id, request=request, bucket_ids=ids, remaining_nano=figures.remaining_nano
        )

    def settle(self, op: Settle) -> Settled:
        ids = op.hold.bucket_ids
        if ids is None:
            ids = tuple(self.values.places[key] for key in bound_places(op.hold.request))
        self._end(op.hold.request, op.settlement, ids)
        self._free(op.hold.id)
        self.effects.alarms.extend(alarms_of(op.hold.request, op.settlement))
        if op.kept is not None:
            self.effects.kept.append(op.kept)
        return self._tightest(ids)

    def release(self, op: Release) -> None:
        self._free(op.hold_id)

    def mark(self, op: Mark) -> None:
        if op.hold_id in self.holds:
            self.effects.marks.append(op)

    def note(self, op: Note) -> None:
        if (op.entry.request_id, op.entry.attempt_no) not in self.past:
            self.effects.entries.append(replace(op.entry, created_at=self.values.now))

    def expire(self, op: Expire) -> None:
        # Its owner may have settled it between the sweeper's look and the lock.
        hold = self.holds.get(op.hold.id)
        if hold is not None:
            self._end(hold, expired_settlement(hold, op.charges), hold.bucket_ids)
            self._free(hold.id)

    def hold_again(self, op: HoldAgain) -> Hold | Refusal:
        hold, request = op.hold, op.hold.request
        past = self.past.get((request.request_id, request.attempt_no), ())
        if hold.id in self.holds or any(each.outcome not in _GUESSED for each in past):
            return hold  # it was not swept, or the attempt has ended meanwhile
        # What it was charged when it was swept is as good as held.
        rest = max(0, request.amount_nano - sum(each.amount_nano for each in past))
        ids = hold.bucket_ids or ()
        for bound, bucket_id in zip(request.buckets, ids, strict=False):
            if rest and not self._fits(bucket_id, rest):
                return self._refusal(bound, bucket_id)
        _add(self.effects.held, ids, rest)
        self.holds[hold.id] = row = hold_row(hold.id, replace(request, amount_nano=rest), ids)
        self.effects.holds.append(row)
        return hold

    def correct(self, op: Correct) -> None:
        right = op.entry
        attempt = (right.request_id, right.attempt_no)
        past = self.past.get(attempt, ())
        charged = sum(each.amount_nano for each in past)
        if not past or right.amount_nano == charged:
            return
        before = {
            "unit": CHARGED_BEFORE,
            "units": 1,
            "per": 1,
            "price_nano": -charged,
            "amount_nano": -charged,
        }
        entry = replace(
            right,
            seq=past[-1].seq + 1,
            amount_nano=right.amount_nano - charged,
            lines=[*right.lines, before],
            created_at=self.values.now,
        )
        self.past[attempt] = (*past, Past(entry.seq, entry.outcome, entry.amount_nano))
        self.effects.entries.append(entry)
        _add(self.effects.used, entry.bucket_ids, entry.amount_nano)

    def claim(self, op: TakeClaim) -> Claimed:
        return self.values.claims[op.claim.place]

    def step(self, op: TakeStep) -> RunState:
        return self.values.steps[op.step.request_id]

    def drop(self, op: DropClaim) -> None:
        self.effects.dropped.append(op.claim)

    def announce(self) -> None:
        """Note the soft thresholds that are reached and were not announced before."""
        for bucket_id, added in self.effects.used.items():
            bucket = self.values.buckets[bucket_id]
            if added > 0 and bucket.limit_nano is not None:
                reached = self.used(bucket_id) * 1_000_000
                self.effects.alerts.extend(
                    (bucket_id, ppm)
                    for ppm in bucket.thresholds_ppm
                    if ppm > bucket.alerted_ppm and reached >= ppm * bucket.limit_nano
                )

    def _end(
        self, spent: HoldRequest | HoldRow, settlement: Settlement, ids: tuple[int, ...]
    ) -> None:
        attempt = (spent.request_id, spent.attempt_no)
        past = self.past.get(attempt, ())
        entry = entry_row(spent, settlement, ids, self.values.now)
        if past:
            if past[0].outcome not in _GUESSED or settlement.outcome in _GUESSED:
                return
            entry.kind, entry.seq = "correction", past[-1].seq + 1
            entry.amount_nano -= sum(each.amount_nano for each in past)
            if entry.amount_nano == 0 or settlement.estimated:
                return
        self.past[attempt] = (*past, Past(entry.seq, entry.outcome, entry.amount_nano))
        self.effects.entries.append(entry)
        _add(self.effects.used, ids, entry.amount_nano)

    def _fits(self, bucket_id: int, amount_nano: int) -> bool:
        bucket = self.values.buckets[bucket_id]
        return fits(bucket, self.used(bucket_id), self.held(bucket_id), amount_nano)

    def _free(self, hold_id: UUID) -> None:
        hold = self.holds.pop(hold_id, None)
        if hold is None:
            return
        if hold_id in self.values.holds:
            self.effects.gone.append(hold_id)
        else:  # held again by this very group
            self.effects.holds.remove(hold)
        _add(self.effects.held, hold.bucket_ids, -hold.amount_nano)

    def _refusal(self, bound: Bound, bucket_id: int) -> Refusal:
        (rule, subject), bucket = bound, self.values.buckets[bucket_id]
        return Refusal(
            budget=rule.name,
            scope=rule.scope,
            period=rule.period,
            limit_nano=(bucket.limit_nano or 0) + bucket.raise_nano,
            used_nano=self.used(bucket_id),
            held_nano=self.held(bucket_id),
            renews_at=bucket.ends_at,
            mode=rule.mode,
            per=rule.per,
            subject=subject,
        )

    def _tightest(self, ids: Iterable[int]) -> Settled:
        limited = (
            (each.limit_nano + each.raise_nano, self.used(each.id), self.held(each.id))
            for each in map(self.values.buckets.__getitem__, ids)
            if each.limit_nano is not None
        )
        return tightest(limited)


def fits(bucket: BucketState, used_nano: int, held_nano: int, amount_nano: int) -> bool:
    """Say whether a bucket has room for an amount."""
    if bucket.limit_nano is None or not bucket.hard:
        return True
    return used_nano + held_nano + amount_nano <= bucket.limit_nano + bucket.raise_nano


def tightest(limited: Iterable[tuple[int, int, int]]) -> Settled:
    """Return the figures of the bucket with the least room, given (limit, used, held) of each."""
    least = min(limited, key=lambda each: each[0] - each[1] - each[2], default=None)
    if least is None:
        return Settled()
    limit, used, held = least
    return Settled(used_nano=used, held_nano=held, remaining_nano=limit - used - held)


def _add(deltas: dict[int, int], ids: Iterable[int], amount: int) -> None:
    for bucket_id in ids:
        deltas[bucket_id] = deltas.get(bucket_id, 0) + amount


_DO: dict[type[Op], Callable[[_Group, Any], Result]] = {
    Admit: _Group.admit,
    Settle: _Group.settle,
    Release: _Group.release,
    Mark: _Group.mark,
    Note: _Group.note,
    Expire: _Group.expire,
    HoldAgain: _Group.hold_again,
    Correct: _Group.correct,
    TakeClaim: _Group.claim,
    DropClaim: _Group.drop,
    TakeStep: _Group.step,
}
