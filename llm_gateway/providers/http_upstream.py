"""Read one answer from a socket within its bounds; a cut is never taken for an end."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

import aiohttp
from aiohttp.connector import Connection

from llm_gateway.errors import (
    Certainty,
    DeadlineError,
    DroppedError,
    InvalidAnswerError,
    NotSentError,
    UpstreamError,
)
from llm_gateway.providers import wire
from llm_gateway.providers.upstream import LONGEST_BODY
from llm_gateway.providers.watchdog import Watchdog

_LONGEST_HEADERS, _LONGEST_HEADER = 64 * 1024, 16 * 1024
# A reader that stands still holds about twice this much of an answer (faults.md §9).
_READ_BUFFER = 64 * 1024
# What a finished answer may still have to send for its connection to be worth waiting for.
_LONGEST_REST, _REST_S = 64 * 1024, 0.25

_FIRST_ERROR_STATUS = 400
_FIRST_FINAL_STATUS = 200


class HttpUpstream:
    """One request on its way and its answer. `leave` is called once, when it holds nothing more."""

    __slots__ = (
        "_connection",
        "_content",
        "_cut",
        "_headed",
        "_leave",
        "_watch",
        "_withheld",
        "headers",
        "status",
    )

    def __init__(self, watch: Watchdog, leave: Callable[[], None]) -> None:
        self.status = 0
        self.headers: Mapping[str, str] = {}
        self._watch = watch
        self._leave: Callable[[], None] | None = leave
        self._connection: Connection | None = None
        self._headed = False
        self._content: aiohttp.StreamReader = aiohttp.streams.EMPTY_PAYLOAD
        self._cut: UpstreamError | None = None  # to be raised once what came before it is read
        self._withheld = False

    # --- while it is sent

    def connected(self, connection: Connection) -> None:
        """From here on the provider may see something of the request."""
        self._connection = connection
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

    async def exchange(self, request: wire.Request) -> None:
        """Send the request, wait for the head of the answer and judge it."""
        connection = self._connection
        if connection is None or connection.protocol is None:
            raise aiohttp.ServerDisconnectedError
        connection.protocol.set_response_params(
            auto_decompress=False,
            read_until_eof=True,
            read_bufsize=_READ_BUFFER,
            max_line_size=_LONGEST_HEADER,
            max_field_size=_LONGEST_HEADER,
        )
        message, self._content = await wire.converse(connection.protocol, request)
        self._watch.wait_ends()
        self._headed = True
        self.status = message.code
        self.headers = wire.joined(message.headers)
        self._content.on_eof(self._last_byte)
        self._judge_head()

    def _last_byte(self) -> None:
        """Give the connection back to the pool: from here on it is not ours to cut."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.release()

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
        pieces: list[bytes] = []
        size = 0
        while chunk := await self._next():
            pieces.append(chunk)
            size += len(chunk)
            if size > limit:
                raise self._invalid("The provider's answer is too long.")
            if self._content.at_eof():
                self._done()
                break
        return b"".join(pieces)

    async def _next(self) -> bytes:
        """Return what is there, waiting for something if need be; b"" at the end."""
        if self._cut is not None:
            raise self._cut
        if self._withheld:
            self.abort()
            return b""
        cut = False
        chunk = b""
        self._watch.wait_begins()
        try:
            chunk = await self._content.readany()
        except (aiohttp.ClientError, OSError):
            cut = True
        except BaseException:  # the watchdog's error among them
            self.abort()
            raise
        self._watch.wait_ends()
        if cut:
            return self._before_cut()
        if not chunk:
            self._done()
        return chunk

    def _before_cut(self) -> bytes:
        """Return what came before the cut, since usage may lie there; if nothing, raise it."""
        # aiohttp raises before it hands out what it has; this private call is the only way to it.
        rest: bytes = self._content._read_nowait(-1)  # noqa: SLF001 - see above
        self._cut = DroppedError("The provider cut its answer.", upstream_status=self.status)
        self.abort()
        if not rest:
            raise self._cut
        return rest

    # --- at its end

    async def close(self, *, reuse: bool = True) -> None:
        if reuse and self._leave is not None and not self._content.at_eof() and not self._withheld:
            await self._drain()
        if self._content.at_eof():
            self._done()
        else:
            self.abort()

    async def _drain(self) -> None:
        """Read the little that follows a terminal event, so that the connection can be kept."""
        self._watch.tighten(asyncio.get_running_loop().time() + _REST_S)
        size = 0
        try:
            while size <= _LONGEST_REST and (chunk := await self._next()):
                size += len(chunk)
        except UpstreamError:
            return

    def abort(self) -> None:
        if self._leave is None:
            return
        connection, self._connection = self._connection, None
        # `close` alone would first send what is left of a body, to a peer that may not take it.
        if connection is not None and connection.transport is not None:
            connection.transport.abort()
        if not self._content.at_eof() and self._content.exception() is None:
            self._content.set_exception(aiohttp.ClientConnectionError("closed by us"))
        if connection is not None:
            connection.close()
        self._done()

    def _done(self) -> None:
        self._watch.stop()
        leave, self._leave = self._leave, None
        if leave is not None:
            leave()

    def _expire(self, error: UpstreamError) -> None:
        """End the wait with `error`, wherever it is, and free the connection at once."""
        if self._headed:
            self._content.set_exception(error)
            self.abort()
        elif self._connection is not None and self._connection.protocol is not None:
            self._connection.protocol.set_exception(error)


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
