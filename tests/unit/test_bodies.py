"""Large bodies share what a process has for them: nobody's uploads keep everybody else's out."""

import pytest

from llm_gateway.edge.bodies import COPIES, KEPT_FREE, MAX_BODIES_IN_FLIGHT, MAX_BODY, Bodies, Held
from llm_gateway.errors import OverloadedError

LOUD, QUIET = 1, 2
MIB = 1024 * 1024


def held(bodies: Bodies, whose: int, size: int) -> Held:
    found = Held(bodies, whose)
    found.take(size)
    return found


def fill(bodies: Bodies, whose: int, size: int) -> list[Held]:
    """Take bodies until no more of them are let in."""
    taken: list[Held] = []
    try:
        while True:
            taken.append(held(bodies, whose, size))
    except OverloadedError:
        return taken


async def test_room_for_one_of_the_largest_is_left_to_who_holds_little() -> None:
    bodies = Bodies()
    loud = fill(bodies, LOUD, MIB)
    assert MAX_BODIES_IN_FLIGHT // 2 < len(loud) * COPIES * MIB <= MAX_BODIES_IN_FLIGHT - KEPT_FREE
    with pytest.raises(OverloadedError, match="this tenant"):
        held(bodies, LOUD, MIB)
    held(bodies, QUIET, MAX_BODY)
    with pytest.raises(OverloadedError, match="at once"):
        held(bodies, QUIET, MIB)


async def test_what_is_given_back_is_there_again() -> None:
    bodies = Bodies()
    for each in fill(bodies, LOUD, MIB):
        await each.give_back()
    assert bodies.left == MAX_BODIES_IN_FLIGHT
    assert not bodies._by_tenant


async def test_what_was_refused_takes_nothing() -> None:
    bodies = Bodies(COPIES * MIB)
    one = held(bodies, QUIET, MIB // 2)
    with pytest.raises(OverloadedError):
        one.take(MIB)
    await one.give_back()
    assert bodies.left == COPIES * MIB
