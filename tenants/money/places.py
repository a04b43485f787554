"""Know the bucket of each place for the running period, and make those that are missing."""

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING

from tenants.money.ops import Place
from tenants.money.periods import period_key, span
from tenants.money.store import BucketKey, Store

if TYPE_CHECKING:
    from tenants.types import Span

_MOST = 50_000


class Places:
    """A cache: what it says is checked against the period by the transaction that uses it."""

    def __init__(self) -> None:
        self._known: dict[Place, tuple[int, Span]] = {}

    def find(self, place: Place, now: datetime) -> int | None:
        """Return the id of the bucket, if it is known."""
        known = self._known.get(place)
        if known is None:
            return None
        bucket_id, period = known
        if period.start <= now and (period.end is None or now < period.end):
            return bucket_id
        return None

    def forget(self) -> None:
        self._known.clear()

    def make(
        self, store: Store, wanted: Iterable[tuple[int, Place]], now: datetime
    ) -> dict[Place, int]:
        """Return the bucket of every (tenant, place); each missing one is a transaction itself.

        Inside the transaction of a group two processes could each wait for the other's insert.
        """
        found: dict[Place, int] = {}
        for tenant_id, place in wanted:
            bucket_id = self.find(place, now)
            if bucket_id is None:
                bucket_id = self._make(store, tenant_id, place, now)
            found[place] = bucket_id
        return found

    def _make(self, store: Store, tenant_id: int, place: Place, now: datetime) -> int:
        budget_id, kind, zone, subject = place
        period = span(now, kind, zone)
        key = BucketKey((budget_id, subject, period_key(kind, zone, period.start)))
        bucket_id = store.make_bucket(tenant_id, key, period.start, period.end)
        if len(self._known) >= _MOST:
            self.forget()
        self._known[place] = bucket_id, period
        return bucket_id
