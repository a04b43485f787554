"""Let in what goes to Django: by its head, then with a body that is bounded.

Django would write any body to disk before it asks who sends it. The request's scope is opened
here, around the ASGI call, because a view's generator may never be asked to close.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from llm_gateway.adapters import native
from llm_gateway.edge.bodies import MAX_BODY, NOBODY, Bodies, Held
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
from llm_gateway.errors import GatewayError
from llm_gateway.scope import Scope
from llm_gateway.service.carried import CLOSING
from llm_gateway.service.controls import parse_controls
from llm_gateway.service.credentials import authenticate, signed_in
from llm_gateway.service.headers import of_error
from llm_gateway.service.pressure import check_pressure
from llm_gateway.service.runtime import Runtime
from llm_gateway.service.stops import Arriving, stops
from tenants.auth import brings_credential
from tenants.ids import new_id

PREFIX = "/api/v1/"
INFERENCE = "/api/v1/llm/"
IMPORT = "/admin/llm_gateway/invoiceline/add/"
MAX_MANAGEMENT_BODY = 1024 * 1024
# The file of an invoice with the form around it.
MAX_IMPORT_BODY = 21 * 1024 * 1024
PROBLEM = (b"content-type", b"application/problem+json")
CLOSE = (b"connection", b"close")

Application = Callable[[dict[str, Any], Any, Any], Awaitable[None]]


class ControlPlane:
    """ASGI application of everything under /api/v1/, around Django's."""

    def __init__(self, runtime: Runtime, bodies: Bodies, django: Application) -> None:
        self._runtime, self._bodies, self._django = runtime, bodies, django

    async def __call__(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        async with Scope() as closing:
            await self._serve(scope, receive, send, closing)

    async def _serve(self, scope: HTTPScope, receive: Receive, send: Send, closing: Scope) -> None:
        try:
            receive = await self._admit(scope, receive, closing)
        except GatewayError as error:
            await _refuse(send, error)
            return
        except ClientGone:
            return
        self._runtime.in_flight += 1
        try:
            await self._django({**scope, CLOSING: closing}, receive, send)
        finally:
            self._runtime.in_flight -= 1

    async def _admit(self, scope: HTTPScope, receive: Receive, closing: Scope) -> Receive:
        """Return what gives Django the body; nobody whom we do not know makes us read one."""
        headers = judged_head(scope)
        if not _brings_body(headers):
            return receive
        if not brings_credential(headers) and await signed_in(self._runtime, headers):
            declared = check_head(headers, MAX_MANAGEMENT_BODY)
            held = Held(self._bodies, NOBODY)
            read = read_body(receive, declared, held, closing, MAX_MANAGEMENT_BODY)
            return _replay(await read, receive)
        caller = await authenticate(self._runtime, scope, headers)
        check_pressure(self._runtime, caller.tenant_id)
        most = MAX_BODY if scope["path"].startswith(INFERENCE) else MAX_MANAGEMENT_BODY
        run, started = parse_controls(headers).run, self._runtime.clock()
        arriving = Arriving(caller, run, new_id(), scope["path"], started)
        held = Held(self._bodies, caller.tenant_id)
        reading = read_body(receive, check_head(headers, most), held, closing, most)
        body = await stops(self._runtime).read(arriving, reading)
        return _replay(body, receive)


class Pages:
    """ASGI application of all other pages, around Django's: who asks is for Django to say."""

    def __init__(self, bodies: Bodies, django: Application) -> None:
        self._bodies, self._django = bodies, django

    async def __call__(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        async with Scope() as closing:
            try:
                receive = await self._admit(scope, receive, closing)
            except GatewayError as error:
                await _refuse(send, error)
                return
            except ClientGone:
                return
            await self._django({**scope}, receive, send)

    async def _admit(self, scope: HTTPScope, receive: Receive, closing: Scope) -> Receive:
        """Return what gives Django the body."""
        headers = judged_head(scope)
        if not _brings_body(headers):
            return receive
        most = MAX_IMPORT_BODY if scope["path"] == IMPORT else MAX_MANAGEMENT_BODY
        declared = check_head(headers, most)
        held = Held(self._bodies, NOBODY)
        return _replay(await read_body(receive, declared, held, closing, most), receive)


def _brings_body(headers: MutableMapping[bytes, bytes]) -> bool:
    return headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers


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
