"""Speak ASGI's http for the data plane: read a bounded body, write an answer or a stream."""

import asyncio
import logging
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
    Mapping,
    MutableMapping,
)
from typing import Any

import msgspec

from llm_gateway.errors import (
    InvalidRequestError,
    OverloadedError,
    RequestTimeoutError,
    TooLargeError,
    UnsupportedEncodingError,
)
from llm_gateway.service.inbound import Unfinished

HTTPScope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

MAX_BODY = 32 * 1024 * 1024
MAX_BODIES_IN_FLIGHT = 256 * 1024 * 1024
BODY_SECONDS, SLOWEST_BYTES_PER_SECOND = 60.0, 1024

JSON = (b"content-type", b"application/json")
SSE = (b"content-type", b"text/event-stream; charset=utf-8")

encode = msgspec.json.Encoder().encode

log = logging.getLogger(__name__)


class Bodies:
    """Bytes of request bodies that are being read or worked on, bounded for the process."""

    def __init__(self, most: int = MAX_BODIES_IN_FLIGHT) -> None:
        self._most, self._held = most, 0

    def take(self, size: int) -> None:
        if self._held + size > self._most:
            raise OverloadedError("Too many large requests at once.", retry_after_s=1)
        self._held += size

    def give_back(self, size: int) -> None:
        self._held -= size


def check_head(headers: Mapping[bytes, bytes], most: int = MAX_BODY) -> int:
    """Judge a request by its head alone; return the declared length, -1 without one.

    Raises TooLargeError or UnsupportedEncodingError before a byte of the body is awaited.
    """
    if headers.get(b"content-encoding", b"identity") != b"identity":
        raise UnsupportedEncodingError("Send the body without Content-Encoding.")
    length = headers.get(b"content-length")
    if length is None:
        return -1
    if not length.isdigit():
        raise InvalidRequestError("Content-Length is not a number.")
    if int(length) > most:
        raise _too_large(most)
    return int(length)


async def read_body(receive: Receive, declared: int, bodies: Bodies, most: int = MAX_BODY) -> bytes:
    """Return the whole body, within size, time and what the process may hold."""
    message = await receive()
    body = message.get("body", b"")
    if not message.get("more_body", False):
        return _checked(message, body)
    seconds = BODY_SECONDS + max(0, declared) / SLOWEST_BYTES_PER_SECOND / 32
    try:
        async with asyncio.timeout(seconds):
            return await _rest(receive, body, bodies, most)
    except TimeoutError:
        raise RequestTimeoutError("The body did not arrive in time.") from None


async def _rest(receive: Receive, first: bytes, bodies: Bodies, most: int) -> bytes:
    pieces, size = [first], len(first)
    bodies.take(size)
    try:
        while True:
            message = await receive()
            piece = _checked(message, message.get("body", b""))
            bodies.take(len(piece))
            size += len(piece)
            pieces.append(piece)
            if size > most:
                raise _too_large(most)
            if not message.get("more_body", False):
                return b"".join(pieces)
    finally:
        bodies.give_back(size)


def _too_large(most: int) -> TooLargeError:
    return TooLargeError(f"The body is over {most // 1024 // 1024} MiB.")


def _checked(message: MutableMapping[str, Any], body: bytes) -> bytes:
    if message["type"] == "http.disconnect":
        raise ClientGone
    return body


class ClientGone(Exception):  # noqa: N818 - nobody is left to be told of an error
    """The caller hung up before its request was whole."""


async def respond(
    send: Send, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes
) -> None:
    """Write one whole answer."""
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [*headers, (b"content-length", str(len(body)).encode())],
        }
    )
    await send({"type": "http.response.body", "body": body})


async def stream(
    receive: Receive,
    send: Send,
    headers: Headers,
    chunks: AsyncIterator[bytes],
    on_gone: Callable[[], None],
) -> None:
    """Write a stream. A caller that leaves is told of at once; whoever gives `chunks` decides.

    Where `chunks` ends in Unfinished, the answer is not ended cleanly either: returning without
    the last body message makes the server cut the connection.
    """
    watcher = asyncio.ensure_future(_watch(receive, on_gone))
    try:
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        async for chunk in chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
    except Unfinished:
        log.debug("A stream was cut on purpose: its upstream broke")
    finally:
        watcher.cancel()


def has_left(receive: Receive) -> bool:
    """Say whether the caller hung up, without waiting for it to."""
    waiting = receive()
    if not isinstance(waiting, Coroutine):
        return False
    try:
        waiting.send(None)  # as far as it goes without waiting
    except StopIteration as told:
        return bool(told.value["type"] == "http.disconnect")
    finally:
        waiting.close()
    return False


async def _watch(receive: Receive, on_gone: Callable[[], None]) -> None:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            on_gone()
            return
