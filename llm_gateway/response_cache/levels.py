"""Look in memory, then in Redis; what is found in Redis is kept in memory as well."""

from collections.abc import Callable

from msgspec import Struct, structs

from llm_gateway.response_cache.entry import Entry
from llm_gateway.response_cache.memory import Memory
from llm_gateway.response_cache.shared import Shared

MOST_ANSWER = 1024 * 1024


class Counts(Struct):
    """What a process' cache did since it started."""

    hits: int = 0
    shared_hits: int = 0
    misses: int = 0
    stored: int = 0
    too_large: int = 0


class ResponseCache:
    """One for each process. `wall_clock` gives Unix seconds."""

    def __init__(
        self, memory: Memory, shared: Shared | None, wall_clock: Callable[[], float]
    ) -> None:
        self.memory, self._shared, self._wall_clock = memory, shared, wall_clock
        self.counts = Counts()

    @property
    def did(self) -> dict[str, int]:
        """Return what it did since the process started, each with how often."""
        return structs.asdict(self.counts) | {"evicted": self.memory.evicted}

    async def start(self) -> None:
        """Return when Redis has been tried once, well or not."""
        if self._shared is not None:
            await self._shared.start()

    async def get(self, key: str, tenant_id: int) -> Entry | None:
        now = self._wall_clock()
        entry = self.memory.get(key, now)
        if entry is not None:
            self.counts.hits += 1
            return entry
        if self._shared is not None:
            entry = await self._shared.get(key, tenant_id)
        if entry is None or entry.until <= now:
            self.counts.misses += 1
            return None
        self.counts.shared_hits += 1
        self.memory.put(key, entry)
        return entry

    def put(self, key: str, entry: Entry) -> None:
        """Keep an answer in both levels; too large a one in neither."""
        if len(entry.body) > MOST_ANSWER:
            self.counts.too_large += 1
            return
        self.counts.stored += 1
        self.memory.put(key, entry)
        if self._shared is not None:
            self._shared.put(key, entry, self._wall_clock())

    async def close(self) -> None:
        if self._shared is not None:
            await self._shared.close()


def make_response_cache(
    redis_url: str, installation: str, wall_clock: Callable[[], float], *, quiet: bool
) -> ResponseCache:
    """Return a cache over Redis, or in the process alone where `redis_url` is empty.

    `quiet`: others tell the log when this Redis is away.
    """
    shared = Shared(redis_url, installation, quiet=quiet) if redis_url else None
    return ResponseCache(Memory(), shared, wall_clock)
