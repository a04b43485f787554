"""Values of the tenancy side: who calls, what money is, what a limit said."""

import re
from datetime import datetime
from typing import Literal
from zoneinfo import ZoneInfo

from msgspec import Struct

NANO = 1_000_000_000
MAX_NANO = 2**62  # a limit and its raise together still fit a column

_DECIMAL = re.compile(r"(0|[1-9]\d{0,9})(\.\d{1,9})?", re.ASCII)


def usd(nano: int) -> str:
    """Return nano-dollars as a decimal string in US dollars with nine digits: '0.001100000'."""
    sign = "-" if nano < 0 else ""
    whole, part = divmod(abs(nano), NANO)
    return f"{sign}{whole}.{part:09d}"


def short_usd(nano: int) -> str:
    """Return the shortest string that `parse_usd` reads back as `nano`: '100.00', '0.0011'."""
    whole, part = usd(nano).split(".")
    return f"{whole}.{part.rstrip('0').ljust(2, '0')}"


def parse_usd(value: object) -> int:
    """Return nano-dollars of a decimal string or an integer number of US dollars.

    Raises ValueError, saying why, for anything else: floats, signs, exponents, NaN, more than nine
    decimals or ten digits before the point. Money is parsed, never compared into shape.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise ValueError(f'{value!r} is not a decimal string such as "2.50"')  # noqa: TRY004 - one error for every bad amount
    if not _DECIMAL.fullmatch(value):
        raise ValueError(f'{value!r} is not an amount in US dollars such as "2.50"')
    whole, _, part = value.partition(".")
    nano = int(whole) * NANO + int(part.ljust(9, "0") or 0)
    if nano > MAX_NANO:
        raise ValueError(f"{value!r} is more than can be kept")
    return nano


Payloads = Literal["none", "redacted", "full"]
Period = Literal["hour", "day", "week", "month", "quarter", "year", "total"]
Scope = Literal["tenant", "project", "api_key", "user", "end_user", "tag", "run"]


class BudgetRule(Struct, frozen=True, kw_only=True):
    """One budget that binds a caller. `owner` is the tenant, project or api key that holds it.

    `per` is '' for one bucket a period, else end_user, run or tag.NAME: a bucket for each.
    `limit_nano` None means it only counts.
    """

    id: int
    name: str
    scope: str
    owner_id: int
    period: Period
    zone: str
    limit_nano: int | None
    hard: bool
    mode: Literal["strict", "clamp"]
    model: str | None = None
    per: str = ""


class RateRule(Struct, frozen=True, kw_only=True, cache_hash=True):
    """Rates of one owner; None is no limit. `scope` is tenant, project, api_key or model."""

    scope: str
    owner_id: int
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrency: int | None = None


GuardrailKind = Literal["secrets", "pii", "pattern", "words"]
GuardrailAction = Literal["redact", "block", "flag"]
GuardrailSide = Literal["request", "answer", "both"]


class GuardrailRule(Struct, frozen=True, kw_only=True, cache_hash=True):
    """One thing that a tenant does not let through; which fields count depends on its kind."""

    name: str
    kind: GuardrailKind
    action: GuardrailAction
    on: GuardrailSide = "both"
    entities: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()
    words: tuple[str, ...] = ()


class Caller(Struct, frozen=True, kw_only=True):
    """Who calls: the credential's tenant, project and key, with everything that binds them.

    `models` is what the key may call: None is everything, else an allow list already intersected
    over tenant and key.
    """

    tenant_id: int
    tenant: str
    key_id: int | None  # None for trusted code that speaks for a tenant without a key
    key: str
    key_public_id: str
    project_id: int | None = None
    project: str | None = None
    scopes: frozenset[str] = frozenset({"inference", "usage"})
    models: frozenset[str] | None = None
    budgets: tuple[BudgetRule, ...] = ()
    rates: tuple[RateRule, ...] = ()
    guardrails: tuple[GuardrailRule, ...] = ()
    log_payloads: Payloads | None = None  # None is the setting
    time_zone: str = "UTC"
    expires_at: float | None = None  # Unix seconds
    max_output_tokens: int = 8192  # sent upstream under a hard budget when the caller set none
    cache_seconds: int = 0  # for how long answers are given again; 0 is never
    cache_generation: int = 0  # how often they were cleared
    single_flight: bool = False  # whether the same, asked at once, is called once
    run_steps: int | None = None  # of one agent run, and seconds since its first step
    run_seconds: int | None = None

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.time_zone)


class Span(Struct, frozen=True):
    """A period: half-open, in UTC; `end` None is for ever."""

    start: datetime
    end: datetime | None
