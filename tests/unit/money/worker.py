"""A process that uses the ledger, for tests that need several or that kill one.

`worker.py race URL BUDGET COUNT` waits for a line, admits that many at once, prints how many.
`worker.py spend URL BUDGET` admits and settles without end and prints each durable request id.
"""

import asyncio
import sys
from typing import TYPE_CHECKING

from psycopg.conninfo import conninfo_to_dict

from tenants.money.ledger import Ledger
from tenants.money.postgres import PostgresStore
from tenants.money.sqlite import SqliteStore
from tenants.money.types import Hold
from tenants.types import BudgetRule
from tests.unit.money.ground_values import KEY, request, settled

if TYPE_CHECKING:
    from tenants.money.store import Store


async def main(act: str, url: str, budget_id: str, count: str = "0") -> None:
    store: Store = (
        SqliteStore(url.removeprefix("sqlite:///"))
        if url.startswith("sqlite")
        else PostgresStore(**conninfo_to_dict(url))
    )
    ledger = Ledger(store, lambda: KEY)
    ledger.start()
    rule = BudgetRule(
        id=int(budget_id),
        name="b",
        scope="tenant",
        owner_id=1,
        period="total",
        zone="UTC",
        limit_nano=0,
        hard=True,
        mode="strict",
    )
    if act == "race":
        await race(ledger, rule, int(count))
    else:
        await asyncio.gather(*(spend(ledger, rule) for _ in range(8)))


async def race(ledger: Ledger, rule: BudgetRule, count: int) -> None:
    say("ready")
    await asyncio.to_thread(sys.stdin.readline)
    answers = await asyncio.gather(*(ledger.admit(request(100, rule)) for _ in range(count)))
    say(sum(isinstance(each, Hold) for each in answers))
    await ledger.close()


async def spend(ledger: Ledger, rule: BudgetRule) -> None:
    while True:
        hold = await ledger.admit(request(100, rule))
        assert isinstance(hold, Hold)
        await ledger.settle(hold, settled(7))
        say(hold.request.request_id.hex)


def say(word: object) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
