"""Answer whether the process lives, whether it should get traffic, and what it counts."""

from llm_gateway import metrics
from llm_gateway.edge.http import JSON, HTTPScope, Receive, Send, encode, respond
from llm_gateway.service.runtime import Runtime
from llm_gateway.service.vitals import vitals

TEXT = (b"content-type", b"text/plain; version=0.0.4; charset=utf-8")


class Operations:
    """ASGI application of /healthz, /readyz and /metrics: no key, no data of a tenant."""

    PATHS = frozenset({"/healthz", "/readyz", "/metrics"})

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def __call__(self, scope: HTTPScope, _receive: Receive, send: Send) -> None:
        health = vitals(self._runtime).health
        match scope["path"]:
            case "/metrics":
                await respond(send, 200, [TEXT], metrics.render())
            case "/readyz":
                draining = self._runtime.draining
                unready = [*(["draining"] if draining else []), *health.unready]
                said = "draining" if draining else "not ready" if unready else "ready"
                told = {"status": said, "reasons": unready, "degraded": health.degraded}
                await respond(send, 503 if unready else 200, [JSON], encode(told))
            case _:
                said = "stuck" if health.stuck else "ok"
                told = {"status": said, "reasons": health.stuck}
                await respond(send, 503 if health.stuck else 200, [JSON], encode(told))
