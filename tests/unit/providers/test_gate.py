"""A gate serves tenants in turn, lets few wait and gives each slot to one."""

import asyncio

import pytest

from llm_gateway.errors import BusyError
from llm_gateway.providers.gate import Gate

LOUD, QUIET = 1, 2


def soon() -> float:
    return asyncio.get_running_loop().time() + 5


class Entering:
    """Those who enter a gate, in the order in which they were let in."""

    def __init__(self, gate: Gate) -> None:
        self.gate, self.let_in, self.refused = gate, list[str](), list[str]()

    async def enter(self, name: str, whose: int) -> None:
        try:
            await self.gate.enter(whose, deadline=soon())
        except BusyError:
            self.refused.append(name)
        else:
            self.let_in.append(name)

    async def all(self, *names: str) -> list[asyncio.Task[None]]:
        """Have each enter; a name begins with the letter of its tenant."""
        tasks = [
            asyncio.create_task(self.enter(name, LOUD if name[0] == "l" else QUIET))
            for name in names
        ]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return tasks

    async def leave(self) -> None:
        self.gate.leave()
        for _ in range(4):
            await asyncio.sleep(0)


async def test_tenants_are_served_in_turn() -> None:
    entering = Entering(Gate(3, longest_s=5))
    await entering.all("l0", "l1", "l2", "l3", "l4", "l5", "q0", "q1")
    for _ in range(5):
        await entering.leave()
    assert entering.let_in == ["l0", "l1", "l2", "l3", "q0", "l4", "q1", "l5"]
    assert entering.gate.busy == 3


async def test_the_longest_queue_gives_up_its_newest() -> None:
    entering = Entering(Gate(2, longest_s=5))
    await entering.all("l0", "l1", "l2", "l3", "l4", "l5", "l6")
    assert entering.refused == ["l6"]
    await entering.all("q0", "q1", "q2")
    await asyncio.sleep(0)
    assert sorted(entering.refused) == ["l4", "l5", "l6", "q2"]
    for _ in range(4):
        await entering.leave()
    assert entering.let_in == ["l0", "l1", "l2", "q0", "l3", "q1"]


async def test_a_queue_that_stays_gets_shorter() -> None:
    gate = Gate(4, longest_s=5)
    entering = Entering(gate)
    await entering.all(*(f"l{n}" for n in range(4 + 8)))
    assert not entering.refused
    gate._began -= 10
    await entering.leave()
    await entering.all("l12")
    assert entering.refused == ["l12"]
    for _ in range(6):
        await entering.leave()
    await entering.all("l13")
    assert entering.refused == ["l12"]


async def test_who_leaves_the_queue_takes_no_slot_along() -> None:
    gate = Gate(1, longest_s=0.05)
    entering = Entering(gate)
    await entering.all("l0")
    leaving, staying = await entering.all("l1", "q0")
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    await asyncio.wait_for(staying, 1)
    assert entering.refused == ["q0"]
    gate.leave()
    assert (gate.busy, gate._waiting, len(gate._queues)) == (0, 0, 0)


async def test_a_slot_given_to_who_leaves_at_that_moment_is_given_on() -> None:
    gate = Gate(1, longest_s=5)
    entering = Entering(gate)
    await entering.all("l0")
    (leaving,) = await entering.all("l1")
    gate.leave()
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    assert gate.busy == 0


async def test_a_wait_ends_with_the_deadline() -> None:
    gate = Gate(1, longest_s=5)
    await gate.enter(LOUD, deadline=soon())
    with pytest.raises(BusyError):
        await gate.enter(LOUD, deadline=asyncio.get_running_loop().time())
