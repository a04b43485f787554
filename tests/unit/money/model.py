"""The ledger as plain sums: what each operation answers when they are done one after the other."""

from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from typing import Any
from uuid import UUID

from msgspec import Struct, field

from tenants.money.claims import Claimed
from tenants.money.ops import (
    Admit,
    Correct,
    DropClaim,
    HoldAgain,
    Mark,
    Note,
    Op,
    Release,
    Settle,
    TakeClaim,
    TakeStep,
)
from tenants.money.runs import RunState
from tenants.money.types import Hold, Refusal, Settled

Bucket = tuple[int, str, str]  # budget, period, subject
Answer = tuple[Any, ...] | None
CLAIM_LIFE_S = 24 * 3600
GUESSES = ("orphan", "uncertain")


class Held(Struct):
    request_id: UUID
    amount: int
    marked: bool = False


class Claim(Struct):
    request_id: UUID
    writer: int
    until: float
    done: bool = False


class Model(Struct):
    """What is used and held, and why; what is done twice changes nothing.

    `where` are the buckets of each request's hold, `entries` outcome and amount of what it wrote.
    """

    limits: dict[int, int | None]
    period: str = ""
    writer: int = 0
    now: float = 0
    used: Counter[Bucket] = field(default_factory=Counter)
    held: Counter[Bucket] = field(default_factory=Counter)
    holds: dict[UUID, Held] = field(default_factory=dict)
    where: dict[UUID, list[Bucket]] = field(default_factory=dict)
    entries: dict[UUID, list[tuple[str, int]]] = field(default_factory=dict)
    steps: Counter[str] = field(default_factory=Counter)
    stopped: set[str] = field(default_factory=set)
    claims: dict[str, Claim] = field(default_factory=dict)

    def do(self, op: Op) -> Answer:
        """Do an operation and return its answer."""
        return _DO[type(op)](self, op)

    def copy(self) -> "Model":
        return deepcopy(self)

    # --- money

    def admit(self, op: Admit) -> Answer:
        request = op.request
        where = [(rule.id, self.period, subject) for rule, subject in request.buckets]
        for bucket in where:
            if self._over(bucket, request.amount_nano):
                return "refused", self.used[bucket], self.held[bucket]
        self.where[request.request_id] = where
        self._hold(op.id, request.request_id, request.amount_nano)
        return "held", self._room(where)

    def settle(self, op: Settle) -> Answer:
        request_id, ended = op.hold.request.request_id, op.settlement
        self._charge(request_id, ended.outcome, ended.amount_nano)
        self._free(op.hold.id)
        claim = self.claims.get(op.kept.claim.key) if op.kept else None
        if op.kept and claim and claim.request_id == op.kept.claim.request_id:
            claim.done = True
        return "settled", self._room(self.where[request_id])

    def release(self, op: Release) -> None:
        self._free(op.hold_id)

    def mark(self, op: Mark) -> None:
        if op.hold_id in self.holds:
            self.holds[op.hold_id].marked = True

    def expire(self, hold_id: UUID, orphan_costs: int | None, marked_costs: int) -> None:
        """End an attempt nobody ended; it costs no more than its hold, None is all of it."""
        held = self.holds[hold_id]
        costs = marked_costs if held.marked else orphan_costs
        amount = held.amount if costs is None else min(held.amount, costs)
        self._charge(held.request_id, "uncertain" if held.marked else "orphan", amount)
        self._free(hold_id)

    def hold_again(self, op: HoldAgain) -> Answer:
        hold, request_id = op.hold, op.hold.request.request_id
        past = self.entries.get(request_id, [])
        if hold.id in self.holds or any(outcome not in GUESSES for outcome, _ in past):
            return "held", hold.remaining_nano
        rest = max(0, hold.request.amount_nano - sum(amount for _, amount in past))
        for bucket in self.where[request_id]:
            if rest and self._over(bucket, rest):
                return "refused", self.used[bucket], self.held[bucket]
        self._hold(hold.id, request_id, rest)
        return "held", hold.remaining_nano

    def correct(self, op: Correct) -> None:
        right = op.entry
        past = self.entries.get(right.request_id, [])
        difference = right.amount_nano - sum(amount for _, amount in past)
        if past and difference:
            past.append((right.outcome, difference))
            self._add(self.used, right.request_id, difference)

    def note(self, op: Note) -> None:
        self.entries.setdefault(op.entry.request_id, [(op.entry.outcome, 0)])

    def _charge(self, request_id: UUID, outcome: str, amount: int) -> None:
        past = self.entries.setdefault(request_id, [])
        if past:
            amount -= sum(before for _, before in past)
            if past[0][0] not in GUESSES or outcome in GUESSES or not amount:
                return
        past.append((outcome, amount))
        self._add(self.used, request_id, amount)

    def _hold(self, hold_id: UUID, request_id: UUID, amount: int) -> None:
        self.holds[hold_id] = Held(request_id, amount)
        self._add(self.held, request_id, amount)

    def _free(self, hold_id: UUID) -> None:
        held = self.holds.pop(hold_id, None)
        if held:
            self._add(self.held, held.request_id, -held.amount)

    def _add(self, sums: Counter[Bucket], request_id: UUID, amount: int) -> None:
        for bucket in self.where[request_id]:
            sums[bucket] += amount

    def _over(self, bucket: Bucket, amount: int) -> bool:
        limit = self.limits[bucket[0]]
        return limit is not None and self.used[bucket] + self.held[bucket] + amount > limit

    def _room(self, where: list[Bucket]) -> int | None:
        rooms = [
            limit - self.used[bucket] - self.held[bucket]
            for bucket in where
            if (limit := self.limits[bucket[0]]) is not None
        ]
        return min(rooms, default=None)

    # --- steps of runs, idempotency keys

    def step(self, op: TakeStep) -> Answer:
        run, most = op.step.run, op.step.max_steps
        taken = run not in self.stopped and (most is None or self.steps[run] < most)
        self.steps[run] += taken
        return "step", taken, self.steps[run]

    def claim(self, op: TakeClaim) -> Answer:
        claim = self.claims.get(op.claim.key)
        if claim is None or claim.until <= self.now:
            claim = Claim(op.claim.request_id, self.writer, self.now + CLAIM_LIFE_S)
            self.claims[op.claim.key] = claim
        return "claimed", claim.request_id, "done" if claim.done else "running"

    def drop(self, op: DropClaim) -> None:
        claim = self.claims.get(op.claim.key)
        if claim and claim.request_id == op.claim.request_id and not claim.done:
            del self.claims[op.claim.key]

    def forget_claims(self) -> None:
        """Let go what is too old, and what writers that are gone have not answered."""
        for key, claim in list(self.claims.items()):
            gone = claim.writer != self.writer and not claim.done
            if gone or claim.until <= self.now:
                del self.claims[key]


def answer_of(result: object) -> Answer:  # noqa: PLR0911 - one for each kind
    """Return of the ledger's result what the model answers."""
    match result:
        case Hold():
            return "held", result.remaining_nano
        case Refusal():
            return "refused", result.used_nano, result.held_nano
        case Settled():
            return "settled", result.remaining_nano
        case RunState():
            return "step", result.taken, result.steps
        case Claimed():
            return "claimed", result.request_id, result.state
        case _:
            return None


_DO: dict[type[Op], Callable[[Model, Any], Answer]] = {
    Admit: Model.admit,
    Settle: Model.settle,
    Release: Model.release,
    Mark: Model.mark,
    HoldAgain: Model.hold_again,
    Correct: Model.correct,
    Note: Model.note,
    TakeStep: Model.step,
    TakeClaim: Model.claim,
    DropClaim: Model.drop,
}
