"""Bound the memory that larger request bodies take in a process, and share it between tenants."""

from collections import Counter

from llm_gateway.errors import OverloadedError

MAX_BODY = 32 * 1024 * 1024
MAX_BODIES_IN_FLIGHT = 256 * 1024 * 1024
# Larger ones are counted, so often: a body is there as it came, parsed, and as it is sent on.
SMALL, COPIES = 64 * 1024, 3
# The last room, enough for one of the largest, is for tenants that hold less than their share.
KEPT_FREE, SHARE = MAX_BODY * COPIES, 0.5
NOBODY = 0  # who has not said yet who they are


class Bodies:
    """What a process has for them, from the first byte of each to the end of its request."""

    def __init__(self, most: int = MAX_BODIES_IN_FLIGHT) -> None:
        self.left, self._most = most, most
        self._by_tenant: Counter[int] = Counter()

    def take(self, size: int, whose: int) -> None:
        """Take room for tenant `whose`. Raises OverloadedError."""
        left, own = self.left - size, self._by_tenant[whose] + size
        if left < 0:
            raise OverloadedError("Too many large requests at once.", retry_after_s=1)
        if left < KEPT_FREE and own > self._most * SHARE:
            raise OverloadedError(
                "Too many large requests of this tenant at once.", retry_after_s=1
            )
        self.left, self._by_tenant[whose] = left, own

    def give_back(self, size: int, whose: int) -> None:
        self.left += size
        self._by_tenant[whose] -= size
        if not self._by_tenant[whose]:
            del self._by_tenant[whose]


class Held:
    """What one body of a tenant takes of it."""

    def __init__(self, bodies: Bodies, whose: int) -> None:
        self._bodies, self._whose, self._taken = bodies, whose, 0

    def take(self, size: int) -> None:
        """Take room for so many bytes of the body. Raises OverloadedError."""
        self._bodies.take(size * COPIES, self._whose)
        self._taken += size * COPIES

    async def give_back(self) -> None:
        self._bodies.give_back(self._taken, self._whose)
        self._taken = 0


def _too_many(why: str) -> OverloadedError:
    return OverloadedError(why, retry_after_s=1)
