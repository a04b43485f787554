"""One connection's worth of ledger: commits groups and knows the head of its chain.

The head advances only after a commit; a lost connection makes it unknown until `connect`.
"""

import os
import random
import socket
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from tenants.money.careful import Chained, apply_carefully
from tenants.money.chain import Head, link
from tenants.money.decide import Result
from tenants.money.fast import results, suppose
from tenants.money.ops import Admit, Expire, Op, bound_places
from tenants.money.places import Places
from tenants.money.store import LostError, Store, SurpriseError
from tenants.money.types import Charges, Refusal

SWEPT_AT_ONCE, SWEPT_CLAIMS_AT_ONCE = 64, 1000
_REFUSING_S = 0.2


class Session:
    """Used by one thread. `clock` is monotonic; the database's own clock is asked or estimated."""

    def __init__(
        self, store: Store, load_key: Callable[[], bytes], clock: Callable[[], float]
    ) -> None:
        self.store = store
        self._load_key = load_key
        self._clock = clock
        self._places = Places()
        self._chained: Chained | None = None
        self._head = Head()
        self._refusing: dict[int, float] = {}
        self._beating_since = self._last_beat = 0.0
        self._database_now = datetime(1970, 1, 1, tzinfo=UTC)
        self._answered_at = 0.0
        self._lease = timedelta(seconds=store.lease_s)
        self.lapsed = False  # set when the lease is found to have run out; whoever acts, resets it

    def connect(self) -> None:
        self.store.open()
        first = self._chained is None
        if self._chained is None:
            key = self._load_key()
            self._chained = Chained(self.store.register(socket.gethostname(), os.getpid()), key)
        # Whether the last commit happened before the connection broke, the database knows.
        self._head = self.store.head(self._chained.writer_id)
        self._beating_since = self._last_beat = self._clock()
        self.beat()
        if first:
            self.lapsed = False

    def commit(self, ops: Sequence[Op]) -> list[Result]:
        """Do a group in one transaction, in one round trip if it is as supposed."""
        return self._fast(ops) or self.carefully(ops)

    def carefully(self, ops: Sequence[Op]) -> list[Result]:
        answers, self._head, now = apply_carefully(
            self.store, self._places, self._chain(), self._head, ops
        )
        self._answered(now)
        for op, answer in zip(ops, answers, strict=True):
            if isinstance(op, Admit) and isinstance(answer, Refusal):
                self._refused(op, now)
        return answers

    def beat(self, *, stopped: bool = False) -> None:
        """Renew the lease on this process's holds."""
        now = self._clock()
        self._answered(self.store.beat(self._chain().writer_id, stopped=stopped))
        if now - self._last_beat > self.store.lease_s:
            self._beating_since = now
        self._last_beat = now

    def sweep(self, charges: Charges) -> int:
        """End what expired, return how many holds: not in the wake of an outage or of a freeze.

        Then the others could not beat either, and their holds and claims are alive.
        """
        if self._clock() - self._beating_since < self.store.lease_s:
            return 0
        expired = list(self.store.expired(SWEPT_AT_ONCE))
        if expired:
            self.carefully([Expire(hold, charges) for hold in expired])
        self.store.sweep_claims(SWEPT_CLAIMS_AT_ONCE)
        return len(expired)

    def _fast(self, ops: Sequence[Op]) -> list[Result] | None:
        if not self.store.fast:
            return None
        supposition = suppose(ops, self._places, self._now(), self._refusing_now())
        if supposition is None:
            return None
        chain, effects = self._chain(), supposition.effects
        entries, head = link(chain.key, chain.writer_id, self._head, effects.entries)
        try:
            now, states = self.store.apply(effects, entries, chain.writer_id, head)
        except SurpriseError:
            return None
        self._head = head
        self._answered(now)
        return results(supposition, states)

    def _chain(self) -> Chained:
        if self._chained is None:
            raise LostError("not connected")
        return self._chained

    def _refused(self, op: Admit, now: datetime) -> None:
        """Remember full buckets for a moment: supposing that they have room costs a round trip."""
        until = self._clock() + _REFUSING_S
        for place in bound_places(op.request):
            bucket_id = self._places.find(place, now)
            if bucket_id is not None:
                self._refusing[bucket_id] = until

    def _refusing_now(self) -> dict[int, float]:
        if self._refusing:
            now = self._clock()
            self._refusing = {key: until for key, until in self._refusing.items() if until > now}
        return self._refusing

    def _answered(self, now: datetime) -> None:
        """Note an answer of the database, which has renewed our lease as of `now`."""
        if now - self._database_now > self._lease:
            self.lapsed = True
        self._database_now, self._answered_at = now, self._clock()

    def _now(self) -> datetime:
        """Return the database's clock, estimated from its last answer."""
        return self._database_now + timedelta(seconds=self._clock() - self._answered_at)


def jittered(seconds: float) -> float:
    """Return the time ± 20 %, so that processes started together do not stay in step."""
    return seconds * random.uniform(0.8, 1.2)  # noqa: S311 - no secret
