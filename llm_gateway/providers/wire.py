"""Write one request and read the head of its answer, over a connection of aiohttp's pool.

aiohttp's own request and response objects cost a third of a whole call; pool, TLS, parser and flow
control are its own. Names and values were judged before they come here: see `headers`, `auth`.
"""

import asyncio
from collections.abc import Mapping
from functools import lru_cache

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import HttpProcessingError, RawResponseMessage
from msgspec import Struct
from multidict import CIMultiDictProxy
from yarl import URL

from llm_gateway.errors import InvalidAnswerError

# A longer body is written in pieces while the answer is awaited: it may be refused half-way.
_AT_ONCE = 64 * 1024
_SWITCHING = 101


class Request(Struct, frozen=True):
    """One request as bytes: everything up to the blank line, and the body."""

    head: bytes
    body: bytes


def request(
    method: str, target: str, host: str, headers: Mapping[str, str], body: bytes
) -> Request:
    """Return a request for the wire; `host` is what the Host header says."""
    lines = [f"{method} {target} HTTP/1.1\r\nhost: {host}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if body:
        lines.append(f"content-length: {len(body)}")
    return Request("\r\n".join([*lines, "\r\n"]).encode("ascii"), body)


@lru_cache(maxsize=1024)
def address(base_url: str, loop: asyncio.AbstractEventLoop) -> aiohttp.ClientRequest:
    """Return what a pool connects by: scheme, host and port of the base URL, never sent itself."""
    return aiohttp.ClientRequest("GET", URL(base_url, encoded=True), loop=loop)


async def converse(
    protocol: ResponseHandler, sent: Request
) -> tuple[RawResponseMessage, aiohttp.StreamReader]:
    """Send a request; return the head of its answer and the reader of the body.

    Raises InvalidAnswerError for what is no HTTP, aiohttp.ClientError or OSError for a cut.
    """
    transport = protocol.transport
    if transport is None:
        raise aiohttp.ServerDisconnectedError
    if len(sent.body) <= _AT_ONCE:
        transport.write(sent.head + sent.body)
        return await _head(protocol)
    writing = asyncio.ensure_future(_write(protocol, sent))
    try:
        return await _head(protocol)
    finally:
        if not writing.done():
            # Answered before all was sent: the rest would be taken for the next request.
            protocol.force_close()
            writing.cancel()
        elif not writing.cancelled():
            writing.exception()  # a cut shows itself in the answer


def joined(headers: CIMultiDictProxy[str]) -> dict[str, str]:
    """Return headers by lower-case name, several of one name joined by commas."""
    found: dict[str, str] = {}
    for name, value in headers.items():
        lower = name.lower()
        found[lower] = f"{found[lower]}, {value}" if lower in found else value
    return found


async def _head(protocol: ResponseHandler) -> tuple[RawResponseMessage, aiohttp.StreamReader]:
    while True:
        try:
            message, payload = await protocol.read()
        except HttpProcessingError:
            break
        if not 100 <= message.code < 200 or message.code == _SWITCHING:  # noqa: PLR2004 - interim
            return message, payload
    # Raised outside the handler: aiohttp's text may quote what it read.
    raise InvalidAnswerError("The provider's answer is not HTTP.")


async def _write(protocol: ResponseHandler, sent: Request) -> None:
    transport = protocol.transport
    assert transport is not None  # noqa: S101 - asked by the only caller
    transport.write(sent.head)
    for start in range(0, len(sent.body), _AT_ONCE):
        transport.write(sent.body[start : start + _AT_ONCE])
        # aiohttp's flow control: waits while the socket is full.
        await protocol._drain_helper()  # noqa: SLF001
