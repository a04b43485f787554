"""The data plane: plain ASGI endpoints, found by path before Django is asked.

parse → service → write, for every dialect alike; an endpoint is a row of `ENDPOINTS`.
"""

import logging
from collections.abc import Mapping
from functools import partial

from msgspec import Struct

from llm_gateway import access, service
from llm_gateway.adapters import ADAPTERS
from llm_gateway.edge import listing
from llm_gateway.edge.http import (
    JSON,
    SSE,
    Bodies,
    ClientGone,
    HTTPScope,
    Receive,
    Send,
    check_head,
    encode,
    has_left,
    read_body,
    respond,
    stream,
)
from llm_gateway.errors import (
    GatewayError,
    MethodNotAllowedError,
    NotFoundError,
    OverloadedError,
    PermissionDeniedError,
)
from llm_gateway.scope import Scope
from llm_gateway.service.controls import parse_controls, passed_on
from llm_gateway.service.counting import OPERATION, count_tokens
from llm_gateway.service.credentials import authenticate
from llm_gateway.service.headers import of_error, of_request
from llm_gateway.service.inbound import Inbound
from llm_gateway.service.once import idempotency
from llm_gateway.service.runtime import Runtime
from tenants.ids import new_id
from tenants.types import Caller

MAX_IN_FLIGHT = 2_000
CLOSE = (b"connection", b"close")

log = logging.getLogger(__name__)


class Endpoint(Struct, frozen=True):
    """One path of the data plane: the adapter of its dialect, and what it is called for."""

    route: str
    adapter: str
    operation: str
    method: str = "POST"


ENDPOINTS: Mapping[str, Endpoint] = {
    endpoint.route: endpoint
    for endpoint in (
        Endpoint("/v1/chat/completions", "openai_chat", "chat"),
        Endpoint("/v1/embeddings", "openai_embeddings", "embeddings"),
        Endpoint("/v1/messages", "anthropic_messages", "chat"),
        Endpoint("/v1/messages/count_tokens", "anthropic_messages", "count_tokens"),
        Endpoint("/v1/models", "openai_chat", "models", "GET"),
        Endpoint("/v1/models/{id}", "openai_chat", "models", "GET"),
    )
}
_MODEL = "/v1/models/"


def endpoint_of(path: str, headers: Mapping[bytes, bytes]) -> Endpoint:
    """Return the row of a path. Raises NotFoundError."""
    found = ENDPOINTS.get("/v1/models/{id}" if path.startswith(_MODEL) else path)
    if found is None:
        raise NotFoundError(f"There is no endpoint {path[:200]}.")
    if found.operation == "models" and b"anthropic-version" in headers:
        return Endpoint(found.route, "anthropic_messages", "models", "GET")
    return found


class DataPlane:
    """ASGI application of everything under /v1/."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime, self._bodies = runtime, Bodies()

    async def __call__(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        async with Scope() as closing:
            await self._serve(scope, receive, send, closing)

    async def _serve(self, scope: HTTPScope, receive: Receive, send: Send, closing: Scope) -> None:
        request_id, headers = new_id(), dict(scope["headers"])
        door = ADAPTERS[_dialect(scope["path"])]
        self._runtime.in_flight += 1
        try:
            endpoint = endpoint_of(scope["path"], headers)
            door = ADAPTERS[endpoint.adapter]
            caller = await self._admit(scope, headers, endpoint)
            if endpoint.operation == "models":
                listed = listing.render(self._runtime, caller, endpoint.adapter, scope["path"])
                await respond(send, 200, [JSON, *of_request(request_id)], listed)
                return
            body = await read_body(receive, check_head(headers), self._bodies)
            inbound = Inbound(
                request_id=request_id,
                caller=caller,
                door=door,
                operation=endpoint.operation,
                endpoint=endpoint.route,
                body=body,
                started=self._runtime.clock(),
                controls=parse_controls(headers),
                passed_on=passed_on(headers),
                idempotency=idempotency(headers, endpoint.route, body),
                has_left=partial(has_left, receive),
            )
            answer = await self._answer(inbound, closing)
        except GatewayError as error:
            await _refuse(send, door, error, request_id)
            return
        except ClientGone:
            return
        except Exception:
            log.exception("Request %s failed", request_id)
            await _refuse(send, door, GatewayError("Something went wrong on our side."), request_id)
            return
        finally:
            self._runtime.in_flight -= 1
        if answer.chunks is None:
            await respond(send, 200, [JSON, *answer.headers], answer.body)
        else:
            await stream(receive, send, [SSE, *answer.headers], answer.chunks, answer.on_gone)

    async def _answer(self, inbound: Inbound, closing: Scope) -> service.Answer:
        if inbound.operation == OPERATION:
            return await count_tokens(self._runtime, inbound)
        return await service.answer(self._runtime, inbound, closing)

    async def _admit(
        self, scope: HTTPScope, headers: Mapping[bytes, bytes], endpoint: Endpoint
    ) -> Caller:
        """Let a request in by its head alone: nobody unadmitted makes us read a body."""
        if scope["method"] != endpoint.method:
            raise MethodNotAllowedError(f"Use {endpoint.method} for {endpoint.route}.")
        if self._runtime.in_flight > MAX_IN_FLIGHT:
            raise OverloadedError("Too many requests at once.", retry_after_s=1)
        caller = await authenticate(self._runtime, scope, headers)
        if not access.may("http", endpoint.method, endpoint.route, caller.scopes):
            raise PermissionDeniedError("This key may not call this endpoint.")
        check_head(headers)
        return caller


async def _refuse(send: Send, door: object, error: GatewayError, request_id: object) -> None:
    headers = error.headers or of_error(error, request_id)
    body = encode(door.render_error(error, request_id=str(request_id)))  # type: ignore[attr-defined]
    # What was not read is not read to its end either: the connection closes behind the refusal.
    closing = [CLOSE] if error.status in {408, 413, 415} else []
    await respond(send, error.status, [JSON, *headers, *closing], body)


def _dialect(path: str) -> str:
    """Return in whose words a path that is not ours is refused."""
    return "anthropic_messages" if path.startswith("/v1/messages") else "openai_chat"
