"""The only orchestrator: every door hands its requests in here, and nothing else spends."""

from llm_gateway.scope import Scope
from llm_gateway.service.exchange import Exchange
from llm_gateway.service.inbound import Answer, Controls, Inbound, Unfinished
from llm_gateway.service.runtime import Runtime

__all__ = ["Answer", "Controls", "Inbound", "Runtime", "Unfinished", "answer"]


async def answer(runtime: Runtime, inbound: Inbound, scope: Scope) -> Answer:
    """Answer one request; what it opened is closed with `scope`. Raises GatewayError."""
    exchange = Exchange(runtime, inbound)
    scope.on_close(exchange.close)
    return await exchange.answer()
