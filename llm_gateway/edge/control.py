"""Let in what goes to Django under /api/v1/: by its head, then with a body that is bounded.

Django would write any body to disk before it asks who sends it. The request's scope is opened
here, around the ASGI call, because a view's generator may never be asked to close.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from llm_gateway.adapters import native
from llm_gateway.edge.http import (
    MAX_BODY,
    Bodies,
    ClientGone,
    HTTPScope,
    Receive,
    Send,
    check_head,
    encode,
    read_body,
    respond,
)
from llm_gateway.errors import GatewayError
from llm_gateway.scope import Scope
from llm_gateway.service.carried import CLOSING
from llm_gateway.service.credentials import authenticate
from llm_gateway.service.headers import of_error
from llm_gateway.service.runtime import Runtime
from tenants.ids import new_id

PREFIX = "/api/v1/"
INFERENCE = "/api/v1/llm/"
MAX_MANAGEMENT_BODY = 1024 * 1024
PROBLEM = (b"content-type", b"application/problem+json")
CLOSE = (b"connection", b"close")

Application = Callable[[dict[str, Any], Any, Any], Awaitable[None]]


class ControlPlane:
    """ASGI application of everything under /api/v1/, around Django's."""

    def __init__(self, runtime: Runtime, django: Application) -> None:
        self._runtime, self._django, self._bodies = runtime, django, Bodies()

    async def __call__(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        try:
            receive = await self._admit(scope, receive)
        except GatewayError as error:
            await _refuse(send, error)
            return
        except ClientGone:
            return
        self._runtime.in_flight += 1
        try:
            async with Scope() as closing:
                await self._django({**scope, CLOSING: closing}, receive, send)
        finally:
            self._runtime.in_flight -= 1

    async def _admit(self, scope: HTTPScope, receive: Receive) -> Receive:
        """Return what gives Django the body; nobody without a key makes us read one."""
        headers = dict(scope["headers"])
        if headers.get(b"content-length", b"0") == b"0" and b"transfer-encoding" not in headers:
            return receive
        await authenticate(self._runtime, scope, headers)
        most = MAX_BODY if scope["path"].startswith(INFERENCE) else MAX_MANAGEMENT_BODY
        body = await read_body(receive, check_head(headers, most), self._bodies, most)
        return _replay(body, receive)


def _replay(body: bytes, receive: Receive) -> Receive:
    """Give Django the body that was read, then what the server says."""
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
    # What was not read is not read to its end either: the connection closes behind the refusal.
    await respond(send, error.status, [PROBLEM, *of_error(error, request_id), CLOSE], body)
