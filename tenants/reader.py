"""Read configuration rows in one thread of its own, so that the event loop never waits for SQL."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from django.db import Error, connection

Result = TypeVar("Result")


class Reader:
    """One thread with one database connection that lives as long as it works."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(
            1, thread_name_prefix="mobius-reader", initializer=_leave_the_pool
        )

    async def read(self, function: Callable[[], Result]) -> Result:
        """Run `function` in the thread, again if its connection was found broken.

        Raises what it raises, django.db.Error among it.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, _guarded, function)

    def close(self) -> None:
        self._thread.submit(connection.close)
        self._thread.shutdown(wait=True)


def _leave_the_pool() -> None:
    """Let this thread connect by itself: after a loss the pool waits for seconds between attempts.

    Whoever brings a key that nobody has read yet is let in as soon as the database answers.
    """
    options = dict(connection.settings_dict["OPTIONS"])
    if options.pop("pool", None):
        connection.settings_dict = {**connection.settings_dict, "OPTIONS": options}


def _guarded(function: Callable[[], Result]) -> Result:
    kept = connection.connection
    try:
        return function()
    except Error:
        # The next read opens a new connection: a broken one is never used twice.
        connection.close()
        # One that broke while nobody used it says nothing about the database as it is now.
        if not getattr(kept, "closed", False):
            raise
    return _guarded(function)
