"""Answer whether the process lives, whether it should get traffic, and what it counts."""

from llm_gateway import metrics
from llm_gateway.edge.http import JSON, HTTPScope, Receive, Send, encode, respond
from llm_gateway.service.runtime import Runtime

TEXT = (b"content-type", b"text/plain; version=0.0.4; charset=utf-8")


class Operations:
    """ASGI application of /healthz, /readyz and /metrics: no key, no data of a tenant."""

    PATHS = frozenset({"/healthz", "/readyz", "/metrics"})

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def __call__(self, scope: HTTPScope, _receive: Receive, send: Send) -> None:
        match scope["path"]:
            case "/metrics":
                await respond(send, 200, [TEXT], metrics.render())
            case "/readyz":
                draining = self._runtime.draining
                body = {"status": "draining" if draining else "ready"}
                await respond(send, 503 if draining else 200, [JSON], encode(body))
            case _:
                await respond(send, 200, [JSON], encode({"status": "ok"}))
