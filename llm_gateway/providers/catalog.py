"""List the providers by kind: a row says all that the gateway knows of one, nothing asks its name.

Base URLs are as the provider's own SDK takes them: OpenAI style with `/v1`, Anthropic without.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from msgspec import Struct

from llm_gateway.types import Quirks

CHAT_ONLY = MappingProxyType({"chat": "openai_chat"})
CHAT_AND_EMBEDDINGS = MappingProxyType({"chat": "openai_chat", "embeddings": "openai_embeddings"})
MESSAGES = MappingProxyType({"chat": "anthropic_messages", "count_tokens": "anthropic_messages"})

# Servers that copy the protocol mostly know the older names and not the newer role.
PLAIN = Quirks(max_tokens_field="max_tokens", developer_role=False)

CAPABILITIES = frozenset(
    {
        *("chat", "stream", "tools", "vision", "json_schema", "embeddings", "reasoning"),
        *("prompt_caching", "completions", "responses"),
    }
)


class Row(Struct, frozen=True, kw_only=True):
    """One kind of provider.

    `adapters` maps an operation to an adapter's name; one that is missing is not served.
    `base_url` empty: the configuration has to give it. `prices`: its id in genai-prices.
    `sdk`: the official client that lists its models and tries its keys.
    `key_variable`: where its own SDK looks for a key. `key_optional`: servers that may need none.
    """

    kind: str
    title: str
    adapters: Mapping[str, str] = CHAT_AND_EMBEDDINGS
    base_url: str = ""
    needs_base_url: bool = False
    auth: Literal["bearer", "x-api-key", "api-key", "x-goog-api-key", "none"] = "bearer"
    key_optional: bool = False
    key_variable: str = ""
    quirks: Quirks = PLAIN
    sdk: Literal["openai", "anthropic"] | None = "openai"
    prices: str | None = None


_ROWS = (
    Row(
        kind="openai",
        title="OpenAI",
        base_url="https://api.openai.com/v1",
        key_variable="OPENAI_API_KEY",
        quirks=Quirks(),
        prices="openai",
    ),
    Row(
        kind="anthropic",
        title="Anthropic",
        adapters=MESSAGES,
        base_url="https://api.anthropic.com",
        auth="x-api-key",
        key_variable="ANTHROPIC_API_KEY",
        quirks=Quirks(default_headers=(("anthropic-version", "2023-06-01"),)),
        sdk="anthropic",
        prices="anthropic",
    ),
    Row(
        kind="gemini",
        title="Google Gemini",
        base_url="https://generativelanguage.googleapis.com/v1beta/openai",
        key_variable="GEMINI_API_KEY",
        quirks=Quirks(
            max_tokens_field="max_tokens",
            developer_role=False,
            unsupported=frozenset({"logit_bias", "logprobs", "top_logprobs"}),
            embeddings_batch=100,
        ),
        prices="google",
    ),
    Row(
        kind="openrouter",
        title="OpenRouter",
        base_url="https://openrouter.ai/api/v1",
        key_variable="OPENROUTER_API_KEY",
        prices="openrouter",
    ),
    Row(
        kind="ollama",
        title="Ollama",
        base_url="http://127.0.0.1:11434/v1",
        key_optional=True,
        key_variable="OLLAMA_API_KEY",
    ),
    Row(
        kind="cohere",
        title="Cohere",
        base_url="https://api.cohere.ai/compatibility/v1",
        key_variable="COHERE_API_KEY",
        quirks=Quirks(
            max_tokens_field="max_tokens",
            developer_role=False,
            # https://docs.cohere.com/docs/compatibility-api, "Unsupported parameters"
            unsupported=frozenset(
                {"logit_bias", "top_logprobs", "n", "service_tier", "parallel_tool_calls", "store"}
            ),
            embeddings_batch=96,
        ),
        prices="cohere",
    ),
    Row(
        kind="huggingface",
        title="Hugging Face",
        adapters=CHAT_ONLY,
        base_url="https://router.huggingface.co/v1",
        key_variable="HF_TOKEN",
    ),
    Row(
        kind="azure_openai",
        title="Azure OpenAI",
        needs_base_url=True,  # https://{resource}.openai.azure.com/openai/v1
        auth="api-key",
        key_variable="AZURE_OPENAI_API_KEY",
        quirks=Quirks(),
        prices="azure",
    ),
    Row(
        kind="bedrock",
        title="Amazon Bedrock",
        adapters=CHAT_ONLY,
        needs_base_url=True,  # https://bedrock-runtime.{region}.amazonaws.com/openai/v1
        key_variable="AWS_BEARER_TOKEN_BEDROCK",
        quirks=Quirks(developer_role=False),
        prices="aws",
    ),
    Row(
        kind="mistral",
        title="Mistral",
        base_url="https://api.mistral.ai/v1",
        key_variable="MISTRAL_API_KEY",
        quirks=Quirks(
            max_tokens_field="max_tokens",
            include_usage=False,  # the last event has it anyway; an unknown field is a 422
            developer_role=False,
            unsupported=frozenset(
                {"seed", "user", "logit_bias", "logprobs", "top_logprobs", "service_tier", "store"}
            ),
        ),
        prices="mistral",
    ),
    Row(
        kind="groq",
        title="Groq",
        adapters=CHAT_ONLY,
        base_url="https://api.groq.com/openai/v1",
        key_variable="GROQ_API_KEY",
        quirks=Quirks(
            developer_role=False,
            # https://console.groq.com/docs/openai, "Currently unsupported OpenAI features"
            unsupported=frozenset({"logit_bias", "logprobs", "top_logprobs"}),
        ),
        prices="groq",
    ),
    Row(
        kind="deepseek",
        title="DeepSeek",
        adapters=CHAT_ONLY,
        base_url="https://api.deepseek.com/v1",
        key_variable="DEEPSEEK_API_KEY",
        quirks=Quirks(max_tokens_field="max_tokens", developer_role=False, json_schema=False),
        prices="deepseek",
    ),
    Row(
        kind="xai",
        title="xAI",
        base_url="https://api.x.ai/v1",
        key_variable="XAI_API_KEY",
        quirks=Quirks(developer_role=False),
        prices="x-ai",
    ),
    Row(
        kind="together",
        title="Together",
        base_url="https://api.together.xyz/v1",
        key_variable="TOGETHER_API_KEY",
        prices="together",
    ),
    Row(
        kind="perplexity",
        title="Perplexity",
        adapters=CHAT_ONLY,
        base_url="https://api.perplexity.ai",
        key_variable="PERPLEXITY_API_KEY",
        prices="perplexity",
    ),
    Row(
        kind="cerebras",
        title="Cerebras",
        adapters=CHAT_ONLY,
        base_url="https://api.cerebras.ai/v1",
        key_variable="CEREBRAS_API_KEY",
        quirks=Quirks(developer_role=False),
        prices="cerebras",
    ),
    Row(
        kind="zai",
        title="Z.ai",
        adapters=CHAT_ONLY,
        base_url="https://api.z.ai/api/paas/v4",
        key_variable="ZAI_API_KEY",
        quirks=Quirks(max_tokens_field="max_tokens", developer_role=False, json_schema=False),
        prices="zai",
    ),
    Row(kind="vllm", title="vLLM", needs_base_url=True, key_optional=True),
    Row(
        kind="openai_compatible",
        title="Anything that speaks OpenAI's protocol",
        needs_base_url=True,
        key_optional=True,
    ),
    Row(
        kind="mock",
        title="Mock",
        base_url="mock:",  # played in the process, in OpenAI's protocol
        adapters=CHAT_AND_EMBEDDINGS,
        auth="none",
        key_optional=True,
        quirks=Quirks(),
        sdk=None,
    ),
)

CATALOG: Mapping[str, Row] = MappingProxyType({row.kind: row for row in _ROWS})
