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

from llm_gateway.edge.bodies import MAX_BODY, SMALL, Held
from llm_gateway.errors import (
    InvalidRequestError,
    RequestTimeoutError,
    TooLargeError,
    UnsupportedEncodingError,
)
from llm_gateway.scope import Scope
from llm_gateway.service.inbound import Unfinished

HTTPScope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

BODY_SECONDS, SLOWEST_BYTES_PER_SECOND = 60.0, 1024

JSON = (b"content-type", b"application/json")
SSE = (b"content-type", b"text/event-stream; charset=utf-8")

encode = msgspec.json.Encoder().encode

log = logging.getLogger(__name__)


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


async def read_body(
    receive: Receive, declared: int, held: Held, closing: Scope, most: int = MAX_BODY
) -> bytes:
    """Return the whole body, within size, time and what may be `held` until `closing`."""
    message = await receive()
    body: bytes = _checked(message)
    more = message.get("more_body", False)
    if not more and len(body) <= SMALL:
        return body
    closing.on_close(held.give_back)
    held.take(len(body))
    if not more:
        return body
    seconds = BODY_SECONDS + max(0, declared) / SLOWEST_BYTES_PER_SECOND / 32
    try:
        async with asyncio.timeout(seconds):
            return await _rest(receive, body, held, most)
    except TimeoutError:
        raise RequestTimeoutError("The body did not arrive in time.") from None


async def _rest(receive: Receive, first: bytes, held: Held, most: int) -> bytes:
    body = bytearray(first)
    while True:
        message = await receive()
        piece = _checked(message)
        held.take(len(piece))
        body += piece
        if len(body) > most:
            raise _too_large(most)
        if not message.get("more_body", False):
            return bytes(body)


def _too_large(most: int) -> TooLargeError:
    return TooLargeError(f"The body is over {most // 1024 // 1024} MiB.")


def _checked(message: MutableMapping[str, Any]) -> bytes:
    if message["type"] == "http.disconnect":
        raise ClientGone
    body: bytes = message.get("body", b"")
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
    # uvicorn's `receive` is a method of what knows already; asking it costs a coroutine.
    known = getattr(getattr(receive, "__self__", None), "disconnected", None)
    if isinstance(known, bool):
        return known
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
