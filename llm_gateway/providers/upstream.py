"""Say what one upstream answer is to those who read it, whether a socket or the mock gives it."""

from collections.abc import AsyncIterator, Mapping
from typing import Protocol

from msgspec import Struct

# A whole body longer than this is refused (security.md §5).
LONGEST_BODY = 64 * 1024 * 1024
# What a model says, and why nothing is said, is shorter than lists of vectors or files.
LONGEST_CHAT, LONGEST_REFUSAL = 24 * 1024 * 1024, 1024 * 1024


class Hold(Protocol):
    """Money set aside for one attempt: who has none may not make a call that can be billed."""

    @property
    def id(self) -> object: ...
    @property
    def tenant_id(self) -> int: ...


class Upstream(Protocol):
    """One answer: its head is here, its body is read once, and it is closed by whoever has it.

    The reader calls `progress` for each complete event and `content_seen` for each with content or
    reasoning (which is progress too); the limits of faults.md §3 are counted from that.
    """

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]:
        """Header names are in lower case."""
        ...

    def chunks(self) -> AsyncIterator[bytes]:
        """Yield bytes as they come.

        Raises DroppedError for a cut, UpstreamTimeoutError for no first token or silence,
        DeadlineError when the deadline passes.
        """
        ...

    async def read(self, limit: int = LONGEST_BODY) -> bytes:
        """Return the whole body; InvalidAnswerError when it is longer than `limit`."""
        ...

    def progress(self) -> None: ...

    def content_seen(self) -> None: ...

    async def close(self, *, reuse: bool = True) -> bytes:
        """Give the connection back if the rest of the body is short; else, or if not, cut it.

        Returns what there was of a rest.
        """
        ...

    def abort(self) -> None:
        """Cut the connection now. Safe to call at any time, also twice."""
        ...


class Answer(Struct, frozen=True, kw_only=True):
    """A whole answer to a call that cannot be billed."""

    status: int
    headers: Mapping[str, str]
    body: bytes
