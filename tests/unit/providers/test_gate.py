"""A gate serves tenants in turn, lets few wait and gives each slot to one."""

import asyncio
from collections import deque

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

    async def leave(self, whose: int = LOUD) -> None:
        self.gate.leave(whose)
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


@pytest.fixture
async def standing() -> Entering:
    """Return a gate of four slots where calls take a second, and many have waited for long."""
    gate = Gate(4, longest_s=5)
    entering = Entering(gate)
    await entering.all(*(f"l{n}" for n in range(4 + 8)))
    assert not entering.refused
    gate._began -= 10
    return entering


def has_run_for(gate: Gate, *seconds: float) -> None:
    """Have the calls run for so long already, where a second is usual."""
    gate._usual_s = 1
    gate._running = deque(asyncio.get_running_loop().time() - each for each in seconds)


async def test_a_queue_that_stays_gets_shorter(standing: Entering) -> None:
    await standing.leave()
    await standing.all("l12")
    assert standing.refused == ["l12"]
    for _ in range(6):
        await standing.leave()
    has_run_for(standing.gate, 0.8, 0.7, 0.6, 0.3)
    await standing.all("l13", "l14")
    assert standing.refused == ["l12", "l14"]


async def test_where_a_queue_stays_one_waits_for_a_call_that_is_soon_done(
    standing: Entering,
) -> None:
    for _ in range(8):
        await standing.leave()
    has_run_for(standing.gate, 0.4, 0.3, 0.2, 0.1)
    await standing.all("l12")
    assert standing.refused == ["l12"]
    has_run_for(standing.gate, 0.6, 0.3, 0.2, 0.1)
    await standing.all("l13", "l14")
    assert standing.refused == ["l12", "l14"]


async def test_where_calls_are_short_a_whole_one_is_waited_for(standing: Entering) -> None:
    for _ in range(8):
        await standing.leave()
    has_run_for(standing.gate, 0, 0, 0, 0)
    standing.gate._usual_s = 0.02
    await standing.all("l12", "l13", "l14")
    assert standing.refused == ["l14"]


async def test_who_has_nothing_running_waits_nevertheless(standing: Entering) -> None:
    for _ in range(8):
        await standing.leave()
    has_run_for(standing.gate, 0.4, 0.3, 0.2, 0.1)
    await standing.all("l12", "q0", "q1")
    assert standing.refused == ["l12"]
    await standing.leave()
    assert standing.let_in[-1] == "q0"


async def test_how_long_calls_take_is_learnt_from_those_that_end() -> None:
    gate = Gate(2, longest_s=5)
    for _ in range(2):
        await gate.enter(LOUD, deadline=soon())
    has_run_for(gate, 4, 3)
    gate._usual_s = 0
    gate.leave(LOUD)
    assert gate._usual_s == pytest.approx(4, abs=0.1)
    gate.leave(LOUD)
    assert 3 < gate._usual_s < 4


async def test_who_leaves_the_queue_takes_no_slot_along() -> None:
    gate = Gate(1, longest_s=0.05)
    entering = Entering(gate)
    await entering.all("l0")
    leaving, staying = await entering.all("l1", "q0")
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    await asyncio.wait_for(staying, 1)
    assert entering.refused == ["q0"]
    gate.leave(LOUD)
    assert (gate.busy, gate._waiting, len(gate._queues)) == (0, 0, 0)


async def test_a_slot_given_to_who_leaves_at_that_moment_is_given_on() -> None:
    gate = Gate(1, longest_s=5)
    entering = Entering(gate)
    await entering.all("l0")
    (leaving,) = await entering.all("l1")
    gate.leave(LOUD)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    assert gate.busy == 0


async def test_a_wait_ends_with_the_deadline() -> None:
    gate = Gate(1, longest_s=5)
    await gate.enter(LOUD, deadline=soon())
    with pytest.raises(BusyError):
        await gate.enter(LOUD, deadline=asyncio.get_running_loop().time())
