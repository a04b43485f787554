"""Open connections only to addresses that were judged, and keep them for the next request."""

import socket
from functools import partial
from typing import Any, cast

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ClientRequest, ConnectionKey
from aiohttp.connector import Connection
from aiohttp.tracing import Trace
from typing_extensions import override

from llm_gateway.errors import NotSentError
from llm_gateway.providers.addresses import AddressError, check_address
from llm_gateway.providers.conversation import WHOLE_BUFFER, Conversation

__all__ = ["CheckedResolver", "Connection", "Connector", "talk_over"]

# Below what servers in front of providers allow (60 s and more), so that they seldom close first.
_KEEP_ALIVE_S = 58.0


class CheckedResolver(AbstractResolver):
    """Looks a name up once and refuses it if any one of its addresses must not be called."""

    def __init__(self, resolver: AbstractResolver, *, allow_private: bool) -> None:
        self._resolver = resolver
        self._allow_private = allow_private

    @override
    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        try:
            for result in found:
                check_address(result["host"], allow_private=self._allow_private)
        except AddressError:
            refused = True
        else:
            refused = False
        if refused:
            # The address itself is not named: the text may reach a caller who should not learn it.
            raise NotSentError("The provider's name resolves to an address that is not allowed.")
        return found

    @override
    async def close(self) -> None:
        """Do nothing: the resolver underneath belongs to whoever made it."""


class Connector(aiohttp.TCPConnector):
    """The pool of one credential at one origin."""

    def __init__(self, resolver: AbstractResolver, *, tls: object, kept_alive: int) -> None:
        # How many may be open is for the pool's gate, so that this wait has a bound of its own.
        super().__init__(
            resolver=resolver,
            ssl=tls,  # type: ignore[arg-type]  # True or a context; aiohttp's union is private
            limit=0,
            keepalive_timeout=_KEEP_ALIVE_S,
        )
        self._kept_alive = kept_alive
        # What speaks over a new connection; aiohttp's own class is the only other one there is.
        self._factory = cast("Any", partial(Conversation, bytearray(WHOLE_BUFFER)))

    @override
    async def connect(
        self, req: ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        connection = await super().connect(req, traces, timeout)
        # Bytes that nobody asked for came while it was idle: they would be taken for our answer.
        while connection.protocol is not None and connection.protocol.should_close:
            connection.close()
            connection = await super().connect(req, traces, timeout)
        return connection

    @override
    def _release(
        self, key: ConnectionKey, protocol: ResponseHandler, *, should_close: bool = False
    ) -> None:
        # The one hook there is for a bound on idle connections; aiohttp only bounds open ones.
        full = len(self._conns.get(key, ())) >= self._kept_alive
        super()._release(key, protocol, should_close=should_close or full)


def talk_over(connection: Connection) -> Conversation:
    """Return what speaks over a connection of the pool. Raises OSError when it is gone."""
    if connection.protocol is None:
        raise ConnectionResetError
    return cast("Conversation", connection.protocol)
