"""Write a story into an installation as if it had happened: ledger, request log and sums.

The ledger's own code decides and chains, by a clock that is turned back in this process alone.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from uuid import UUID

import msgspec
from django.conf import settings
from django.db import connection
from msgspec import Struct, structs
from typing_extensions import override

from llm_gateway import pricing
from llm_gateway.configuration.demo_town import Habit
from llm_gateway.insight import partitions
from llm_gateway.management.history import Asked
from llm_gateway.recorder.journal import Journal
from llm_gateway.service.settling import hit_entry
from llm_gateway.snapshot import read_snapshot
from llm_gateway.types import AttemptRecord, CallRecord, Configuration, Deployment, Usage
from tenants.auth import caller_of
from tenants.ids import new_id
from tenants.models import ApiKey, Tenant
from tenants.money.applicable import applicable
from tenants.money.from_settings import ledger_key, postgres_parameters
from tenants.money.lock import ProcessLock
from tenants.money.ops import Admit, Note, Op, Settle
from tenants.money.session import Session
from tenants.money.store import Store
from tenants.money.types import Hold, HoldRequest, Refusal, Settlement
from tenants.types import Caller

GROUP = 64
SCHEMA, NOW = "mobius_past", "mobius.past"


class Clock:
    """What the ledger takes for now."""

    def __init__(self, begin: datetime) -> None:
        self.now = begin

    def __call__(self) -> datetime:
        return self.now

    def seconds(self) -> float:
        return self.now.timestamp()


class Told(Struct, frozen=True):
    """One request of the story, put into the ledger's words."""

    asked: Asked
    caller: Caller
    deployment: Deployment
    usage: Usage
    cost: pricing.Cost
    hold: HoldRequest

    @property
    def settlement(self) -> Settlement:
        failed = self.asked.ending == "failed"
        return Settlement(
            outcome="failed" if failed else "cancelled" if self.left else "settled",
            amount_nano=0 if failed else self.cost.total_nano,
            usage={} if failed else structs.asdict(self.usage),
            lines=() if failed else msgspec.to_builtins(self.cost.lines),
        )

    @property
    def left(self) -> bool:
        return self.asked.ending == "cancelled"


def write_story(hours: Iterable[Sequence[Asked]], habits: Sequence[Habit], begin: datetime) -> int:
    """Write all of it; return how many requests. Nothing else may serve meanwhile."""
    _make_partitions(begin)
    configuration = read_snapshot().configuration
    callers = [_caller(habit) for habit in habits]
    rng, clock, written = Random(1), Clock(begin), 0  # noqa: S311 - no secret
    with closing(Journal()) as journal, _turned_back(clock) as session:
        for group in _groups(hours):
            clock.now = group[-1].at
            told = [_told(one, callers, configuration) for one in group]
            journal.write(_record(_spend(session, told), rng))
            written += len(group)
    return written


def _groups(hours: Iterable[Sequence[Asked]]) -> Iterator[Sequence[Asked]]:
    for asked in hours:
        for first in range(0, len(asked), GROUP):
            yield asked[first : first + GROUP]


# --- the clock


@contextmanager
def _turned_back(clock: Clock) -> Iterator[Session]:
    embedded = connection.vendor == "sqlite"
    with _alone() if embedded else _schema():
        store = _embedded(clock) if embedded else _past(clock)
        session = Session(store, ledger_key, clock.seconds)
        session.connect()
        try:
            yield session
            session.beat(stopped=True)
        finally:
            store.close()


@contextmanager
def _alone() -> Iterator[None]:
    """Keep other processes away from the embedded ledger. Raises LedgerInUseError."""
    lock = ProcessLock(Path(settings.MOBIUS_HOME) / "ledger.lock")
    lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _embedded(clock: Clock) -> Store:
    from tenants.money.sqlite import SqliteStore  # noqa: PLC0415 - one driver is enough

    return SqliteStore(str(connection.settings_dict["NAME"]), clock)


@contextmanager
def _schema() -> Iterator[None]:
    """Keep a `ledger_now` of our own, which only a session that looks for it finds."""
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
        cursor.execute(f"GRANT USAGE ON SCHEMA {SCHEMA} TO PUBLIC")
        cursor.execute(
            f"CREATE OR REPLACE FUNCTION {SCHEMA}.ledger_now() RETURNS timestamptz LANGUAGE sql"
            f" VOLATILE AS $$ SELECT current_setting('{NOW}')::timestamptz $$"
        )
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"DROP SCHEMA {SCHEMA} CASCADE")


def _past(clock: Clock) -> Store:
    from tenants.money.postgres import PostgresStore  # noqa: PLC0415 - psycopg is optional

    class Past(PostgresStore):
        """A session that finds the other `ledger_now` first, and tells it what is now."""

        fast = False  # each transaction then begins by asking what is now

        @override
        def open(self) -> None:
            super().open()
            self._run(
                "SELECT set_config('search_path', %s || current_setting('search_path'), false)",
                (f"{SCHEMA}, ",),
            )
            self.now()

        @override
        def now(self) -> datetime:
            self._run("SELECT set_config('mobius.past', %s, false)", (clock.now.isoformat(),))
            return super().now()

    return Past(**postgres_parameters(connection))


def _make_partitions(begin: datetime) -> None:
    if partitions.is_partitioned(connection):
        month = begin.date().replace(day=1)
        while month <= datetime.now(UTC).date():
            partitions.make_ahead(connection, month)
            month = partitions.month_after(month)


# --- one request


def _caller(habit: Habit) -> Caller:
    tenant = Tenant.objects.get(name=habit.tenant)
    return caller_of(
        ApiKey.objects.of(tenant).select_related("tenant", "project").get(name=habit.key)
    )


def _id_at(instant: datetime) -> UUID:
    """Return an id like those that were minted then."""
    return UUID(int=partitions.first_id(instant).int | (new_id().int & ((1 << 80) - 1)))


def _told(asked: Asked, callers: Sequence[Caller], configuration: Configuration) -> Told:
    caller, deployment = callers[asked.habit], _deployment(asked.model, configuration)
    usage = Usage(
        input=asked.input_tokens, cache_read=asked.cached_tokens, output=asked.output_tokens
    )
    price = pricing.price_for(
        deployment, configuration.terms.get(caller.tenant_id), asked.at.date()
    )
    if price is None:
        raise LookupError(f"{deployment.name} has no price")
    most = max(asked.output_tokens, min(deployment.max_output_tokens or 0, 4096))
    hold = HoldRequest(
        request_id=_id_at(asked.at),
        attempt_no=1,
        tenant_id=caller.tenant_id,
        project_id=caller.project_id,
        api_key_id=caller.key_id,
        deployment_id=deployment.id,
        model=deployment.name,
        price_version_id=price.id,
        amount_nano=pricing.bound(price, input_tokens=asked.input_tokens, output_tokens=most),
        buckets=applicable(
            caller.budgets,
            model=deployment.name,
            asked=asked.model,
            end_user=asked.end_user,
            tags=asked.tags,
        ),
        end_user=asked.end_user,
        tags=dict(asked.tags),
    )
    return Told(asked, caller, deployment, usage, pricing.cost(usage, price), hold)


def _deployment(name: str, configuration: Configuration) -> Deployment:
    route = configuration.routes.get(name)
    return configuration.models[route.targets[0].model if route else name][0]


def _spend(session: Session, told: Sequence[Told]) -> list[tuple[Told, Refusal | None]]:
    """Hold and settle a group; return each with why it was refused."""
    noted: list[Op] = [
        Note(
            hit_entry(
                one.hold.request_id,
                one.caller,
                one.deployment.name,
                one.asked.tags,
                saved_nano=one.cost.total_nano,
            )
        )
        for one in told
        if one.asked.ending == "hit"
    ]
    called = [one for one in told if one.asked.ending != "hit"]
    answers = session.commit([Admit(new_id(), one.hold) for one in called]) if called else []
    held = [(one, answer) for one, answer in zip(called, answers, strict=True)]
    settles: list[Op] = [
        Settle(answer, one.settlement) for one, answer in held if isinstance(answer, Hold)
    ]
    if settles or noted:
        session.commit([*settles, *noted])
    refused = {one.hold.request_id: a for one, a in held if isinstance(a, Refusal)}
    return [(one, refused.get(one.hold.request_id)) for one in told]


def _record(spent: Sequence[tuple[Told, Refusal | None]], rng: Random) -> list[CallRecord]:
    return [_refused(one, refusal) if refusal else _served(one, rng) for one, refusal in spent]


def _refused(told: Told, refusal: Refusal) -> CallRecord:
    return structs.replace(
        _common(told),
        status=402,
        outcome="refused",
        code="insufficient_quota",
        category="budget",
        error=refusal.message,
        duration_ms=3.0,
    )


def _served(told: Told, rng: Random) -> CallRecord:
    asked, settlement = told.asked, told.settlement
    hit, failed = asked.ending == "hit", asked.ending == "failed"
    took = asked.took_s * 1000
    attempt = AttemptRecord(
        number=1,
        provider=told.deployment.provider.name,
        model=told.deployment.name,
        deployment_id=told.deployment.id,
        status=503 if failed else 200,
        category="server" if failed else "",
        outcome=settlement.outcome,
        started_ms=1.0,
        first_token_ms=None if failed else asked.first_token_s * 1000,
        duration_ms=took,
        cost_nano=settlement.amount_nano,
        admit_ms=rng.uniform(0.4, 1.5),
        settle_ms=rng.uniform(0.5, 1.8),
    )
    return structs.replace(
        _common(told),
        status=503 if failed else 499 if told.left else 200,
        outcome="failed" if failed else "cancelled" if told.left else "ok",
        code="no_target_available" if failed else "",
        category="server" if failed else "",
        error="The provider is overloaded." if failed else "",
        finish_reason="" if failed or told.left else "stop",
        input_tokens=0 if failed else asked.input_tokens,
        cached_tokens=0 if failed else asked.cached_tokens,
        output_tokens=0 if failed else asked.output_tokens,
        cost_nano=0 if hit else settlement.amount_nano,
        saved_nano=told.cost.total_nano if hit else 0,
        cache="hit" if hit else "miss" if told.caller.cache_seconds else "off",
        lines=[] if hit else [{"attempt": 1, **line} for line in settlement.lines],
        duration_ms=took,
        first_token_ms=None if failed else asked.first_token_s * 1000,
        attempts=() if hit else (attempt,),
    )


def _common(told: Told) -> CallRecord:
    asked, caller = told.asked, told.caller
    embeds = told.deployment.max_output_tokens is None
    return CallRecord(
        id=told.hold.request_id,
        created_at=asked.at,
        tenant_id=caller.tenant_id,
        api_key_id=caller.key_id,
        project_id=caller.project_id,
        tenant_name=caller.tenant,
        project_name=caller.project or "",
        key_name=caller.key,
        endpoint="/v1/embeddings" if embeds else "/v1/chat/completions",
        dialect="openai_embeddings" if embeds else "openai_chat",
        requested_model=asked.model,
        model=told.deployment.name,
        provider=told.deployment.provider.name,
        stream=asked.stream,
        status=200,
        outcome="ok",
        end_user=asked.end_user,
        tags=asked.tags,
        decision={"limits": [], "candidates": [told.deployment.name], "dropped": [], "steps": []},
    )
