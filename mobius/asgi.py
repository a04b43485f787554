"""Route what comes in: the data plane by path, before Django is asked for anything.

The lifespan opens what a process works with and closes it in order; a server without lifespan
(Daphne under `runserver`) opens it with the first request.
"""

import gc
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from functools import cache
from types import FrameType
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mobius.settings")

from django.core.asgi import get_asgi_application

django_application = get_asgi_application()

from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402 - after django.setup()
from django.urls import path  # noqa: E402

from llm_gateway.consumers import GatewayConsumer  # noqa: E402
from llm_gateway.edge.app import DataPlane  # noqa: E402
from llm_gateway.edge.control import PREFIX, ControlPlane  # noqa: E402
from llm_gateway.edge.health import Operations  # noqa: E402
from llm_gateway.service import process  # noqa: E402
from llm_gateway.service.runtime import Runtime  # noqa: E402
from tenants.money.types import LedgerInUseError  # noqa: E402

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

# With a busy event loop the ledger's thread waits this long for the interpreter lock, not 5 ms.
SWITCH_INTERVAL_S = 0.0005
YOUNG_OBJECTS = 10_000

log = logging.getLogger(__name__)

websocket = URLRouter([path("ws/v1/llm", GatewayConsumer.as_asgi())])
control_plane = ProtocolTypeRouter({"http": django_application, "websocket": websocket})


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Serve one connection."""
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
        return
    runtime = await process.opened()
    asked = scope.get("path", "")
    if scope["type"] == "http" and asked.startswith(("/v1/", "/v1beta/")):
        await _data_plane(runtime)(scope, receive, send)
    elif scope["type"] == "http" and asked.startswith(PREFIX):
        await _control_plane(runtime)(scope, receive, send)
    elif scope["type"] == "http" and asked in Operations.PATHS:
        await Operations(runtime)(scope, receive, send)
    else:
        await control_plane(scope, receive, send)


@cache
def _data_plane(runtime: Runtime) -> DataPlane:
    return DataPlane(runtime)


@cache
def _control_plane(runtime: Runtime) -> ControlPlane:
    return ControlPlane(runtime, django_application)


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
            _drain_on_sigterm()
            _tune()
            await send({"type": "lifespan.startup.complete"})
        elif message["type"] == "lifespan.shutdown":
            await process.close()
            await send({"type": "lifespan.shutdown.complete"})
            return


def _drain_on_sigterm() -> None:
    """Say that we are leaving before the server waits for what still runs."""
    theirs = signal.getsignal(signal.SIGTERM)

    def leave(number: int, frame: FrameType | None) -> None:
        process.drain()
        if callable(theirs):
            theirs(number, frame)

    signal.signal(signal.SIGTERM, leave)


def _tune() -> None:
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    # What is loaded now lives as long as the process: full collections need not walk it again.
    # A request makes a thousand short-lived objects: at the usual threshold each pays for a pass.
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, 20, 20)
