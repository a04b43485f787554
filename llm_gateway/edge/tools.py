"""Let agents in to the gateway's tools under /mcp: by the head alone, then with a bounded body."""

from collections.abc import Mapping, MutableMapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from llm_gateway import access
from llm_gateway.adapters import native
from llm_gateway.edge.bodies import MAX_BODY, Bodies, Held
from llm_gateway.edge.head import judged_head
from llm_gateway.edge.http import (
    ClientGone,
    HTTPScope,
    Receive,
    Send,
    check_head,
    encode,
    read_body,
    respond,
)
from llm_gateway.errors import (
    GatewayError,
    MethodNotAllowedError,
    PermissionDeniedError,
    ShutdownError,
)
from llm_gateway.scope import Scope
from llm_gateway.service.controls import parse_controls
from llm_gateway.service.credentials import authenticate
from llm_gateway.service.headers import of_error
from llm_gateway.service.pressure import check_pressure
from llm_gateway.service.runtime import Runtime
from tenants.ids import new_id
from tenants.types import Caller

if TYPE_CHECKING:
    from llm_gateway.mcp_server.server import ToolServer

PATH = "/mcp"
PROBLEM = (b"content-type", b"application/problem+json")
CLOSE = (b"connection", b"close")


class Tools:
    """ASGI application of /mcp; what a tool does is bound like any request of the same key."""

    def __init__(self, runtime: Runtime, bodies: Bodies) -> None:
        self._runtime, self._bodies = runtime, bodies
        self._server: ToolServer | None = None

    async def __call__(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        async with Scope() as closing:
            await self._serve(scope, receive, send, closing)

    async def _serve(self, scope: HTTPScope, receive: Receive, send: Send, closing: Scope) -> None:
        try:
            headers = judged_head(scope)
            caller = await self._admit(scope, headers)
            controls = parse_controls(headers)
            held = Held(self._bodies, caller.tenant_id)
            body = await read_body(receive, check_head(headers), held, closing)
        except GatewayError as error:
            await _refuse(send, error)
            return
        except ClientGone:
            return
        self._runtime.in_flight += 1
        try:
            from llm_gateway.mcp_server import server  # noqa: PLC0415 - a second, on first use

            if self._server is None:
                self._server = server.ToolServer(MAX_BODY)
            told = {**scope, server.CALLER: caller, server.CONTROLS: controls}
            await self._server.serve(told, _given(body, receive), send)
        finally:
            self._runtime.in_flight -= 1

    async def _admit(self, scope: HTTPScope, headers: Mapping[bytes, bytes]) -> Caller:
        """Let a request in by its head. Raises GatewayError."""
        if scope["method"] != "POST":
            raise MethodNotAllowedError(f"Use POST for {PATH}: there are no sessions.")
        if self._runtime.closing:
            raise ShutdownError("The server is shutting down.", retry_after_s=1)
        _check_origin(headers)
        caller = await authenticate(self._runtime, scope, headers)
        check_pressure(self._runtime, caller.tenant_id)
        if not access.may("http", "POST", PATH, caller.scopes):
            raise PermissionDeniedError("This key may not call this endpoint.")
        check_head(headers)
        return caller


def _check_origin(headers: Mapping[bytes, bytes]) -> None:
    """Refuse pages of other sites, as the protocol demands. Raises PermissionDeniedError."""
    origin = headers.get(b"origin")
    if origin is None:
        return
    host = headers.get(b"host", b"").decode("latin-1")
    if urlsplit(origin.decode("latin-1")).netloc != host:
        raise PermissionDeniedError("Pages of other sites may not use the tools.")


def _given(body: bytes, receive: Receive) -> Receive:
    """Give on the body that was read, then what the server says."""
    given = False

    async def replayed() -> MutableMapping[str, Any]:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed


async def _refuse(send: Send, error: GatewayError) -> None:
    request_id = new_id()
    body = encode(native.render_error(error, request_id=str(request_id)))
    closing = [CLOSE] if error.closes else []
    headers = [PROBLEM, *of_error(error, request_id), *closing]
    await respond(send, error.status, headers, body)
