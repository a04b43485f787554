"""The only orchestrator: every door hands its requests in here, and nothing else spends."""

from llm_gateway.adapters import openai_batches, openai_chat, openai_responses
from llm_gateway.scope import Scope
from llm_gateway.service.batching import BatchExchange
from llm_gateway.service.continuing import ContinuingExchange
from llm_gateway.service.embedding import EmbeddingExchange
from llm_gateway.service.exchange import Exchange
from llm_gateway.service.filed import FiledBatchExchange
from llm_gateway.service.inbound import Answer, Controls, Inbound, Unfinished
from llm_gateway.service.overhearing import overheard
from llm_gateway.service.runtime import Runtime
from llm_gateway.service.structured import StructuredExchange

__all__ = ["Answer", "Controls", "Inbound", "Runtime", "Unfinished", "answer"]

_OF_OPERATION: dict[str, type[Exchange]] = {
    "embeddings": EmbeddingExchange,
    "batches": BatchExchange,
}


async def answer(runtime: Runtime, inbound: Inbound, scope: Scope) -> Answer:
    """Answer one request; what it opened is closed with `scope`. Raises GatewayError."""
    exchange = _exchange_for(inbound)(runtime, inbound)
    scope.on_close(exchange.close)
    return overheard(exchange, await exchange.answer())


def _exchange_for(inbound: Inbound) -> type[Exchange]:
    if inbound.door is openai_batches:
        return FiledBatchExchange
    if inbound.operation in _OF_OPERATION:
        return _OF_OPERATION[inbound.operation]
    if inbound.door in {openai_chat, openai_responses}:
        return ContinuingExchange
    return Exchange if inbound.expects is None else StructuredExchange
