"""Read one answer from a socket within its bounds; a cut is never taken for an end."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING

import aiohttp

from llm_gateway.errors import (
    Certainty,
    DeadlineError,
    DroppedError,
    InvalidAnswerError,
    NotSentError,
    UpstreamError,
)
from llm_gateway.providers.connections import Connection, talk_over
from llm_gateway.providers.upstream import LONGEST_BODY
from llm_gateway.providers.watchdog import Watchdog

if TYPE_CHECKING:
    from llm_gateway.providers.conversation import Conversation

_LONGEST_HEADERS = 64 * 1024
# What a finished answer may still have to send for its connection to be worth waiting for.
_LONGEST_REST, _REST_S = 64 * 1024, 0.25

_FIRST_ERROR_STATUS = 400
_FIRST_FINAL_STATUS = 200


class HttpUpstream:
    """One request on its way and its answer. `leave` is called once, when it holds nothing more."""

    __slots__ = ("_connection", "_leave", "_talk", "_watch", "_withheld", "headers", "status")

    def __init__(self, watch: Watchdog, leave: Callable[[], None]) -> None:
        self.status = 0
        self.headers: Mapping[str, str] = {}
        self._watch = watch
        self._leave: Callable[[], None] | None = leave
        self._connection: Connection | None = None
        self._talk: Conversation | None = None
        self._withheld = False

    # --- while it is sent

    def connected(self, connection: Connection) -> None:
        """From here on the provider may see something of the request."""
        self._connection, self._talk = connection, talk_over(connection)
        self._watch.start(self._expire)

    def failed(self, error: Exception, *, deadline: float) -> UpstreamError:
        """Cut what there is and return what the failure means."""
        sent = self._connection is not None
        self.abort()
        if isinstance(error, UpstreamError):
            return error
        if sent:
            return _while_waiting()
        if asyncio.get_running_loop().time() >= deadline:
            late = DeadlineError("The deadline of the request passed before it was sent.")
            late.certainty = Certainty.NOT_SENT
            return late
        return NotSentError(_why_not_connected(error))

    async def exchange(self, head: bytes, body: bytes) -> None:
        """Send the request, wait for the head of the answer and judge it."""
        talk = self._talk
        if talk is None:
            raise ConnectionResetError
        await talk.ask(head, body)
        self._watch.wait_ends()
        self.status, self.headers = talk.status, talk.headers
        self._judge_head()

    def _judge_head(self) -> None:
        if sum(map(len, self.headers)) + sum(map(len, self.headers.values())) > _LONGEST_HEADERS:
            raise self._invalid("The provider's headers are too long.")
        if self.status < _FIRST_FINAL_STATUS:
            raise self._invalid("The provider switched to another protocol.")
        if _is_encoded(self.headers):
            # A status of failure still says what it says: only its text cannot be read.
            if self.status < _FIRST_ERROR_STATUS:
                raise self._invalid("The provider compressed its answer, which was not asked for.")
            self._withheld = True

    def _invalid(self, message: str) -> InvalidAnswerError:
        self.abort()
        return InvalidAnswerError(message, upstream_status=self.status)

    # --- while it is read

    def progress(self) -> None:
        self._watch.progress()

    def content_seen(self) -> None:
        self._watch.content_seen()

    async def chunks(self) -> AsyncIterator[bytes]:
        while chunk := await self._next():
            yield chunk

    async def read(self, limit: int = LONGEST_BODY) -> bytes:
        declared = self.headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > limit:
            raise self._invalid("The provider's answer is too long.")
        if self._talk is not None:
            self._talk.widen()
        pieces: list[bytes] = []
        size = 0
        while chunk := await self._next():
            pieces.append(chunk)
            size += len(chunk)
            if size > limit:
                raise self._invalid("The provider's answer is too long.")
            if self._talk is not None and self._talk.finished:
                self._done()
                break
        return b"".join(pieces)

    async def _next(self) -> bytes:
        """Return what is there, waiting for something if need be; b"" at the end.

        What came before a cut is returned first, since usage may lie there.
        """
        talk = self._talk
        if talk is None:
            return b""
        if self._withheld:
            self.abort()
            return b""
        cut = False
        chunk = b""
        self._watch.wait_begins()
        try:
            chunk = await talk.read()
        except OSError:
            cut = True
        except BaseException:  # the watchdog's error among them
            self.abort()
            raise
        self._watch.wait_ends()
        if cut:
            self.abort()
            raise DroppedError("The provider cut its answer.", upstream_status=self.status)
        if not chunk:
            self._done()
        return chunk

    # --- at its end

    async def close(self, *, reuse: bool = True) -> bytes:
        talk, rest = self._talk, b""
        if talk is None:
            return rest
        if reuse and not talk.finished and not self._withheld:
            rest = await self._drain()
        if talk.complete:
            self._done()
        else:
            self.abort()
        return rest

    async def _drain(self) -> bytes:
        """Read the little that follows a terminal event, so that the connection can be kept."""
        self._watch.tighten(asyncio.get_running_loop().time() + _REST_S)
        pieces: list[bytes] = []
        size = 0
        try:
            while size <= _LONGEST_REST and (chunk := await self._next()):
                pieces.append(chunk)
                size += len(chunk)
        except UpstreamError:
            pass
        return b"".join(pieces)

    def abort(self) -> None:
        if self._leave is None:
            return
        connection, talk = self._connection, self._talk
        # `close` alone would first send what is left of a body, to a peer that may not take it.
        if talk is not None:
            talk.abort()
            talk.fail(ConnectionAbortedError())
        self._connection = None
        if connection is not None:
            connection.close()
        self._done()

    def _done(self) -> None:
        """Give the connection back to the pool: from here on it is not ours to cut."""
        self._watch.stop()
        connection, self._connection = self._connection, None
        if connection is not None:
            self._talk = None
            connection.release()
        leave, self._leave = self._leave, None
        if leave is not None:
            leave()

    def _expire(self, error: UpstreamError) -> None:
        """End the wait with `error`, wherever it is."""
        if self._talk is not None:
            self._talk.fail(error)


def _is_encoded(headers: Mapping[str, str]) -> bool:
    return (
        headers.get("content-encoding", "identity").lower() not in {"identity", ""}
        or headers.get("transfer-encoding", "chunked").lower() != "chunked"
    )


def _while_waiting() -> UpstreamError:
    return DroppedError("The provider closed the connection before it answered.")


def _why_not_connected(error: Exception) -> str:
    """Say what went wrong without naming hosts or addresses: the text may reach a caller."""
    for kind, what in _CONNECT_FAULTS:
        if isinstance(error, kind):
            return f"The provider could not be reached: {what}."
    return "The provider could not be reached."


_CONNECT_FAULTS: tuple[tuple[type[Exception], str], ...] = (
    (aiohttp.ClientConnectorDNSError, "its name was not found"),
    (aiohttp.ClientConnectorCertificateError, "its certificate is not trusted"),
    (aiohttp.ClientSSLError, "TLS failed"),
    (aiohttp.ClientConnectorError, "the connection was refused"),
    (TimeoutError, "connecting took too long"),
)
