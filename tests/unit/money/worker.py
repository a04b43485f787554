"""A process that uses the ledger, for tests that need several or that kill one.

`worker.py race URL BUDGET COUNT` waits for a line, admits that many at once, prints how many.
`worker.py pairs URL BUDGET SECONDS` waits for a line, admits and settles for so long, prints how
many.
`worker.py spend URL BUDGET` admits and settles without end and prints each durable request id.
"""

import asyncio
import sys
import time
from typing import TYPE_CHECKING, Any

from psycopg.conninfo import conninfo_to_dict

from tenants.money.ledger import Ledger
from tenants.money.postgres import PostgresStore
from tenants.money.sqlite import SqliteStore
from tenants.money.types import Hold
from tenants.types import BudgetRule
from tests.unit.money.ground_values import KEY, budget_rule, request, settled

if TYPE_CHECKING:
    from tenants.money.store import Store

CALLERS = 16  # of a process that measures


async def main(act: str, url: str, budget_id: str, count: str = "0") -> None:
    ledger = Ledger(store_at(url), lambda: KEY)
    ledger.start()
    rule = budget_rule(int(budget_id))
    if act == "race":
        await race(ledger, rule, int(count))
    elif act == "pairs":
        await pairs(ledger, rule, float(count))
    else:
        await asyncio.gather(*(spend(ledger, rule) for _ in range(8)))


def store_at(url: str) -> "Store":
    if url.startswith("sqlite"):
        return SqliteStore(url.removeprefix("sqlite:///"))
    parameters: dict[str, Any] = conninfo_to_dict(url)
    return PostgresStore(**parameters)


async def race(ledger: Ledger, rule: BudgetRule, count: int) -> None:
    say("ready")
    await asyncio.to_thread(sys.stdin.readline)
    answers = await asyncio.gather(*(ledger.admit(request(100, rule)) for _ in range(count)))
    say(sum(isinstance(each, Hold) for each in answers))
    await ledger.close()


async def pairs(ledger: Ledger, rule: BudgetRule, seconds: float) -> None:
    await pair(ledger, rule)  # makes the bucket
    say("ready")
    await asyncio.to_thread(sys.stdin.readline)
    done, end = 1, time.monotonic() + seconds

    async def caller() -> None:
        nonlocal done
        while time.monotonic() < end:
            await pair(ledger, rule)
            done += 1

    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    await ledger.close()
    say(done)


async def spend(ledger: Ledger, rule: BudgetRule) -> None:
    while True:
        say((await pair(ledger, rule)).request.request_id.hex)


async def pair(ledger: Ledger, rule: BudgetRule) -> Hold:
    hold = await ledger.admit(request(100, rule))
    assert isinstance(hold, Hold)
    await ledger.settle(hold, settled(7))
    return hold


def say(word: object) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
