"""Let WebSocket handshakes in by their head; where they lead is known before one is accepted."""

from collections.abc import Awaitable, Callable
from typing import Any

from llm_gateway.adapters import native
from llm_gateway.edge.head import judged_head
from llm_gateway.edge.http import HTTPScope, Receive, Send, encode
from llm_gateway.errors import GatewayError, NotFoundError
from llm_gateway.service.headers import of_error
from tenants.ids import new_id

PROBLEM = (b"content-type", b"application/problem+json")

Application = Callable[[dict[str, Any], Any, Any], Awaitable[None]]


class Sockets:
    """ASGI application of one WebSocket path, around what serves it."""

    def __init__(self, path: str, inner: Application) -> None:
        self._path, self._inner = path, inner

    async def __call__(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        try:
            judged_head(scope)
            if scope["path"] != self._path:
                raise NotFoundError(f"There is no WebSocket {scope['path'][:200]}.")
        except GatewayError as error:
            await _refuse(send, error)
            return
        await self._inner({**scope}, receive, send)


async def _refuse(send: Send, error: GatewayError) -> None:
    """Answer the handshake with the error's status."""
    request_id = new_id()
    headers = [PROBLEM, *of_error(error, request_id)]
    start = {"type": "websocket.http.response.start", "status": error.status}
    await send({**start, "headers": headers})
    body = encode(native.render_error(error, request_id=str(request_id)))
    await send({"type": "websocket.http.response.body", "body": body})
