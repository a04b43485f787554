"""A provider made of one coroutine: it reads requests off a real socket and answers by hand."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from random import Random

from aiohttp.abc import AbstractResolver
from msgspec import Struct

from llm_gateway.adapters.mock import MockOptions, reply
from llm_gateway.providers.auth import Credential
from llm_gateway.providers.egress import Egress
from llm_gateway.providers.endpoint import Endpoint
from llm_gateway.providers.mock_transport import MockTransport
from llm_gateway.providers.upstream import Upstream
from llm_gateway.types import Outgoing, Timeouts

SECRET = "CANARY-provider-key-5ec7e7"
CHAT = Outgoing(path="/chat/completions", body=b'{"model":"m"}')
STREAM = Outgoing(path="/chat/completions", body=b'{"model":"m"}', stream=True)


class Held(Struct):
    id: str = "hold-1"
    tenant_id: int = 1


class Request(Struct):
    line: str
    headers: dict[str, str]
    body: bytes


class Peer:
    """One connection, seen from the provider's side."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: list[Request]
    ) -> None:
        self.reader, self.writer, self._seen = reader, writer, seen

    async def request(self) -> Request | None:
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        first, *lines = head.decode("latin-1").rstrip().split("\r\n")
        headers = {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in lines)}
        body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        self._seen.append(Request(first, headers, body))
        return self._seen[-1]

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        with suppress(ConnectionError):
            await self.writer.drain()

    async def answer(
        self, body: bytes = b"{}", *, status: str = "200 OK", headers: str = ""
    ) -> None:
        head = f"HTTP/1.1 {status}\r\n{headers}Content-Length: {len(body)}\r\n\r\n"
        await self.send(head.encode("latin-1") + body)

    async def start_stream(self) -> None:
        await self.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")

    async def chunk(self, data: bytes) -> None:
        await self.send(b"%x\r\n%s\r\n" % (len(data), data))

    async def gone(self) -> None:
        """Return once the other side has left."""
        with suppress(ConnectionError):
            while await self.reader.read(65536):
                pass


Script = Callable[[Peer], Awaitable[None]]


class Provider:
    """A listening socket that plays a script on every connection and counts them."""

    def __init__(self) -> None:
        self.port = 0
        self.connections = 0
        self.requests: list[Request] = []

    def endpoint(self, **changes: object) -> Endpoint:
        fields: dict[str, object] = {
            "provider_id": 1,
            "base_url": f"http://127.0.0.1:{self.port}/v1",
            "protocol": "openai_chat",
            "auth": "bearer",
            "allow_private_network": True,
        }
        return Endpoint(**(fields | changes))  # type: ignore[arg-type]

    def credential(self, secret: str = SECRET) -> Credential:
        return Credential(id=1, secret=secret, origin=f"http://127.0.0.1:{self.port}")


@asynccontextmanager
async def provider(script: Script) -> AsyncIterator[Provider]:
    """Serve `script` on a free port; whatever still runs at the end is cancelled."""
    played = Provider()
    tasks: set[asyncio.Task[None]] = set()

    async def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        played.connections += 1
        # A cancelled script is how a test ends: nothing that asyncio should log.
        with suppress(asyncio.CancelledError):
            await script(Peer(reader, writer, played.requests))
        writer.close()

    server = await asyncio.start_server(on_connection, "127.0.0.1", 0)
    played.port = server.sockets[0].getsockname()[1]
    try:
        yield played
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def answering(peer: Peer) -> None:
    """Answer every request of the connection with an empty object."""
    while await peer.request() is not None:
        await peer.answer()


NOON = 1_790_000_000.0


def make_egress(resolver: AbstractResolver | None = None) -> Egress:
    mock = MockTransport(reply, MockOptions, rng=Random(0), clock=lambda: NOON)
    return Egress(version="0.0-test", mock=mock, resolver=resolver)


def soon(seconds: float = 5.0) -> float:
    return asyncio.get_running_loop().time() + seconds


async def call(
    egress: Egress,
    target: Provider,
    outgoing: Outgoing = CHAT,
    *,
    timeouts: Timeouts = Timeouts(),  # noqa: B008 - frozen
    within: float = 5.0,
    **changes: object,
) -> Upstream:
    """Send one paid call to the provider."""
    endpoint = target.endpoint(**changes)
    key = Credential(id=1, secret=SECRET, origin=endpoint.origin)
    return await egress.send(Held(), endpoint, outgoing, key, timeouts, soon(within))


async def collect(upstream: Upstream, *, into: list[bytes]) -> None:
    async for chunk in upstream.chunks():
        into.append(chunk)  # noqa: PERF401 - what came before an error must be there
