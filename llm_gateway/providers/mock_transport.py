"""Play the mock provider's reply in its own time, within the same limits, without a socket.

The reply is an adapter's work and is given: providers and adapters do not know each other.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from random import Random
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from llm_gateway.errors import InvalidAnswerError
from llm_gateway.providers.endpoint import Endpoint
from llm_gateway.providers.upstream import LONGEST_BODY
from llm_gateway.providers.watchdog import Watchdog
from llm_gateway.types import Outgoing

_Options = TypeVar("_Options")
_Options_contra = TypeVar("_Options_contra", contravariant=True)


class Reply(Protocol):
    """An HTTP answer: its body in pieces, each with the seconds to wait before it."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]: ...

    @property
    def pieces(self) -> Sequence[tuple[float, bytes]]: ...


class Replying(Protocol[_Options_contra]):
    """What the mock adapter's `reply` is: `roll` from 0 to 1 is chance, `now` in Unix seconds."""

    def __call__(
        self, path: str, body: dict[str, Any], options: _Options_contra, *, roll: float, now: float
    ) -> Reply: ...


class MockTransport(Generic[_Options]):
    """Asks the mock adapter for replies; an endpoint's options become its `options` type."""

    def __init__(
        self,
        reply: Replying[_Options],
        options: type[_Options],
        *,
        rng: Random,
        clock: Callable[[], float],
    ) -> None:
        self._reply = reply
        self._options = options
        self._rng = rng
        self._clock = clock

    def answer(
        self, endpoint: Endpoint, outgoing: Outgoing, watch: Watchdog, leave: Callable[[], None]
    ) -> "MockUpstream":
        roll = self._rng.random()
        played = self._reply(
            outgoing.path,
            msgspec.json.decode(outgoing.body) if outgoing.body else {},
            msgspec.convert(endpoint.options, self._options),
            roll=roll,
            now=self._clock(),
        )
        return MockUpstream(played, watch, leave)


class MockUpstream:
    """The reply as an Upstream. `leave` is called once, when it is read or closed."""

    __slots__ = ("_leave", "_pieces", "_watch", "headers", "status")

    def __init__(self, played: Reply, watch: Watchdog, leave: Callable[[], None]) -> None:
        self.status = played.status
        self.headers: Mapping[str, str] = played.headers
        self._pieces = iter(played.pieces)
        self._watch = watch
        self._leave: Callable[[], None] | None = leave

    async def chunks(self) -> AsyncIterator[bytes]:
        for delay_s, piece in self._pieces:
            await self._wait(delay_s)
            yield piece
        self.abort()

    async def read(self, limit: int = LONGEST_BODY) -> bytes:
        body = b"".join([piece async for piece in self.chunks()])
        if len(body) > limit:
            raise InvalidAnswerError("The provider's answer is too long.")
        return body

    def progress(self) -> None:
        self._watch.progress()

    def content_seen(self) -> None:
        self._watch.content_seen()

    async def close(self, *, reuse: bool = True) -> bytes:  # noqa: ARG002 - there is no connection
        self.abort()
        return b""

    def abort(self) -> None:
        self._pieces = iter(())
        leave, self._leave = self._leave, None
        if leave is not None:
            leave()

    async def _wait(self, delay_s: float) -> None:
        if delay_s <= 0:
            return
        self._watch.wait_begins()
        left = self._watch.left()
        try:
            await asyncio.sleep(min(delay_s, max(left, 0.0)))
        except BaseException:
            self.abort()
            raise
        if delay_s > left:
            self.abort()
            raise self._watch.error()
        self._watch.wait_ends()
