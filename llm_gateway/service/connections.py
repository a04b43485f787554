"""Know the long-lived connections of this process by their key, and end those of a stopped one.

Keys are looked at again when configuration changed and when one expires: nothing is asked of the
database in between, however many connections there are.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from functools import cache

from msgspec import Struct

from llm_gateway.errors import (
    GatewayError,
    InvalidApiKeyError,
    PermissionDeniedError,
    RateLimitError,
)
from llm_gateway.service.credentials import authenticate
from llm_gateway.service.runtime import Runtime
from tenants.types import Caller

MOST_OF_A_KEY = 100
LOOK_S = 1.0

log = logging.getLogger(__name__)


class Connection(Struct, frozen=True, eq=False):
    """One connection: the key it came with, as headers, and how it is ended."""

    caller: Caller
    carrier: Mapping[bytes, bytes]
    end: Callable[[], Awaitable[None]]


@cache
def connections(runtime: Runtime) -> "Connections":
    return Connections(runtime)


class Connections:
    """Those of one process; it watches while there are any."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._by_key: defaultdict[str, set[Connection]] = defaultdict(set)
        self._watch: asyncio.Task[None] | None = None

    def join(self, connection: Connection) -> None:
        """Take a connection in. Raises PermissionDeniedError where its key has too many."""
        mates = self._by_key[connection.caller.key_public_id]
        if len(mates) >= MOST_OF_A_KEY:
            raise PermissionDeniedError(f"This key has {MOST_OF_A_KEY} connections already.")
        mates.add(connection)
        if self._watch is None or self._watch.done():
            self._watch = asyncio.create_task(self._look_again(), name="connections watch")

    def leave(self, connection: Connection) -> None:
        key = connection.caller.key_public_id
        self._by_key[key].discard(connection)
        if not self._by_key[key]:
            del self._by_key[key]

    async def _look_again(self) -> None:
        version = self._runtime.snapshot.current.version
        while self._by_key:
            await asyncio.sleep(LOOK_S)
            before, version = version, self._runtime.snapshot.current.version
            now = self._runtime.wall_clock()
            for mates in [set(mates) for mates in self._by_key.values()]:
                one = next(iter(mates))
                expired = one.caller.expires_at is not None and one.caller.expires_at <= now
                if (version != before or expired) and not await self._holds(one):
                    await self._end(mates)

    async def _holds(self, connection: Connection) -> bool:
        try:
            await authenticate(self._runtime, {}, connection.carrier)
        except (InvalidApiKeyError, RateLimitError):  # too many wrong ones is wrong as well
            return False
        except GatewayError as error:
            log.warning("Connections of a key stay: %s", error.message)
        return True

    async def _end(self, mates: set[Connection]) -> None:
        for connection in mates:
            try:
                await connection.end()
            except Exception:
                log.exception("A connection could not be ended")
