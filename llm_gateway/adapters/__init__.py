"""Wire protocols by name; each is a module, or a folder, that fulfils a Protocol of `base`."""

from llm_gateway.adapters import (
    anthropic_batches,
    anthropic_messages,
    bedrock_converse,
    cohere,
    cohere_embed,
    cohere_rerank,
    gemini,
    gemini_embeddings,
    ollama,
    ollama_embed,
    openai_batches,
    openai_chat,
    openai_completions,
    openai_embeddings,
    openai_moderations,
    openai_responses,
)
from llm_gateway.adapters.base import (
    Adapter,
    ChatAdapter,
    ChatUpstream,
    EmbeddingsAdapter,
    EmbeddingsUpstream,
    Upstream,
)

# Dialects of callers, which their own providers speak too.
CHAT_ADAPTERS: dict[str, ChatAdapter] = {
    openai_chat.name: openai_chat,
    anthropic_messages.name: anthropic_messages,
    gemini.name: gemini,
    openai_responses.name: openai_responses,
}
EMBEDDINGS_ADAPTERS: dict[str, EmbeddingsAdapter] = {
    openai_embeddings.name: openai_embeddings,
    gemini_embeddings.name: gemini_embeddings,
}
ADAPTERS: dict[str, Adapter] = {
    **CHAT_ADAPTERS,
    **EMBEDDINGS_ADAPTERS,
    anthropic_batches.name: anthropic_batches,
    cohere_rerank.name: cohere_rerank,
    openai_batches.name: openai_batches,
    openai_completions.name: openai_completions,
    openai_moderations.name: openai_moderations,
}

# What providers speak.
CHAT_UPSTREAMS: dict[str, ChatUpstream] = {
    **CHAT_ADAPTERS,
    bedrock_converse.name: bedrock_converse,
    cohere.name: cohere,
    ollama.name: ollama,
}
EMBEDDINGS_UPSTREAMS: dict[str, EmbeddingsUpstream] = {
    **EMBEDDINGS_ADAPTERS,
    cohere_embed.name: cohere_embed,
    ollama_embed.name: ollama_embed,
}
UPSTREAMS: dict[str, Upstream] = {**ADAPTERS, **CHAT_UPSTREAMS, **EMBEDDINGS_UPSTREAMS}

__all__ = [
    "ADAPTERS",
    "CHAT_ADAPTERS",
    "CHAT_UPSTREAMS",
    "EMBEDDINGS_ADAPTERS",
    "EMBEDDINGS_UPSTREAMS",
    "UPSTREAMS",
]
