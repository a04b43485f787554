"""Random histories of the ledger, each operation beside the model's: every store and path.

Not only operations: limits, prices, the budgets of a key and the clock change in between, processes
die or freeze.
"""

import random
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from msgspec import Struct

from tenants.ids import new_id
from tenants.money.claims import Claim, Kept
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
from tenants.money.periods import period_key, span
from tenants.money.rows import EntryRow
from tenants.money.runs import Step
from tenants.money.session import Session
from tenants.money.store import Store
from tenants.money.types import Charges, Hold, Outcome, Refusal
from tests.unit.money.ground import Clock, Ground
from tests.unit.money.ground_values import TENANT, request, settled
from tests.unit.money.model import Model, answer_of

LIMITS = (40, 90, 200, None)
KEYS, RUNS, SUBJECTS = ("once", "twice"), ("crawl", "chat"), ("", "ada")
MOST_STEPS = 40
INPUT, SEEN = 2, 3  # what a marked attempt costs: input, and output at 1 each


class Known(Struct):
    """An attempt that was admitted, what it was told to cost when it ended, and its claim."""

    hold: Hold
    price_version_id: int
    ended: tuple[Outcome, int] | None = None
    claim: Claim | None = None


class History:
    """One random history of a session and of the model, side by side."""

    def __init__(self, ground: Ground, seed: int, make_store: Callable[[], Store]) -> None:
        self.rng = random.Random(seed)
        self.ground = ground
        self.clock = Clock(ground, datetime(2026, 3, 28, 22, 50, tzinfo=UTC))
        self.make_store = make_store
        self.session = self._begin()
        self.rules = [ground.budget(limit, period="hour") for limit in LIMITS]
        self.model = Model(dict(zip((rule.id for rule in self.rules), LIMITS, strict=True)))
        self.moved_to = self.rules
        self.price = self.price_version_id = 1
        self.known: list[Known] = []
        self.claims: list[Claim] = []
        self.acts: Counter[str] = Counter()

    def run(self, steps: int) -> None:
        for _ in range(steps):
            self.step()

    def step(self) -> None:
        acts = {
            self.group: 80,
            self.change_limit: 5,
            self.change_price: 2,
            self.move_key: 2,
            self.stop_run: 1,
            self.pass_time: 6,
            self.expire: 3,
            self.freeze: 2,
            self.crash: 2,
        }
        (act,) = self.rng.choices(list(acts), list(acts.values()))
        act()
        self.acts[act.__name__] += 1
        self.check()

    # --- what happens

    def group(self, session: Session | None = None) -> None:
        make = self.rng.choice((self._op, self._plain_op))
        ops = [make() for _ in range(self.rng.randint(1, 5))]
        self.model.now, self.model.period = self.clock.seconds, self._period()
        results = (session or self.session).commit(ops)
        expected = dict(self._expected(ops))
        for place, (op, result) in enumerate(zip(ops, results, strict=True)):
            self.acts[type(op).__name__] += 1
            answer, right = answer_of(result), expected[place]
            # Figures of a group are those at its end, or those at each operation.
            shown = slice(None) if len(ops) == 1 or not isinstance(op, _MONEY) else slice(1)
            assert (answer and answer[shown]) == (right and right[shown]), op
            if isinstance(op, Admit) and isinstance(result, Hold):
                self.known.append(Known(result, self.price_version_id))

    def _expected(self, ops: list[Op]) -> Any:
        """Yield place and answer in the order in which a group is done."""

        def rank(place: int) -> int:
            op = ops[place]
            return (
                -isinstance(op, TakeClaim) + isinstance(op, Admit) + 2 * isinstance(op, DropClaim)
            )

        for place in sorted(range(len(ops)), key=rank):
            yield place, self.model.do(ops[place])

    def change_limit(self) -> None:
        rule = self.rng.choice(self.rules[:3])
        self.model.limits[rule.id] = limit = self.rng.randint(0, 200)
        self.ground.set_limit(rule, limit)

    def change_price(self) -> None:
        """Charge otherwise from here on; what is held already keeps its price."""
        self.price = self.rng.randint(1, 3)
        self.price_version_id += 1

    def move_key(self) -> None:
        """Let other budgets bind from here on; what is held already stays in its buckets."""
        self.moved_to = self.rng.sample(self.rules, self.rng.randint(1, len(self.rules)))

    def stop_run(self) -> None:
        run = self.rng.choice(RUNS)
        if self.model.steps[run]:
            on = run in self.model.stopped
            (self.model.stopped.discard if on else self.model.stopped.add)(run)
            at = "NULL" if on else "{now}"
            self.ground.run(f"UPDATE ledger_run SET stopped_at = {at} WHERE name = ?", (run,))  # noqa: S608 - ours

    def pass_time(self) -> None:
        self.clock.forward(self.rng.choice([1, 600, 3600]))
        self.session.beat()

    def expire(self) -> None:
        """Let every hold pass its deadline, and sweep with an unbroken lease."""
        for _ in range(5):
            self.clock.forward(25)
            self.session.beat()
        self._sweep(self.session)

    def freeze(self) -> None:
        """Be silent until another process has swept and spent; then hold again what still runs."""
        running = [each.hold for each in self.known if each.hold.id in self.model.holds]
        self.session.lapsed = False
        other = self.ground.session(self.clock)
        for _ in range(2):
            self.clock.forward(20)
            other.beat()
        self.model.writer += 1
        self._sweep(other)
        for _ in range(2):
            self.group(other)
        self.model.writer -= 1
        other.store.close()
        self.session.beat()
        assert self.session.lapsed
        for hold in running:
            (result,) = self.session.commit([HoldAgain(hold)])
            assert answer_of(result) == self.model.do(HoldAgain(hold))
            self.acts["ended" if isinstance(result, Refusal) else "held again"] += 1

    def crash(self) -> None:
        """Leave everything as it is; another process goes on."""
        self.session.store.close()
        self.session = self._begin()
        self.model.writer += 2

    def _begin(self) -> Session:
        return self.ground.session(self.clock, store=self.make_store())

    def _sweep(self, session: Session) -> None:
        self.model.now = self.clock.seconds
        charge, orphan_costs = self.rng.choice((("hold", None), ("input", INPUT)))
        while session.sweep(Charges(orphan=charge)):  # type: ignore[arg-type] # one of the two
            pass
        for hold_id in list(self.model.holds):
            self.model.expire(hold_id, orphan_costs, INPUT + SEEN)
        self.model.forget_claims()

    # --- what is asked

    def _op(self) -> Op:
        makers = {
            self._admission: 45,
            self._end: 35,
            self._release: 4,
            self._mark: 5,
            self._correction: 4,
            self._note: 1,
            self._take_step: 3,
            self._take_claim: 3,
            self._drop_claim: 1,
        }
        (make,) = self.rng.choices(list(makers), list(makers.values()))
        return make()

    def _plain_op(self) -> Op:
        """Make what most of all operations are: an admission, or the one end of an attempt."""
        running = [each for each in self.known[-30:] if each.ended is None]
        running = [each for each in running if each.hold.id in self.model.holds]
        if not running or self.rng.random() < 0.5:
            return self._admission()
        known = self.rng.choice(running)
        amount = self.rng.randint(0, 20) * self.price
        known.ended = "settled", amount
        return Settle(known.hold, settled(amount))

    def _admission(self) -> Op:
        rules = self.rng.sample(self.moved_to, self.rng.randint(0, len(self.moved_to)))
        bounds = [(rule, self.rng.choice(SUBJECTS)) for rule in rules]
        return Admit(
            new_id(),
            request(
                self.rng.randint(0, 15) * self.price,
                *bounds,
                deadline_s=30,
                input_nano=INPUT,
                output_nano_per_million=1_000_000,
                price_version_id=self.price_version_id,
            ),
        )

    def _one(self) -> Known | None:
        """Pick one of the last attempts, ended or not: replays and late ends are among them."""
        return self.rng.choice(self.known[-12:]) if self.known else None

    def _end(self) -> Op:
        known = self._one()
        if known is None:
            return self._admission()
        if known.ended is None:
            outcome: Outcome = self.rng.choice(["settled", "settled", "cancelled", "failed"])
            known.ended = outcome, self.rng.randint(0, 20) * self.price
            known.claim = self.rng.choice([None, *self.claims[-2:]])
        outcome, amount = known.ended  # a replay brings what it brought before
        kept = None
        if known.claim is not None:
            kept = Kept(claim=known.claim, status=200, headers=(), body=b"sealed")
        return Settle(known.hold, settled(amount, outcome=outcome), kept)

    def _release(self) -> Op:
        # Only an attempt that never started is given back.
        known = self._one()
        fresh = known and known.ended is None and known.hold.request.request_id
        if known is None or fresh in {None, False, *self.model.entries}:
            return self._admission()
        return Release(known.hold.id)

    def _mark(self) -> Op:
        known = self._one()
        return Mark(known.hold.id, SEEN) if known else self._admission()

    def _correction(self) -> Op:
        """Correct by another price, or adjust by hand, what an attempt cost; also one that runs."""
        known = self._one()
        if known is None:
            return self._admission()
        spent = known.hold.request
        past = self.model.entries.get(spent.request_id)
        return Correct(
            entry(
                spent.request_id,
                self.rng.choice(["correction", "adjustment"]),
                past[0][0] if past else "settled",
                self.rng.randint(0, 60),
                self.price_version_id,
                known.hold.bucket_ids or (),
            )
        )

    def _note(self) -> Op:
        return Note(entry(new_id(), "cache_hit", "settled", 0, None, ()))

    def _take_step(self) -> Op:
        step = Step(
            request_id=new_id(),
            tenant_id=TENANT,
            run=self.rng.choice(RUNS),
            max_steps=self.rng.choice([None, MOST_STEPS]),
            max_seconds=None,
        )
        return TakeStep(step)

    def _take_claim(self) -> Op:
        claim = Claim(
            tenant_id=TENANT,
            api_key_id=7,
            key=self.rng.choice(KEYS),
            fingerprint="f",
            request_id=new_id(),
        )
        self.claims.append(claim)
        return TakeClaim(claim)

    def _drop_claim(self) -> Op:
        return DropClaim(self.rng.choice(self.claims[-3:])) if self.claims else self._take_claim()

    # --- what has to hold in every state

    def check(self) -> None:
        rows = self.ground.run(
            "SELECT budget_id, period_key, subject, used_nano, held_nano FROM ledger_bucket"
        )
        found = {tuple(row[:3]): (int(row[3]), int(row[4])) for row in rows}
        for bucket in found.keys() | self.model.used.keys() | self.model.held.keys():
            expected = self.model.used[bucket], self.model.held[bucket]
            assert found.get(bucket, (0, 0)) == expected

    def _period(self) -> str:
        return period_key("hour", "UTC", span(self.clock.now, "hour", "UTC").start)


_MONEY = (Admit, Settle, HoldAgain)


def entry(
    request_id: UUID,
    kind: Any,
    outcome: str,
    amount: int,
    price_version_id: int | None,
    bucket_ids: tuple[int, ...],
) -> EntryRow:
    return EntryRow(
        request_id=request_id,
        attempt_no=1,
        kind=kind,
        seq=0,
        outcome=outcome,
        estimated=False,
        unpriced=False,
        tenant_id=TENANT,
        project_id=None,
        api_key_id=None,
        end_user="",
        tags={},
        deployment_id=4,
        model="m",
        price_version_id=price_version_id,
        amount_nano=amount,
        hold_nano=0,
        bucket_ids=bucket_ids,
    )
