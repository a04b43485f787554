"""The one `Runtime` of this process: opened on first use, closed at the end."""

import asyncio

from llm_gateway.service.carried import read_to_the_end
from llm_gateway.service.runtime import Runtime

_runtime: Runtime | None = None
_opening: asyncio.Lock | None = None
_loop: asyncio.AbstractEventLoop | None = None


async def opened() -> Runtime:
    """Return the runtime, opening it first where nobody has."""
    global _runtime, _opening, _loop  # noqa: PLW0603 - one of each for the life of the process
    if _runtime is not None:
        return _runtime
    _opening = _opening or asyncio.Lock()
    async with _opening:
        if _runtime is None:
            runtime = Runtime()
            await runtime.start()
            _runtime, _loop = runtime, asyncio.get_running_loop()
    return _runtime


def loop() -> asyncio.AbstractEventLoop | None:
    """Return the event loop that the runtime belongs to, None where it is not open."""
    return _loop if _runtime is not None else None


async def close() -> None:
    """Close what was opened; the next use opens anew."""
    global _runtime, _opening
    runtime, _runtime, _opening = _runtime, None, None
    if runtime is not None:
        await read_to_the_end()
        await runtime.close()


def drain() -> None:
    """Take no new requests; running ones go on."""
    if _runtime is not None:
        _runtime.draining = True
