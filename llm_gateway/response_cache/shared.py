"""Keep answers in Redis for all processes, sealed; a cache that is away or slow is only a miss."""

from contextlib import suppress

import msgspec

from llm_gateway.response_cache.entry import Entry
from tenants.limits.pipe import AwayError, Pipe
from tenants.secrets import SecretError, seal, unseal

# One key; its value and seconds where it is to be kept.
SCRIPT = """
if ARGV[1] then
  redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
  return {}
end
return {redis.call('GET', KEYS[1])}
"""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Entry).decode


class Shared:
    """Belongs to one event loop. Entries leave by their own expiry, or as Redis evicts."""

    def __init__(self, url: str, installation: str, *, quiet: bool) -> None:
        self._prefix = f"answer:{installation}:"
        self._pipe = Pipe(url, SCRIPT, "response cache", "each process keeps its own", quiet=quiet)

    async def start(self) -> None:
        await self._pipe.start()

    async def get(self, key: str, tenant_id: int) -> Entry | None:
        """Return what is kept under a key of the tenant; None when that cannot be told."""
        try:
            (kept,) = await self._pipe.call((1, self._prefix + key), _nothing)
        except AwayError:
            return None
        if not isinstance(kept, bytes):
            return None
        with suppress(SecretError, msgspec.MsgspecError):  # by another key or an older release
            return _decode(unseal(kept, tenant_id, key))
        return None

    def put(self, key: str, entry: Entry, now: float) -> None:
        """Write behind the answer."""
        if self._pipe.up:
            sealed = seal(_encode(entry), entry.tenant_id, key)
            self._pipe.send((1, self._prefix + key, sealed, max(1, int(entry.until - now))))

    async def close(self) -> None:
        await self._pipe.close()


def _nothing(_: object) -> None:
    """Undo a reading, which did nothing."""
