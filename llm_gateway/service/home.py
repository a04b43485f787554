"""Run what needs the runtime in the event loop it belongs to, whoever asks and from where.

That is the server's loop, and where nobody serves (a Celery worker, a command) one of our own in a
thread: a runtime cannot move between loops, and `asyncio.run` makes a new one each time.
"""

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from llm_gateway.service import process

Result = TypeVar("Result")

_lock = threading.Lock()
_own: asyncio.AbstractEventLoop | None = None


async def at_home(work: Coroutine[Any, Any, Result]) -> Result:
    """Await `work` where the runtime lives."""
    home = _home()
    if home is asyncio.get_running_loop():
        return await work
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, home))


def wait_at_home(work: Coroutine[Any, Any, Result]) -> Result:
    """Run `work` where the runtime lives, and block until it is done."""
    home = _home()
    if asyncio._get_running_loop() is home:  # noqa: SLF001 - None where none runs, no exception
        work.close()
        raise RuntimeError("This would wait for its own event loop: await the gateway instead.")
    return asyncio.run_coroutine_threadsafe(work, home).result()


def _home() -> asyncio.AbstractEventLoop:
    return process.loop() or _own_loop()


def _own_loop() -> asyncio.AbstractEventLoop:
    global _own  # noqa: PLW0603 - one for the life of the process
    with _lock:
        if _own is None:
            _own = asyncio.new_event_loop()
            threading.Thread(target=_own.run_forever, name="mobius-gateway", daemon=True).start()
        return _own
