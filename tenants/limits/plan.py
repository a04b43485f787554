"""Name what limits work on: the bounds of one request, what a back end answers, what was decided.

A bound is one number of one owner. Keys of a tenant share a hash tag, so that one script sees them
on one cluster node; a model is limited over all tenants, so its keys carry a tag of their own.
Every tag begins with the installation, since ids are those of one database.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal, Protocol

from msgspec import Struct
from msgspec.structs import replace

from tenants.types import RateRule

Kind = Literal["requests", "tokens", "concurrency"]
State = Literal["local", "redis", "away"]

WINDOW_S = 60.0
LETTERS: dict[Kind, str] = {"requests": "r", "tokens": "t", "concurrency": "c"}


class Bound(Struct, frozen=True):
    kind: Kind
    scope: str
    owner_id: int
    value: int


class Plan(Struct, frozen=True, kw_only=True):
    """Every bound of a request, with the key each is counted under."""

    bounds: tuple[Bound, ...]
    keys: tuple[str, ...]
    letters: str

    @property
    def has_slots(self) -> bool:
        return "c" in self.letters


class Answer(Struct, frozen=True, kw_only=True):
    """What a back end says. `numbers` as in rates.lua; `plan` holds the values it enforced."""

    plan: Plan
    numbers: Sequence[int]
    book: "Book"


class Ticket(Struct, kw_only=True, weakref=True, eq=False):
    """What an admitted request booked; open until it is settled or refunded, once."""

    request_id: str
    plan: Plan
    tokens: int
    second: int
    book: "Book"
    open: bool = True


class Book(Protocol):
    """A back end. `give` and `renew` want no answer and never fail their caller.

    `state` says where rates are kept now; `lost` counts what may not have arrived there.
    """

    @property
    def state(self) -> State: ...
    @property
    def lost(self) -> int: ...
    async def start(self) -> None: ...
    async def take(self, plan: Plan, request_id: str, tokens: int) -> Answer: ...
    async def read(self, plan: Plan) -> Answer: ...
    def give(self, ticket: Ticket, *, requests: int, tokens: int) -> None: ...
    def renew(self, tickets: Sequence[Ticket]) -> None: ...
    async def close(self) -> None: ...


class Meter(Struct, frozen=True, kw_only=True):
    """One bound now. `reset_s`: seconds until all of it is free again, if nothing more comes."""

    kind: Kind
    scope: str
    owner_id: int
    limit: int
    used: int
    reset_s: float

    @property
    def remaining(self) -> int:
        return max(0, self.limit - self.used)


class Decision(Struct, frozen=True, kw_only=True):
    """What was decided. `requests`, `tokens`, `concurrency` are the tightest bound of each kind.

    A refusal names its bound in `refused`; `retry_after_s` is rounded up to a millisecond.
    `never_fits`: the request is larger than the limit itself, waiting does not help.
    """

    allowed: bool
    ticket: Ticket | None = None
    refused: Meter | None = None
    retry_after_s: float | None = None
    never_fits: bool = False
    requests: Meter | None = None
    tokens: Meter | None = None
    concurrency: Meter | None = None


@lru_cache(maxsize=8192)
def plan_of(installation: str, tenant_id: int, rules: tuple[RateRule, ...]) -> Plan:
    bounds = tuple(bound for rule in rules for bound in _bounds(rule))
    return Plan(
        bounds=bounds,
        keys=tuple(_key(installation, tenant_id, bound) for bound in bounds),
        letters="".join(LETTERS[bound.kind] for bound in bounds),
    )


def share_of(plan: Plan, processes: int) -> Plan:
    """Return the plan with every bound divided; a bound of nothing stays nothing."""
    return plan if processes <= 1 else _divided(plan, processes)


@lru_cache(maxsize=8192)
def _divided(plan: Plan, processes: int) -> Plan:
    bounds = tuple(
        Bound(b.kind, b.scope, b.owner_id, max(1, b.value // processes) if b.value else 0)
        for b in plan.bounds
    )
    return Plan(bounds=bounds, keys=plan.keys, letters=plan.letters)


def meters(answer: Answer) -> list[Meter]:
    return [_meter(answer, place) for place in range(len(answer.plan.bounds))]


def decide(answer: Answer, ticket: Ticket | None) -> Decision:
    place, wait_ms = answer.numbers[0], answer.numbers[1]
    tightest = {kind: _meter(answer, at) for kind, at in _tightest(answer).items()}
    return Decision(
        allowed=place == 0,
        ticket=ticket,
        refused=_meter(answer, place - 1) if place else None,
        retry_after_s=(wait_ms / 1000 if wait_ms >= 0 else WINDOW_S) if place else None,
        never_fits=wait_ms < 0,
        requests=tightest.get("requests"),
        tokens=tightest.get("tokens"),
        concurrency=tightest.get("concurrency"),
    )


def tighter(own: Decision | None, other: Decision) -> Decision:
    """Return the meters of both, of each kind the one with less left; all else is the first's."""
    if own is None:
        return other
    return replace(
        own,
        requests=_less(own.requests, other.requests),
        tokens=_less(own.tokens, other.tokens),
        concurrency=_less(own.concurrency, other.concurrency),
    )


def _less(one: Meter | None, other: Meter | None) -> Meter | None:
    if one is None or other is None:
        return one or other
    return other if other.remaining < one.remaining else one


def _tightest(answer: Answer) -> dict[Kind, int]:
    places: dict[Kind, int] = {}
    least: dict[Kind, int] = {}
    for place, bound in enumerate(answer.plan.bounds):
        left = bound.value - answer.numbers[3 + 2 * place]
        if bound.kind not in least or left < least[bound.kind]:
            places[bound.kind], least[bound.kind] = place, left
    return places


def _meter(answer: Answer, place: int) -> Meter:
    bound = answer.plan.bounds[place]
    return Meter(
        kind=bound.kind,
        scope=bound.scope,
        owner_id=bound.owner_id,
        limit=bound.value,
        used=answer.numbers[3 + 2 * place],
        reset_s=answer.numbers[4 + 2 * place] / 1000,
    )


def _bounds(rule: RateRule) -> list[Bound]:
    values: dict[Kind, int | None] = {
        "requests": rule.requests_per_minute,
        "tokens": rule.tokens_per_minute,
        "concurrency": rule.concurrency,
    }
    return [
        Bound(kind, rule.scope, rule.owner_id, value)
        for kind, value in values.items()
        if value is not None
    ]


def _key(installation: str, tenant_id: int, bound: Bound) -> str:
    tag = f"m{bound.owner_id}" if bound.scope == "model" else f"t{tenant_id}"
    return f"rl:{{{installation}:{tag}}}:{bound.kind}:{bound.scope}:{bound.owner_id}"
