"""Mint ids: UUIDv7, so that rows sort by the time they were made."""

import os
import random
import threading
import time
from uuid import UUID

# An id is no secret. The system's own randomness would give up the interpreter lock each time,
# and under load the event loop waits long to have it back.
_random = random.Random(os.urandom(32))  # noqa: S311
_lock = threading.Lock()
_last = 0


def new_id() -> UUID:
    """Return a UUIDv7 (RFC 9562), greater than every one this process minted before."""
    global _last  # noqa: PLW0603 - the counter is the point
    with _lock:
        # 48 bits of milliseconds and 12 of sub-millisecond time, as RFC 9562 §6.2 method 3
        stamp = (time.time_ns() << 12) // 1_000_000
        _last = stamp = max(stamp, _last + 1)
    high = (stamp >> 12) << 16 | 0x7000 | (stamp & 0xFFF)
    low = (0b10 << 62) | _random.getrandbits(62)
    return UUID(int=high << 64 | low)
