"""The one `Runtime` of this process: opened on first use, closed at the end."""

import asyncio
from collections.abc import Callable

from llm_gateway.service.billed_probes import probe_for_ever
from llm_gateway.service.carried import read_to_the_end
from llm_gateway.service.leaving import Leaving
from llm_gateway.service.looking import answer_looks
from llm_gateway.service.model_lists import look_for_ever
from llm_gateway.service.runtime import Runtime
from llm_gateway.service.vitals import vitals
from llm_gateway.types import Settings

_runtime: Runtime | None = None
_opening: asyncio.Lock | None = None
_loop: asyncio.AbstractEventLoop | None = None
_leaving: Leaving | None = None


async def opened(make: Callable[[], Runtime] = Runtime) -> Runtime:
    """Return the runtime, opening the one that `make` returns first where nobody has."""
    global _runtime, _opening, _loop  # noqa: PLW0603 - one of each for the life of the process
    if _runtime is not None:
        return _runtime
    _opening = _opening or asyncio.Lock()
    async with _opening:
        if _runtime is None:
            runtime = make()
            await runtime.start()
            runtime.begin(answer_looks(runtime), "looks")
            runtime.begin(vitals(runtime).watch(), "vitals")
            runtime.begin(look_for_ever(runtime), "model lists")
            runtime.begin(probe_for_ever(runtime), "billed probes")
            _runtime, _loop = runtime, asyncio.get_running_loop()
    return _runtime


def current() -> Runtime | None:
    """Return the runtime that is open, None where none is."""
    return _runtime


def loop() -> asyncio.AbstractEventLoop | None:
    """Return the event loop that the runtime belongs to, None where it is not open."""
    return _loop if _runtime is not None else None


async def close() -> None:
    """Close what was opened; the next use opens anew."""
    global _runtime, _opening, _leaving
    runtime, _runtime, _opening, _leaving = _runtime, None, None, None
    if runtime is not None:
        await read_to_the_end()
        await runtime.close()


def leave() -> None:
    """Begin to leave, to be called by a signal; the second time, hurry."""
    global _leaving  # noqa: PLW0603 - as above
    if _leaving is not None and _loop is not None:
        _loop.call_soon_threadsafe(_leaving.hurry)
    elif _runtime is not None:
        _leaving = Leaving(_runtime)


def is_stuck() -> bool:
    """Say whether this process makes no progress, and ought to be started anew."""
    return _runtime is not None and bool(vitals(_runtime).health.stuck)


def caller_idle_s() -> float:
    """Return for how long a caller may take nothing of its answer."""
    settings = Settings() if _runtime is None else _runtime.snapshot.current.configuration.settings
    return settings.caller_idle_seconds


def leaving() -> Leaving | None:
    """Return the way out, once it was begun."""
    return _leaving
