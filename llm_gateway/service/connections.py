"""Know the long-lived connections of this process by their key, and end those of a stopped one.

Keys are looked at again when configuration changed and when one expires: nothing is asked of the
database in between, however many connections there are.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import cache

from msgspec import Struct

from llm_gateway.errors import (
    GatewayError,
    InvalidApiKeyError,
    PermissionDeniedError,
    RateLimitError,
)
from llm_gateway.service.credentials import HELD_KEY, identify
from llm_gateway.service.runtime import Runtime
from tenants.types import Caller

MOST_OF_A_KEY = 100
LOOK_S = 1.0

log = logging.getLogger(__name__)


class Connection(Struct, frozen=True, eq=False):
    """One connection: the key it came with, as headers, how it is ended, and how sent away.

    `leave` closes it once what it carries has ended; whom it carried is to come back elsewhere
    after so many seconds.
    """

    caller: Caller
    carrier: Mapping[bytes, bytes]
    end: Callable[[], Awaitable[None]]
    leave: Callable[[float], Awaitable[None]]


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

    @property
    def open(self) -> bool:
        return bool(self._by_key)

    async def send_away(self, hint_s: Callable[[], float]) -> None:
        """Send all away, each to come back after a time of its own."""
        for connection in [one for mates in self._by_key.values() for one in mates]:
            try:
                await connection.leave(hint_s())
            except Exception:
                log.exception("A connection could not be sent away")

    async def _look_again(self) -> None:
        version = self._runtime.snapshot.current.version
        while self._by_key:
            await asyncio.sleep(LOOK_S)
            before, version = version, self._runtime.snapshot.current.version
            now = self._runtime.wall_clock()
            for mates in [_by_value(mates) for mates in self._by_key.values()]:
                one = next(iter(mates), None)
                if one is None:
                    continue
                expired = one.caller.expires_at is not None and one.caller.expires_at <= now
                if (version != before or expired) and not await self._holds(one):
                    await self._end(mates)
            await self._look_at_sessions()

    async def _look_at_sessions(self) -> None:
        """End those of people who have signed out: nothing else would tell of it."""
        for one in [one for mates in self._by_key.values() for one in mates]:
            if HELD_KEY in one.carrier and not await self._holds(one):
                await self._end({one})

    async def _holds(self, connection: Connection) -> bool:
        try:
            await identify(self._runtime, {}, connection.carrier)
        except (
            InvalidApiKeyError,
            PermissionDeniedError,
            RateLimitError,
        ):  # too many wrong ones is wrong as well
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


def _by_value(mates: Iterable[Connection]) -> set[Connection]:
    """Return those that came with the key itself: they stand and fall together."""
    return {one for one in mates if HELD_KEY not in one.carrier}
