"""However a stream ends, its slot is free at once; after a kill, when its lease ends (M11)."""

import asyncio
import os
import random
import secrets
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tests.fleet.fleet import Fleet
from tests.fleet.town import BROKEN, SLOTS, secret
from tests.harness.crowd import Crowd, crowded, each
from tests.harness.dialects import ANTHROPIC, OPENAI, Told
from tests.harness.together import in_time
from tests.upstream.scripts import cut, delayed, failing, gated, paced, stalled

STREAMS = 1000
FREE_WITHIN_S, FREE_AFTER_KILL_S = 1.0, 60.0
LEASE_S = 30.0
LOOK_EVERY_S = 0.02
SLOTTED, KILLED = secret("slotted"), secret("slotted-killed")

pytestmark = [pytest.mark.promise("M11"), pytest.mark.timed]

# How a stream ends: what the provider does, and what the caller brings about.
SCRIPTS = {
    "success": paced(2),
    "leaves in the middle": paced(5),
    "leaves before the first byte": delayed(30),
    "deadline before the first byte": stalled(),
    "deadline in the middle": stalled(4),
    "500": failing(500),
    "503": failing(503),
    "cut": cut("rst", at_event=4),
}
CALLERS: Mapping[str, Mapping[str, Any]] = {
    "leaves in the middle": {"leave_at": 1},
    "leaves before the first byte": {"leave_after_s": 0.01},
    "deadline before the first byte": {"headers": {"x-mobius-timeout": "0.1"}},
    "deadline in the middle": {"headers": {"x-mobius-timeout": "0.1"}},
}
FAILING = {"500", "503", "cut"}  # each at a deployment of its own: circuits stay closed


class Lane:
    """One after the other: who has ended is followed at once, so a slot that sticks is felt."""

    def __init__(self, crowd: Crowd, waits: list[float]) -> None:
        self._crowd, self._waits = crowd, waits

    async def run(self, number: int, ending: str) -> Told:
        model = f"slot-{number % BROKEN}" if ending in FAILING else "slot"
        dialect = OPENAI if number % 2 else ANTHROPIC
        content = f"count, please [[script:{ending}]]"
        asked = time.monotonic()
        while True:
            told = await self._crowd.ask(
                dialect, model, stream=True, content=content, key=SLOTTED, **CALLERS.get(ending, {})
            )
            if told.status != 429:
                return told
            waited = time.monotonic() - asked
            self._waits.append(waited)
            in_time(waited, FREE_WITHIN_S)
            await asyncio.sleep(LOOK_EVERY_S)


def endings(seed: int) -> list[str]:
    rng = random.Random(seed)
    names = [*SCRIPTS] * (STREAMS // len(SCRIPTS))
    rng.shuffle(names)
    return names


async def streams(crowd: Crowd, names: list[str], waits: list[float]) -> list[Told]:
    lane = Lane(crowd, waits)
    return await each(enumerate(names), lambda item: lane.run(*item), at_once=SLOTS)


def told_of(names: list[str], told: list[Told]) -> dict[str, Counter[int]]:
    found: dict[str, Counter[int]] = {name: Counter() for name in SCRIPTS}
    for name, one in zip(names, told, strict=True):
        found[name][one.status] += 1
    return found


def kill_all_workers(fleet: Fleet) -> float:
    """Kill every process in the middle of one stream each; return when, once all serve again."""

    async def begin(crowd: Crowd) -> list[Told]:
        asks = [
            asyncio.ensure_future(
                crowd.ask(OPENAI, "slot", stream=True, key=KILLED, content="[[script:killed]]")
            )
            for _ in range(SLOTS)
        ]
        await asyncio.to_thread(fleet.upstream.wait_seen, SLOTS)
        full = await crowd.ask(OPENAI, "slot", key=KILLED)
        assert full.status == 429
        for pid in fleet.gateway.workers:
            os.kill(pid, signal.SIGKILL)
        return await asyncio.gather(*asks)

    fleet.upstream.script("killed", gated("never", 3))
    cuts = fleet.crowded(begin, lines=2)
    killed_at = time.monotonic()
    assert not any(told.clean for told in cuts)
    fleet.revived()
    return killed_at


def free(port: int, key: str) -> bool:
    """Say whether all slots of a key can be had at once."""

    async def ask(crowd: Crowd) -> list[Told]:
        content = "[[script:together]]"
        return await each(
            range(SLOTS),
            lambda _: crowd.ask(OPENAI, "slot", key=key, content=content),
            at_once=SLOTS,
        )

    return [told.status for told in crowded(port, ask)] == [200] * SLOTS


def until_free(port: int, key: str, since: float, limit_s: float) -> float:
    """Return how long after `since` all slots were free."""
    while not free(port, key):
        assert time.monotonic() - since < limit_s, "slots are stuck"
        time.sleep(0.2)
    return time.monotonic() - since


def test_a_thousand_streams_however_they_end_leave_no_slot_taken(fleet: Fleet) -> None:
    seed = secrets.randbits(32)
    print(f"seed {seed}")  # noqa: T201 - shown where it fails
    for name, script in SCRIPTS.items():
        fleet.upstream.script(name, script)
    fleet.upstream.script("together", delayed(100))
    killed_at = kill_all_workers(fleet)

    names, waits = endings(seed), list[float]()
    told = fleet.crowded(lambda crowd: streams(crowd, names, waits), lines=2)
    ended_at = time.monotonic()
    found = told_of(names, told)
    assert found["success"].keys() == {200}, found
    assert found["500"].keys() == {502}
    assert found["503"].keys() == {503}
    assert found["deadline before the first byte"].keys() == {504}
    assert found["leaves before the first byte"].keys() == {0}
    assert sum(found["cut"].values()) == STREAMS // len(SCRIPTS)
    in_time(until_free(fleet.gateway.port, SLOTTED, ended_at, 2.0), FREE_WITHIN_S + 0.5)
    killed_s = until_free(fleet.gateway.port, KILLED, killed_at, FREE_AFTER_KILL_S)
    assert LEASE_S - 5 < killed_s <= FREE_AFTER_KILL_S
    assert fleet.running() == 0
    print(f"longest wait {max(waits, default=0):.3f} s, after the kill {killed_s:.1f} s")  # noqa: T201 - figures


def test_slots_that_nobody_gives_back_are_seen(fleet: Fleet) -> None:
    """Control: a process that forgets to free them."""
    fleet.upstream.script("success", paced(2))
    names = ["success"] * (SLOTS + 1)
    with fleet.mutant("leaking") as port:
        scene: Callable[[Crowd], Any] = lambda crowd: streams(crowd, names, [])  # noqa: E731
        with pytest.raises(AssertionError, match="it took"):
            crowded(port, scene)
