"""Do the database's work of the service beside the event loop, and give each connection back."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from django.db import Error, connection

from llm_gateway.errors import RefusalError

Result = TypeVar("Result")

_threads = ThreadPoolExecutor(2, thread_name_prefix="mobius-stored")


async def in_database(work: Callable[[], Result]) -> Result:
    """Run `work` in a thread. Raises what it raises; RefusalError where the database is away."""
    loop = asyncio.get_running_loop()
    try:
        return await loop.run_in_executor(_threads, _closing, work)
    except Error:
        raise RefusalError("The database cannot be used now.", retry_after_s=2) from None


def _closing(work: Callable[[], Result]) -> Result:
    try:
        return work()
    finally:
        connection.close()
