"""A process whose callers use the ledger at the same time as those of others, and tell what of.

`callers.py URL STORE` reads a line for each history: the moment to begin at and, for each caller,
what he does one after the other. It answers with a line of calls.
"""

import asyncio
import sqlite3
import sys
import time
from collections.abc import Collection, Sequence
from contextlib import closing
from datetime import datetime
from typing import Any

import msgspec
import psycopg
import structlog
from msgspec import Struct
from typing_extensions import override

from tenants.money.chain import Head, Linked
from tenants.money.decide import Effects
from tenants.money.ledger import Ledger
from tenants.money.ops import BucketState
from tenants.money.postgres import PostgresStore
from tenants.money.sqlite import SqliteStore
from tenants.money.store import State, bucket_state
from tenants.money.types import Hold
from tests.unit.money.ground_values import KEY, request, settled
from tests.unit.money.legal import Ask, Call, bounds
from tests.unit.money.model import answer_of
from tests.unit.money.worker import say, store_at


class Task(Struct):
    """One history, as far as one process has to do with it."""

    at: float
    callers: list[list[Ask]]


# --- mutations: a decision on what may have changed meanwhile


class UnlockedPostgres(PostgresStore):
    """Buckets are read without a lock, and nobody guards what is written."""

    fast = False

    @override
    def lock_buckets(self, ids: Collection[int], now: datetime) -> dict[int, BucketState]:
        rows = self._run(
            "SELECT b.id, b.starts_at, b.ends_at, b.used_nano, b.held_nano, g.limit_nano, g.hard,"
            " 0 AS raise_nano, '[]' AS thresholds, b.alerted_ppm FROM ledger_bucket b"
            " JOIN ledger_budget g ON g.id = b.budget_id WHERE b.id = ANY(%s)",
            (sorted(ids),),
        )
        return {row.id: bucket_state(row) for row in rows}

    @override
    def apply(
        self, effects: Effects, entries: Sequence[Linked], writer_id: int, head: Head
    ) -> tuple[datetime, Sequence[State]]:
        effects.admitting.clear()
        return super().apply(effects, entries, writer_id, head)


class StaleSqlite(SqliteStore):
    """Buckets are read as they were the time before, and nobody guards what is written."""

    _before: dict[int, BucketState]

    @override
    def lock_buckets(self, ids: Collection[int], now: datetime) -> dict[int, BucketState]:
        before = getattr(self, "_before", {})
        self._before = before | super().lock_buckets(ids, now)
        return self._before | {key: each for key, each in before.items() if key in ids}

    @override
    def apply(
        self, effects: Effects, entries: Sequence[Linked], writer_id: int, head: Head
    ) -> tuple[datetime, Sequence[State]]:
        effects.admitting.clear()
        return super().apply(effects, entries, writer_id, head)


def mutated_store_at(url: str) -> Any:
    if url.startswith("sqlite"):
        return StaleSqlite(url.removeprefix("sqlite:///"))
    parameters: dict[str, Any] = psycopg.conninfo.conninfo_to_dict(url)
    return UnlockedPostgres(**parameters)


# --- callers


class Caller:
    """One who waits for each answer before he asks for more."""

    def __init__(self, ledger: Ledger, url: str) -> None:
        self._ledger = ledger
        self._url = url
        self._holds: dict[int, Hold] = {}

    async def run(self, at: float, asks: Sequence[Ask]) -> list[Call]:
        calls = []
        await asyncio.sleep(at - time.monotonic())
        for ask in asks:
            if ask.act in {"settle", "release"} and ask.attempt not in self._holds:
                continue  # it was not admitted
            began = time.monotonic()
            answer = await self._do(ask)
            calls.append(Call(ask, began, time.monotonic(), answer))
        return calls

    async def _do(self, ask: Ask) -> tuple[Any, ...]:
        if ask.act == "limit":
            await asyncio.to_thread(set_limit, self._url, ask.budgets[0], ask.amount)
            return ()
        if ask.act == "release":
            await self._ledger.release(self._holds.pop(ask.attempt))
            return ()
        result: object
        if ask.act == "admit":
            result = await self._ledger.admit(request(ask.amount, *bounds(ask)))
            if isinstance(result, Hold):
                self._holds[ask.attempt] = result
        else:
            result = await self._ledger.settle(self._holds[ask.attempt], settled(ask.amount))
        return answer_of(result) or ()


def set_limit(url: str, budget_id: int, limit: int) -> None:
    if url.startswith("sqlite"):
        path = url.removeprefix("sqlite:///")
        with closing(sqlite3.connect(path, timeout=5, isolation_level=None)) as file:
            file.execute("UPDATE ledger_budget SET limit_nano = ? WHERE id = ?", (limit, budget_id))
        return
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "UPDATE ledger_budget SET limit_nano = %s WHERE id = %s", (limit, budget_id)
        )


async def main(url: str, store: str) -> None:
    ledger = Ledger(mutated_store_at(url) if store == "mutated" else store_at(url), lambda: KEY)
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    ledger.start()
    say("ready")
    while line := await asyncio.to_thread(sys.stdin.readline):
        task = msgspec.json.decode(line, type=Task)
        callers = (Caller(ledger, url).run(task.at, asks) for asks in task.callers)
        calls = [call for told in await asyncio.gather(*callers) for call in told]
        say(msgspec.json.encode(calls).decode())
    await ledger.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
