"""Wire protocols by name; each is a module, or a folder, that fulfils a Protocol of `base`."""

from llm_gateway.adapters import anthropic_messages, openai_chat, openai_embeddings
from llm_gateway.adapters.base import Adapter, ChatAdapter, EmbeddingsAdapter

CHAT_ADAPTERS: dict[str, ChatAdapter] = {
    openai_chat.name: openai_chat,
    anthropic_messages.name: anthropic_messages,
}
EMBEDDINGS_ADAPTERS: dict[str, EmbeddingsAdapter] = {openai_embeddings.name: openai_embeddings}
ADAPTERS: dict[str, Adapter] = {**CHAT_ADAPTERS, **EMBEDDINGS_ADAPTERS}

__all__ = ["ADAPTERS", "CHAT_ADAPTERS", "EMBEDDINGS_ADAPTERS"]
