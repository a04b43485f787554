"""Route what comes in: the data plane by path, before Django is asked for anything.

The lifespan opens what a process works with and closes it in order; a server without lifespan
(Daphne under `runserver`) opens it with the first request.
"""

import ctypes
import gc
import logging
import os
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from functools import cache
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mobius.settings")

from django.core.asgi import get_asgi_application

django_application = get_asgi_application()

from channels.routing import URLRouter  # noqa: E402 - after django.setup()
from django.urls import path  # noqa: E402

from llm_gateway.consumers import ROUTE, GatewayConsumer  # noqa: E402
from llm_gateway.edge import tools  # noqa: E402
from llm_gateway.edge.app import DataPlane  # noqa: E402
from llm_gateway.edge.bodies import Bodies  # noqa: E402
from llm_gateway.edge.control import PREFIX, ControlPlane, Pages  # noqa: E402
from llm_gateway.edge.health import Operations  # noqa: E402
from llm_gateway.edge.sockets import Sockets  # noqa: E402
from llm_gateway.service import process  # noqa: E402
from llm_gateway.service.runtime import Runtime  # noqa: E402
from tenants.money.types import LedgerInUseError  # noqa: E402

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

# With a busy event loop the ledger's thread waits this long for the interpreter lock, not 5 ms.
SWITCH_INTERVAL_S = 0.0005
YOUNG_OBJECTS = 10_000
CLOSE = (b"connection", b"close")
M_MMAP_THRESHOLD, LARGE_BLOCK = -3, 1024 * 1024

log = logging.getLogger(__name__)

websocket = URLRouter([path(ROUTE.removeprefix("/"), GatewayConsumer.as_asgi())])
_sockets = Sockets(ROUTE, websocket)


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Serve one connection."""
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
        return
    runtime = await process.opened()
    asked = scope.get("path", "")
    if runtime.draining and scope["type"] == "http":
        send = _once(send)
    if scope["type"] == "http" and asked.startswith(("/v1/", "/v1beta/")):
        await _data_plane(runtime)(scope, receive, send)
    elif scope["type"] == "http" and asked.startswith(PREFIX):
        await _control_plane(runtime)(scope, receive, send)
    elif scope["type"] == "http" and asked == tools.PATH:
        await _tools(runtime)(scope, receive, send)
    elif scope["type"] == "http" and asked in Operations.PATHS:
        await Operations(runtime)(scope, receive, send)
    elif scope["type"] == "http":
        await _pages(runtime)(scope, receive, send)
    else:
        await _sockets(scope, receive, send)


@cache
def _bodies(_runtime: Runtime) -> Bodies:
    return Bodies()


@cache
def _data_plane(runtime: Runtime) -> DataPlane:
    return DataPlane(runtime, _bodies(runtime))


@cache
def _control_plane(runtime: Runtime) -> ControlPlane:
    return ControlPlane(runtime, _bodies(runtime), django_application)


@cache
def _pages(runtime: Runtime) -> Pages:
    return Pages(_bodies(runtime), django_application)


@cache
def _tools(runtime: Runtime) -> tools.Tools:
    return tools.Tools(runtime, _bodies(runtime))


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            try:
                await process.opened()
            except LedgerInUseError as error:
                await send({"type": "lifespan.startup.failed", "message": str(error)})
                return
            except Exception as error:
                log.exception("The start failed")
                await send({"type": "lifespan.startup.failed", "message": str(error)})
                return
            _tune()
            await send({"type": "lifespan.startup.complete"})
        elif message["type"] == "lifespan.shutdown":
            await process.close()
            await send({"type": "lifespan.shutdown.complete"})
            return


def _once(send: Send) -> Send:
    """Close each connection behind its answer: who comes again is served by another process."""

    async def last(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), CLOSE]}
        await send(message)

    return last


def _tune() -> None:
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    _give_back_large_blocks()
    # What is loaded now lives as long as the process: full collections need not walk it again.
    # A request makes a thousand short-lived objects: at the usual threshold each pays for a pass.
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, 20, 20)


def _give_back_large_blocks() -> None:
    """Let glibc return the memory of a large body at once, and not keep it for the next one."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK)
