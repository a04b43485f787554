"""Idempotency keys in the ledger, on real databases (`money.md` §10)."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

import pytest

from tenants.ids import new_id
from tenants.money.claims import Claim, Claimed, ClaimState, Kept
from tenants.money.ledger import Ledger
from tenants.money.ops import Settle, TakeClaim
from tenants.money.spool import Spool
from tenants.money.types import Charges, Hold
from tests.unit.money.ground import Clock, Ground, ground
from tests.unit.money.ground_values import TENANT, request, settled

__all__ = ["ground"]

START = datetime(2026, 5, 5, 12, tzinfo=UTC)
HEADERS = (("x-mobius-model", "m"),)

pytestmark = pytest.mark.promise("M7")


def claim(key: str = "k", *, fingerprint: str = "f", request_id: UUID | None = None) -> Claim:
    return Claim(
        tenant_id=TENANT,
        api_key_id=7,
        key=key,
        fingerprint=fingerprint,
        request_id=request_id or new_id(),
    )


def kept(of: Claim, body: bytes | None = b"sealed") -> Kept:
    return Kept(claim=of, status=200, headers=HEADERS, body=body)


async def answered(ledger: Ledger, of: Claim, body: bytes | None = b"sealed") -> None:
    hold = await ledger.admit(request(5, request_id=of.request_id))
    assert isinstance(hold, Hold)
    await ledger.settle(hold, settled(5), kept(of, body))


async def test_of_256_who_claim_a_key_at_once_one_has_it(ground: Ground) -> None:
    ours = [ground.ledger() for _ in range(2 if ground.backend == "postgres" else 1)]
    wanted = [claim(f"k{n % 4}") for n in range(256)]
    found = await asyncio.gather(
        *(ours[n % len(ours)].claim(each) for n, each in enumerate(wanted))
    )
    winners = Counter(
        each.key
        for each, result in zip(wanted, found, strict=True)
        if each.request_id == result.request_id
    )
    assert winners == dict.fromkeys(("k0", "k1", "k2", "k3"), 1)
    assert {each.state for each in found} == {"running"}
    for ledger in ours:
        await ledger.close()


@pytest.mark.parametrize(("body", "state"), [(b"sealed", "done"), (None, "unreplayable")])
async def test_an_answer_is_kept_with_its_entry(
    ground: Ground, body: bytes | None, state: ClaimState
) -> None:
    ledger, first = ground.ledger(), claim()
    await ledger.claim(first)
    await answered(ledger, first, body)
    found = await ledger.claim(claim(fingerprint="other"))
    assert found == Claimed(
        request_id=first.request_id,
        fingerprint="f",
        state=state,
        status=200,
        headers=HEADERS,
        body=body,
    )
    await ledger.close()
    assert (ground.verify().ok, ground.count("ledger_entry")) == (True, 1)


async def test_a_claim_that_is_given_back_is_free_and_an_answer_stays(ground: Ground) -> None:
    ledger, first, second = ground.ledger(), claim(), claim()
    await ledger.claim(first)
    await ledger.drop_claim(second)  # of a request that does not have it
    assert (await ledger.claim(second)).request_id == first.request_id
    await ledger.drop_claim(first)
    assert (await ledger.claim(second)).request_id == second.request_id
    await answered(ledger, second)
    await ledger.drop_claim(second)
    assert (await ledger.claim(claim())).state == "done"
    await ledger.close()


async def test_a_late_answer_does_not_take_a_key_from_the_next_request(ground: Ground) -> None:
    ledger, first, second = ground.ledger(), claim(), claim()
    await ledger.claim(first)
    await ledger.drop_claim(first)
    await ledger.claim(second)
    await answered(ledger, first)
    found = await ledger.claim(claim())
    assert (found.request_id, found.state) == (second.request_id, "running")
    await ledger.close()


def test_claims_of_dead_writers_and_old_ones_go(ground: Ground) -> None:
    clock = Clock(ground, START)
    dead, live = ground.session(clock), ground.session(clock)
    dead.commit([TakeClaim(claim("dead"))])
    live.commit([TakeClaim(claim("live"))])
    for _ in range(8):
        clock.forward(5)
        live.beat()
    live.sweep(Charges())
    assert ground.run("SELECT key FROM ledger_idempotency") == [("live",)]
    mine = claim("dead")
    (found,) = live.commit([TakeClaim(mine)])
    assert isinstance(found, Claimed)
    assert found.request_id == mine.request_id
    for _ in range(9):
        clock.forward(10_000)
        live.beat()
    late = claim("live")
    (found,) = live.commit([TakeClaim(late)])  # too old before any sweep
    assert isinstance(found, Claimed)
    assert found.request_id == late.request_id
    for _ in range(8):
        clock.forward(5)
        live.beat()
    live.sweep(Charges())
    assert ground.run("SELECT key FROM ledger_idempotency") == [("live",)]


async def test_a_spooled_settle_brings_its_answer(ground: Ground) -> None:
    ledger, first = ground.ledger(), claim()
    await ledger.claim(first)
    hold = await ledger.admit(request(5, request_id=first.request_id))
    assert isinstance(hold, Hold)
    await ledger.close()
    left = Spool(ground.home / "spool")
    assert left.write([Settle(hold, settled(5), kept(first, b"\x00\xff"))])
    left.close()
    session = ground.session(time.monotonic)

    def run(settles: Sequence[Settle]) -> list[Settle]:
        session.commit(settles)
        return []

    Spool(ground.home / "spool").replay(run)
    (found,) = session.commit([TakeClaim(claim())])
    assert isinstance(found, Claimed)
    assert (found.state, found.body) == ("done", b"\x00\xff")
