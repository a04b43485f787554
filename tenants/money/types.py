"""Values that go in and out of the ledger; amounts are whole nano-dollars."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from msgspec import Struct

from tenants.types import BudgetRule, usd

Outcome = Literal["settled", "failed", "cancelled", "uncertain", "orphan"]

# One rule that binds an attempt, and the subject whose bucket is meant ('' for all together).
Bound = tuple[BudgetRule, str]


class LedgerUnavailableError(Exception):
    """The ledger cannot be written now: nothing was admitted."""


class LedgerOverloadedError(Exception):
    """More admissions wait than the writer can promise to answer in time."""


class LedgerInUseError(Exception):
    """Another process already writes this embedded ledger."""


class HoldRequest(Struct, frozen=True, kw_only=True):
    """What one attempt may cost at most, for whom, and which budgets it needs room in.

    `amount_nano` is the bound that is set aside. `input_nano` and `output_nano_per_million` price
    an attempt whose end nobody saw. `deadline_s` is what the attempt has left from now on.
    A `zero_price` attempt binds no bucket; `unpriced` marks one of which not all has a price.
    """

    request_id: UUID
    attempt_no: int
    tenant_id: int
    project_id: int | None
    api_key_id: int | None
    deployment_id: int | None
    model: str
    price_version_id: int | None
    amount_nano: int
    buckets: tuple[Bound, ...] = ()
    input_estimate: int = 0
    input_nano: int = 0
    output_nano_per_million: int = 0
    deadline_s: float = 600.0
    end_user: str = ""
    tags: dict[str, str] = {}
    zero_price: bool = False
    unpriced: bool = False

    @property
    def hard(self) -> bool:
        """Say whether a budget may refuse this attempt."""
        return not self.zero_price and any(
            rule.hard and rule.limit_nano is not None for rule, _ in self.buckets
        )


class Hold(Struct, frozen=True, kw_only=True):
    """Money set aside: the licence to open a socket for this attempt, once.

    `remaining_nano` is what the tightest bucket has left after it; None where nothing limits.
    `bucket_ids` is None for a hold that could not be written (no hard budget, database away):
    its buckets are found when it is settled.
    """

    id: UUID
    request: HoldRequest
    bucket_ids: tuple[int, ...] | None
    remaining_nano: int | None = None

    @property
    def tenant_id(self) -> int:
        return self.request.tenant_id


class Refusal(Struct, frozen=True, kw_only=True):
    """Which budget has no room for the attempt, how full it is and when it renews.

    Of a budget with a bucket for each of something, `per` is of what and `subject` for which one.
    """

    budget: str
    scope: str
    period: str
    limit_nano: int
    used_nano: int
    held_nano: int
    renews_at: datetime | None
    mode: Literal["strict", "clamp"] = "strict"
    per: str = ""
    subject: str = ""

    @property
    def room_nano(self) -> int:
        """What an attempt may cost that would fit."""
        return self.limit_nano - self.used_nano - self.held_nano

    @property
    def message(self) -> str:
        renews = f", renews at {self.renews_at:%Y-%m-%dT%H:%M:%SZ}" if self.renews_at else ""
        of = f", {self.per} {self.subject or 'not named'}" if self.per else ""
        return (
            f"Budget {self.budget} ({self.scope}, {self.period}{of}) is used up: limit "
            f"{usd(self.limit_nano)} USD, used {usd(self.used_nano)}, held "
            f"{usd(self.held_nano)}{renews}."
        )


class Settlement(Struct, frozen=True, kw_only=True):
    """How an attempt ended and what it cost. `usage` and `lines` are kept as they are, as JSON.

    `unpriced` says whether something of it has no price; None is what its hold says.
    """

    outcome: Outcome
    amount_nano: int
    usage: dict[str, Any] = {}
    lines: Sequence[Any] = ()
    estimated: bool = False
    unpriced: bool | None = None
    provider_cost_nano: int | None = None


class Settled(Struct, frozen=True, kw_only=True):
    """The entry is durable. The figures are those of the tightest bucket; None without one.

    `spooled` says that it stands in the spool file and not yet in the database.
    """

    used_nano: int | None = None
    held_nano: int | None = None
    remaining_nano: int | None = None
    spooled: bool = False


class Charges(Struct, frozen=True):
    """What an attempt is charged whose end nobody saw (`hold` is all of its bound)."""

    orphan: Literal["hold", "input"] = "hold"
    uncertain: Literal["hold", "input"] = "input"
