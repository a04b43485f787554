"""Our ledger is the provider's bill, through a thousand requests and all that goes wrong (M3)."""

import secrets
from collections.abc import Sequence

import pytest

from tests.fleet.billed import ACQUAINTED, Case, Draw, Verdict, compared
from tests.fleet.fleet import Fleet
from tests.fleet.town import secret
from tests.harness.books import Row
from tests.harness.crowd import Crowd, crowded, each
from tests.harness.dialects import Told
from tests.harness.together import until

REQUESTS, AT_ONCE = 1000, 32
BROKEN = 60
KEY, TENANT = secret("billed"), "billed"

pytestmark = pytest.mark.promise("M3")


async def asked(crowd: Crowd, cases: Sequence[Case]) -> list[Told]:
    return await each(
        cases,
        lambda case: crowd.ask(case.caller, case.target, key=KEY, **case.fields()),
        at_once=AT_ONCE,
    )


def scripted(fleet: Fleet, cases: Sequence[Case]) -> None:
    for case in cases:
        fleet.upstream.script(case.name, *(script for script, _ in case.attempts))


def settled(fleet: Fleet) -> list[Row]:
    """Return the entries of our tenant, once nothing is held any more.

    What nobody knows the end of is charged a minute later: the minute is over.
    """
    fleet.upstream.wait_ended(len(fleet.upstream.seen().calls), 30)
    ((tenant,),) = fleet.sql("SELECT id FROM tenants_tenant WHERE name = %s", TENANT)

    def nothing_held() -> bool:
        fleet.sql(
            "UPDATE ledger_hold SET deadline_at = ledger_now() - interval '1 s'"
            " WHERE state = 'uncertain' AND tenant_id = %s",
            tenant,
        )
        held = fleet.sql("SELECT count(*) FROM ledger_hold WHERE tenant_id = %s", tenant)
        return held == [(0,)]

    until(nothing_held, 60, 0.5)
    return [row for row in fleet.books.entries() if row["tenant_id"] == tenant]


def judged(fleet: Fleet, cases: Sequence[Case]) -> Verdict:
    entries, bill = settled(fleet), fleet.upstream.bill().rows
    verdict = compared(cases, bill, entries)
    print(  # noqa: T201 - figures
        f"{len(bill)} calls, {len(entries)} entries; of {verdict.guessed_bill} n$ that nobody"
        f" reported {verdict.guessed_charge} charged: {verdict.off:.2%} off"
    )
    return verdict


def test_the_ledger_equals_the_bill(fleet: Fleet) -> None:
    seed = secrets.randbits(32)
    print(f"seed {seed}")  # noqa: T201 - shown where it fails
    cases = list(Draw(seed).cases(REQUESTS))
    scripted(fleet, cases)
    fleet.crowded(lambda crowd: asked(crowd, cases))
    judged(fleet, cases).check()
    assert fleet.books.audit().ok


def test_work_that_is_given_away_would_be_seen(fleet: Fleet) -> None:
    """Control: a process that charges nothing for answers that broke."""
    drawn = list(Draw(secrets.randbits(32)).cases(ACQUAINTED + 20 * BROKEN))
    cases = [case for case in drawn if case.what in {"500", "reset", "end too soon"}][:BROKEN]
    scripted(fleet, cases)
    with fleet.mutant("forgiving") as port:
        crowded(port, lambda crowd: asked(crowd, cases))
        verdict = judged(fleet, cases)
    with pytest.raises(AssertionError, match="not flagged"):
        verdict.check()
