"""The data plane: plain ASGI endpoints, found by path before Django is asked.

parse → service → write, for every dialect alike; an endpoint is a row of `ENDPOINTS`.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any
from uuid import UUID

from msgspec import Struct

from llm_gateway import access, service
from llm_gateway.adapters import ADAPTERS
from llm_gateway.edge import kept, listing
from llm_gateway.edge.bodies import Bodies, Held
from llm_gateway.edge.head import judged_head
from llm_gateway.edge.http import (
    JSON,
    SSE,
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
from llm_gateway.edge.multipart import parse_upload
from llm_gateway.edge.written import as_asked
from llm_gateway.errors import (
    GatewayError,
    MethodNotAllowedError,
    NotFoundError,
    PermissionDeniedError,
)
from llm_gateway.scope import Scope
from llm_gateway.service import files
from llm_gateway.service.body import parse_body
from llm_gateway.service.controls import parse_controls, passed_on
from llm_gateway.service.counting import OPERATION, count_tokens
from llm_gateway.service.credentials import authenticate
from llm_gateway.service.headers import of_error, of_request
from llm_gateway.service.inbound import Inbound
from llm_gateway.service.kept import Asked, ask
from llm_gateway.service.once import idempotency
from llm_gateway.service.pressure import check_pressure
from llm_gateway.service.runtime import Runtime
from llm_gateway.service.stops import Arriving, stops
from tenants.ids import new_id
from tenants.types import Caller

Read = Callable[[], Awaitable[bytes]]

CLOSE = (b"connection", b"close")
# What is asked for as it is, and no object; where it is, and what it is called.
_CONTENT = {
    f"{kept.BATCHES}{{id}}/results": (b"content-type", b"application/x-jsonl"),
    "/v1/files/{id}/content": (b"content-type", b"application/octet-stream"),
}

log = logging.getLogger(__name__)


class Endpoint(Struct, frozen=True):
    """One path of the data plane: the adapter of its dialect, and what it is called for.

    `streams`: the path itself asks for a stream.
    """

    route: str
    adapter: str
    operation: str
    method: str = "POST"
    streams: bool = False


# By which of its operations a provider came to keep what an adapter speaks of.
_WAYS = {
    "openai_responses": "responses",
    "anthropic_batches": "batches",
    "openai_batches": "batches",
}
# What costs nothing.
_FREE = {"files", "kept", "listed", "models"}
# Where models are, which Gemini's dialect calls by name: in each of its versions the same.
_MODELS = ("/v1/models/", "/v1beta/models/")
_METHODS: dict[str, tuple[Any, ...]] = {
    "generateContent": ("gemini", "chat"),
    "streamGenerateContent": ("gemini", "chat", "POST", True),
    "countTokens": ("gemini", "count_tokens"),
    "embedContent": ("gemini_embeddings", "embeddings"),
    "batchEmbedContents": ("gemini_embeddings", "embeddings"),
}


# A path that has several methods is listed with each.
ENDPOINTS: Mapping[str, Endpoint] = {
    f"{method} {route}": Endpoint(
        route, kept.adapter_of(route), kept.operation_of(method, route), method
    )
    for route, methods in kept.ROUTES.items()
    for method in methods
} | {
    endpoint.route: endpoint
    for endpoint in (
        Endpoint("/v1/chat/completions", "openai_chat", "chat"),
        Endpoint("/v1/completions", "openai_completions", "chat"),
        Endpoint("/v1/responses", "openai_responses", "chat"),
        Endpoint("/v1/embeddings", "openai_embeddings", "embeddings"),
        Endpoint("/v1/moderations", "openai_moderations", "moderations"),
        Endpoint("/v1/rerank", "cohere_rerank", "rerank"),
        Endpoint("/v1/messages", "anthropic_messages", "chat"),
        Endpoint("/v1/messages/batches", "anthropic_batches", "batches"),
        Endpoint("/v1/messages/count_tokens", "anthropic_messages", "count_tokens"),
        Endpoint("/v1/models", "openai_chat", "models", "GET"),
        Endpoint("/v1/models/{id}", "openai_chat", "models", "GET"),
        Endpoint("/v1beta/models", "gemini", "models", "GET"),
        Endpoint("/v1beta/models/{id}", "gemini", "models", "GET"),
        *(
            Endpoint(f"{models}{{model}}:{method}", *what)
            for models in _MODELS
            for method, what in _METHODS.items()
        ),
    )
}
# By which header of its SDK a dialect is known where several have the same path.
_LISTED_FOR = {b"anthropic-version": "anthropic_messages", b"x-goog-api-client": "gemini"}


def endpoint_of(method: str, path: str, headers: Mapping[bytes, bytes]) -> Endpoint:
    """Return the row of a path. Raises NotFoundError or MethodNotAllowedError."""
    found = ENDPOINTS.get(path) or ENDPOINTS.get(_route(path)) or _kept(method, path)
    if found is None:
        raise NotFoundError(f"There is no endpoint {path[:200]}.")
    if found.operation == "models":
        for header, adapter in _LISTED_FOR.items():
            if header in headers:
                return Endpoint(found.route, adapter, "models", "GET")
    return found


def _route(path: str) -> str:
    """Return the route of a path below the models; a name may hold a colon itself."""
    for models in _MODELS:
        if path.startswith(models):
            route = f"{models}{{model}}:{path.rpartition(':')[2]}"
            return route if route in ENDPOINTS else f"{models}{{id}}"
    return path


def _kept(method: str, path: str) -> Endpoint | None:
    """Return the row of a path about what a provider keeps."""
    route = kept.route_of(path)
    if route is None:
        return None
    if method not in kept.ROUTES[route]:
        raise MethodNotAllowedError(f"Use {' or '.join(kept.ROUTES[route])} for {route}.")
    return ENDPOINTS[f"{method} {route}"]


def _named(endpoint: Endpoint, path: str) -> dict[str, Any]:
    """Return what the path says that other dialects say in the body."""
    models, parameter, _ = endpoint.route.partition("{model}")
    if not parameter:
        return {}
    model = path.removeprefix(models).rpartition(":")[0]
    return {"model": model, "stream": True} if endpoint.streams else {"model": model}


class DataPlane:
    """ASGI application of everything under /v1/."""

    def __init__(self, runtime: Runtime, bodies: Bodies) -> None:
        self._runtime, self._bodies = runtime, bodies

    async def __call__(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        async with Scope() as closing:
            await self._serve(scope, receive, send, closing)

    async def _serve(self, scope: HTTPScope, receive: Receive, send: Send, closing: Scope) -> None:
        request_id = new_id()
        door = ADAPTERS[_dialect(scope["path"])]
        self._runtime.in_flight += 1
        try:
            headers = judged_head(scope)
            endpoint = endpoint_of(scope["method"], scope["path"], headers)
            door = ADAPTERS[endpoint.adapter]
            caller, declared = await self._admit(scope, headers, endpoint)
            held = Held(self._bodies, caller.tenant_id)
            read = partial(read_body, receive, declared, held, closing)
            if endpoint.operation in _FREE:
                told = await self._look_up(scope, read, caller, endpoint, request_id)
                await respond(send, 200, told.headers, told.body)
                return
            controls = parse_controls(headers)
            arriving = self._arriving(caller, controls.run, request_id, endpoint)
            body = await self._read(read, arriving, request_id)
            inbound = Inbound(
                request_id=request_id,
                caller=caller,
                door=door,
                operation=endpoint.operation,
                endpoint=endpoint.route,
                body=body,
                started=self._runtime.clock(),
                controls=controls,
                passed_on=passed_on(headers),
                idempotency=idempotency(headers, scope["path"], body),
                has_left=partial(has_left, receive),
                named=_named(endpoint, scope["path"]),
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
        await _give(scope, receive, send, answer, streams=endpoint.streams)

    def _arriving(
        self, caller: Caller, run: str | None, request_id: UUID, endpoint: Endpoint
    ) -> Arriving:
        return Arriving(caller, run, request_id, endpoint.route, self._runtime.clock())

    async def _read(self, read: Read, arriving: Arriving, request_id: object) -> bytes:
        """Return the body. Raises what is wrong with it, or why it was stopped on its way."""
        try:
            return await stops(self._runtime).read(arriving, read())
        except GatewayError as error:
            if error is arriving.stopped:
                error.headers = [*of_error(error, request_id), CLOSE]
            raise

    async def _look_up(
        self,
        scope: HTTPScope,
        read: Read,
        caller: Caller,
        endpoint: Endpoint,
        request_id: UUID,
    ) -> service.Answer:
        """Answer what costs nothing: which models there are, and what a provider keeps."""
        headers, path = dict(scope["headers"]), scope["path"]
        if endpoint.operation == "models":
            listed = listing.render(self._runtime, caller, endpoint.adapter, path)
            return service.Answer(headers=[JSON, *of_request(request_id)], body=listed)
        if endpoint.operation == "listed":
            words = kept.words_of(scope.get("query_string", b""))
            rows = await files.listed(self._runtime, caller, kept.kind_of(endpoint.route), words)
            return service.Answer(headers=[JSON, *of_request(request_id)], body=encode(rows))
        if endpoint.operation == "files":
            return await self._keep_file(headers, read, caller, endpoint, request_id)
        body = await read() if endpoint.method == "POST" else b""
        asked = Asked(
            request_id=request_id,
            caller=caller,
            method=endpoint.method,
            path=kept.upstream_path(path, scope.get("query_string", b"")),
            object_id=kept.object_of(endpoint.route, path),
            ends=endpoint.method == "DELETE" and endpoint.route.endswith("{id}"),
            body=encode(parse_body(body)) if body else b"",
            provider=parse_controls(headers).provider,
            content=endpoint.route in _CONTENT,
            way=_WAYS[endpoint.adapter],
            speaks=ADAPTERS[endpoint.adapter],
            kind=kept.kind_of(endpoint.route),
        )
        told = await ask(self._runtime, asked)
        kind = _CONTENT.get(endpoint.route, JSON)
        return service.Answer(headers=[kind, *told.headers], body=told.body)

    async def _keep_file(
        self,
        headers: Mapping[bytes, bytes],
        read: Read,
        caller: Caller,
        endpoint: Endpoint,
        request_id: UUID,
    ) -> service.Answer:
        controls = parse_controls(headers)
        arriving = self._arriving(caller, controls.run, request_id, endpoint)
        body = await self._read(read, arriving, request_id)
        upload = parse_upload(headers.get(b"content-type", b""), body)
        inbound = Inbound(
            request_id=request_id,
            caller=caller,
            door=ADAPTERS[endpoint.adapter],
            operation=endpoint.operation,
            endpoint=endpoint.route,
            body=b"",
            started=self._runtime.clock(),
            controls=controls,
        )
        told = await files.keep(self._runtime, inbound, upload)
        return service.Answer(headers=[JSON, *told.headers], body=told.body)

    async def _answer(self, inbound: Inbound, closing: Scope) -> service.Answer:
        if inbound.operation == OPERATION:
            return await count_tokens(self._runtime, inbound)
        return await service.answer(self._runtime, inbound, closing)

    async def _admit(
        self, scope: HTTPScope, headers: Mapping[bytes, bytes], endpoint: Endpoint
    ) -> tuple[Caller, int]:
        """Let a request in by its head alone: nobody unadmitted makes us read a body.

        Returns who calls, and how long the body is said to be.
        """
        if scope["method"] != endpoint.method:
            raise MethodNotAllowedError(f"Use {endpoint.method} for {endpoint.route}.")
        caller = await authenticate(self._runtime, scope, headers)
        check_pressure(self._runtime, caller.tenant_id)
        if not access.may("http", endpoint.method, endpoint.route, caller.scopes):
            raise PermissionDeniedError("This key may not call this endpoint.")
        return caller, check_head(headers)


async def _give(
    scope: HTTPScope, receive: Receive, send: Send, answer: service.Answer, *, streams: bool
) -> None:
    if answer.chunks is None:
        await respond(send, 200, [JSON, *answer.headers], answer.body)
    else:
        chunks = answer.chunks
        kind, chunks = as_asked(scope, chunks) if streams else (SSE, chunks)
        await stream(receive, send, [kind, *answer.headers], chunks, answer.on_gone)


async def _refuse(send: Send, door: object, error: GatewayError, request_id: object) -> None:
    headers = error.headers or of_error(error, request_id)
    body = encode(door.render_error(error, request_id=str(request_id)))  # type: ignore[attr-defined]
    # What was not read is not read to its end either: the connection closes behind the refusal.
    closing = [CLOSE] if error.closes else []
    await respond(send, error.status, [JSON, *headers, *closing], body)


def _dialect(path: str) -> str:
    """Return in whose words a path that is not ours is refused."""
    if path.startswith("/v1beta/"):
        return "gemini"
    return "anthropic_messages" if path.startswith("/v1/messages") else "openai_chat"
