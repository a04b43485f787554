"""The WebSocket door: several chat streams over one connection, each authorised anew.

Each stream has its own task: a consumer handles one message at a time, so an awaited stream would
hear "cancel" only after its end. Messages are those of contract §6.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import msgspec
from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncWebsocketConsumer
from msgspec import Raw, Struct

from llm_gateway.access import may
from llm_gateway.adapters import openai_chat, sse
from llm_gateway.errors import (
    GatewayError,
    InvalidApiKeyError,
    InvalidRequestError,
    PermissionDeniedError,
    RateLimitError,
    ShutdownError,
)
from llm_gateway.scope import Scope
from llm_gateway.service import process
from llm_gateway.service.body import parse_body
from llm_gateway.service.carried import Carried
from llm_gateway.service.connections import Connection, connections
from llm_gateway.service.credentials import HELD_KEY, identify
from llm_gateway.service.headers import MAX_TOKENS, of_error
from llm_gateway.service.inbound import Idempotency, Inbound, Unfinished
from llm_gateway.service.once import REPLAYED, asked_once
from llm_gateway.service.pressure import check_pressure
from tenants.auth import CARRIERS
from tenants.ids import new_id
from tenants.types import Caller, usd

ROUTE = "/ws/v1/llm"
AUTH_WITHIN_S = 5.0
MOST_MESSAGES, IN_SECONDS = 100, 2.0
MOST_STREAMS = 100
LONGEST_ID = 128
UNAUTHORIZED, POLICY, RESTARTING = 4401, 1008, 1012
DONE = b"[DONE]"

Message = dict[str, Any]

log = logging.getLogger(__name__)
_encode = msgspec.json.encode


class _Chunk(Struct):
    """What has to be known of a chunk that is passed on as it is."""

    choices: list[Raw] | None = None
    usage: dict[str, Any] | None = None
    error: dict[str, Any] | None = None


class _Said(Struct):
    """What a stream said of itself beside its chunks."""

    usage: dict[str, Any] | None = None
    error: dict[str, Any] | None = None


_chunk = msgspec.json.Decoder(_Chunk).decode


class GatewayConsumer(AsyncWebsocketConsumer):  # type: ignore[misc] # channels has no types
    """One connection. `_connection` is None until a key was accepted."""

    channel_layer_alias = ""  # nobody sends to it from elsewhere, so it needs no channel layer

    def __init__(self) -> None:
        super().__init__()
        self._connection: Connection | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._streams: dict[str, asyncio.Task[None]] = {}
        self._arrivals: deque[float] = deque(maxlen=MOST_MESSAGES + 1)
        self._closed = False
        self._back_after_s: float | None = None  # once the process leaves

    # --- coming and going -----------------------------------------------------------------------

    async def __call__(self, scope: Message, receive: object, send: object) -> None:
        """Serve the connection; however it ends, nothing of it stays."""
        self._runtime = await process.opened()
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._closed = True
            if self._deadline is not None:
                self._deadline.cancel()
            for task in list(self._streams.values()):
                task.cancel()
            if self._connection is not None:
                connections(self._runtime).leave(self._connection)

    async def connect(self) -> None:
        headers = dict(self.scope["headers"])
        carrier = {n: headers[n] for n in (*CARRIERS, b"authorization") if n in headers}
        try:
            _check_origin(headers, keyed=bool(carrier))
            # Also without a carrier where the URL has a key: that is refused, never overlooked.
            if carrier or b"key=" in self.scope["query_string"]:
                await self._authenticate(carrier)
        except GatewayError as error:
            await self._refuse(error)
        await self.accept()
        if self._connection is None:
            loop = asyncio.get_running_loop()
            self._deadline = loop.call_later(AUTH_WITHIN_S, self._too_late)

    async def close(self, code: int | None = None, reason: str | None = None) -> None:
        if not self._closed:
            self._closed = True
            with suppress(OSError):
                await super().close(code, reason)

    def _too_late(self) -> None:
        self._closing = asyncio.ensure_future(self.close(UNAUTHORIZED))

    async def _key_stopped(self) -> None:
        await self.close(UNAUTHORIZED)

    async def _leave(self, back_after_s: float) -> None:
        """Close once the streams have ended; say when to come back, which others do elsewhere."""
        self._back_after_s = back_after_s
        if not self._streams:
            await self.close(RESTARTING, f"retry-after-ms={back_after_s * 1000:.0f}")

    async def _refuse(self, error: GatewayError) -> None:
        """Answer the handshake with the error's status."""
        request_id = new_id()
        headers = [(b"content-type", b"application/json"), *of_error(error, request_id)]
        start = {"type": "websocket.http.response.start", "status": error.status}
        await self.base_send({**start, "headers": headers})
        body = _encode({"error": _told(error, request_id)})
        await self.base_send({"type": "websocket.http.response.body", "body": body})
        raise StopConsumer

    # --- who calls ------------------------------------------------------------------------------

    async def _authenticate(self, carrier: Mapping[bytes, bytes]) -> None:
        """Take a key for the connection's. Raises GatewayError."""
        caller = await self._caller(carrier)
        connection = Connection(caller, carrier, self._key_stopped, self._leave)
        connections(self._runtime).join(connection)
        self._connection = connection

    async def _caller(self, carrier: Mapping[bytes, bytes]) -> Caller:
        """Return who calls, as it stands now. Raises GatewayError."""
        caller = await identify(self._runtime, self.scope, carrier)
        if not may("ws", "-", ROUTE, caller.scopes):
            raise PermissionDeniedError("This key may not call this endpoint.")
        return caller

    # --- messages in ----------------------------------------------------------------------------

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if self._floods():
            await self.close(POLICY)
            return
        stream_id: str | None = None
        try:
            message = parse_body((text_data or "").encode() if bytes_data is None else bytes_data)
            if self._connection is None:
                await self._first(message)
                return
            stream_id = _id_of(message)
            self._handle(stream_id, message)
        except GatewayError as error:
            await self._say(type="error", id=stream_id, error=_told(error, new_id()))
            if self._connection is None:
                await self.close(
                    POLICY if isinstance(error, PermissionDeniedError) else UNAUTHORIZED
                )

    def _floods(self) -> bool:
        now = self._runtime.clock()
        self._arrivals.append(now)
        return len(self._arrivals) > MOST_MESSAGES and now - self._arrivals[0] < IN_SECONDS

    async def _first(self, message: Message) -> None:
        """Take the key: nothing else is read before it."""
        await self._authenticate(self._carrier(message))
        if self._deadline is not None:
            self._deadline.cancel()

    def _carrier(self, message: Message) -> Mapping[bytes, bytes]:
        """Return what the first message authenticates by. Raises InvalidApiKeyError."""
        key, held = message.get("key"), message.get("key_id")
        if message.get("type") == "auth" and isinstance(key, str) and held is None:
            return {b"authorization": b"Bearer " + key.encode()}
        cookie = dict(self.scope["headers"]).get(b"cookie")
        if message.get("type") == "auth" and isinstance(held, str) and key is None and cookie:
            # The handshake has seen that the page is one of ours.
            return {b"cookie": cookie, HELD_KEY: held.encode("latin-1", "replace")}
        raise InvalidApiKeyError('Send {"type": "auth", "key": …} first.')

    def _handle(self, stream_id: str, message: Message) -> None:
        match message.get("type"):
            case "chat.create":
                self._create(stream_id, message)
            case "chat.cancel":
                # One that has just ended is none to complain of.
                if stream_id in self._streams:
                    self._streams[stream_id].cancel()
            case _:
                raise InvalidRequestError(
                    "'type' must be chat.create or chat.cancel.", param="type"
                )

    def _create(self, stream_id: str, message: Message) -> None:
        request = message.get("request")
        if not isinstance(request, dict):
            raise InvalidRequestError("'request' must be a chat completions body.", param="request")
        wanted = None
        if (key := message.get("idempotency_key")) is not None:
            wanted = asked_once(key, ROUTE, request)
        if stream_id in self._streams:
            raise InvalidRequestError(f"The stream {stream_id!r} is running already.", param="id")
        if self._back_after_s is not None:
            raise ShutdownError("The server is shutting down.", retry_after_s=1)
        if len(self._streams) >= MOST_STREAMS:
            raise RateLimitError(f"{MOST_STREAMS} streams run on this connection.", retry_after_s=1)
        running = self._stream(stream_id, request, wanted)
        self._streams[stream_id] = asyncio.create_task(running)

    # --- one stream -----------------------------------------------------------------------------

    async def _stream(self, stream_id: str, request: Message, wanted: Idempotency | None) -> None:
        """Run a stream; its id is free again when its last message is sent."""
        request_id = new_id()
        self._runtime.in_flight += 1
        try:
            last = await self._generate(stream_id, await self._inbound(request, request_id, wanted))
        except GatewayError as error:
            last = {"type": "error", "error": _told(error, request_id), **_noted(error.headers)}
        except asyncio.CancelledError:
            last = {"type": "chat.cancelled"}
        except Exception:
            log.exception("Request %s failed", request_id)
            fault = GatewayError("Something went wrong on our side.")
            last = {"type": "error", "error": _told(fault, request_id)}
        finally:
            self._runtime.in_flight -= 1
            del self._streams[stream_id]
        await self._say(**last, id=stream_id)
        if self._back_after_s is not None:
            await self._leave(self._back_after_s)

    async def _generate(self, stream_id: str, inbound: Inbound) -> Message:
        """Ask and pass the chunks on; return the last message. Raises GatewayError."""
        said = _Said()
        async with Scope() as closing:
            carried = Carried(self._runtime, inbound)
            closing.on_close(carried.end)
            answer = await carried.answer()
            try:
                await self._pass_on(stream_id, carried, said)
            except Unfinished:
                return {"type": "error", "error": said.error}
        return {
            "type": "chat.done",
            "usage": said.usage,
            "cost_usd": usd(answer.cost_nano()),
            "request_id": dict(answer.headers)[b"x-request-id"].decode(),
            **_noted(answer.headers),
        }

    async def _inbound(
        self, request: Message, request_id: UUID, idempotency: Idempotency | None
    ) -> Inbound:
        """Return the request of a stream, authorised anew. Raises GatewayError."""
        assert self._connection is not None  # noqa: S101 - `receive` sees to it
        try:
            caller = await self._caller(self._connection.carrier)
        except InvalidApiKeyError:
            await self.close(UNAUTHORIZED)
            raise
        check_pressure(self._runtime, caller.tenant_id)
        options = request.get("stream_options") or {}
        if not isinstance(options, dict):
            raise InvalidRequestError("'stream_options' must be an object.", param="stream_options")
        wanted = {"stream": True, "stream_options": {**options, "include_usage": True}}
        return Inbound(
            request_id=request_id,
            caller=caller,
            door=openai_chat,
            operation="chat",
            endpoint=ROUTE,
            body={**request, **wanted},
            started=self._runtime.clock(),
            idempotency=idempotency,
        )

    async def _pass_on(self, stream_id: str, carried: Carried, said: _Said) -> None:
        """Send each chunk; keep the usage, or the error, that came with the last."""
        framer = sse.Framer()
        async for piece in carried:
            for frame in framer.feed(piece):
                data = sse.frame_data(frame)
                if not data or data == DONE:
                    continue
                chunk = _chunk(data)
                if chunk.choices:
                    await self._say(type="chat.chunk", id=stream_id, chunk=Raw(data))
                elif chunk.error is not None:
                    said.error = chunk.error
                else:
                    said.usage = chunk.usage

    async def _say(self, **message: object) -> None:
        if self._closed:
            return
        try:
            await self.send(text_data=_encode(message).decode())
        except (OSError, RuntimeError):  # a server says in either way that nobody listens
            self._closed = True


def _noted(headers: Iterable[tuple[bytes, bytes]]) -> Message:
    """Return what headers say of an answer: it is given again, a budget made it shorter."""
    said = dict(headers)
    noted: Message = {"replayed": True} if REPLAYED[0] in said else {}
    if (tokens := said.get(MAX_TOKENS)) is not None:
        noted["max_tokens"] = int(tokens)
    return noted


def _told(error: GatewayError, request_id: UUID) -> object:
    return openai_chat.render_error(error, request_id=str(request_id))["error"]


def _id_of(message: Message) -> str:
    stream_id = message.get("id")
    if not isinstance(stream_id, str) or not 0 < len(stream_id) <= LONGEST_ID:
        raise InvalidRequestError(
            f"'id' must be a text of 1 to {LONGEST_ID} characters.", param="id"
        )
    return stream_id


def _check_origin(headers: Mapping[bytes, bytes], *, keyed: bool) -> None:
    """Refuse a page of another site that brings a person's cookies instead of a key."""
    if keyed or b"cookie" not in headers:
        return
    origin = urlsplit(headers.get(b"origin", b"").decode("latin-1"))
    if origin.netloc.encode("latin-1") != headers.get(b"host") or not origin.netloc:
        raise PermissionDeniedError("This page may not connect here.")
