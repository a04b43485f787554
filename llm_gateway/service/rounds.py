"""Go round again and again, doing something about each thing, and never twice at once."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable

TICK_S = 0.5

# What to do about each, by its id.
Round = Iterable[tuple[int, Callable[[], Coroutine[None, None, None]]]]


async def go_round(things: Callable[[], Round], name: str) -> None:
    """Begin what is to be done about each thing that nothing is being done about."""
    running: dict[int, asyncio.Task[None]] = {}
    try:
        while True:
            await asyncio.sleep(TICK_S)
            _begin(things(), running, name)
    finally:
        for task in running.values():
            task.cancel()


def _begin(things: Round, running: dict[int, asyncio.Task[None]], name: str) -> None:
    for which, do in things:
        task = running.get(which)
        if task is None or task.done():
            running[which] = asyncio.create_task(do(), name=name)
