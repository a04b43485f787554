"""List the providers by kind: a row says all that the gateway knows of one, nothing asks its name.

Base URLs are as the provider's own SDK takes them: OpenAI style with `/v1`, Anthropic without.
"""

from collections.abc import Mapping
from types import MappingProxyType

from llm_gateway.providers.row import Row, Speech
from llm_gateway.types import Quirks

__all__ = ["CAPABILITIES", "CATALOG", "Row"]

CHAT_ONLY = MappingProxyType({"chat": "openai_chat"})
CHAT_AND_EMBEDDINGS = MappingProxyType({"chat": "openai_chat", "embeddings": "openai_embeddings"})
MODERATED = MappingProxyType({**CHAT_AND_EMBEDDINGS, "moderations": "openai_moderations"})
RERANKING = MappingProxyType({**CHAT_AND_EMBEDDINGS, "rerank": "cohere_rerank"})
RESPONSES = MappingProxyType({"responses": "openai_responses"})
COMPLETIONS = MappingProxyType({"completions": "openai_completions"})
# Not all who copy the protocol have these: there a model's capabilities have to name them.
NAMED = frozenset({*RESPONSES, *COMPLETIONS})
COMPATIBLE = MappingProxyType({**MODERATED, **RERANKING, **RESPONSES, **COMPLETIONS})
FILED = MappingProxyType({"batches": "openai_batches"})
OPENAI = MappingProxyType({**MODERATED, **RESPONSES, **COMPLETIONS, **FILED})
BATCHES = MappingProxyType({"batches": "anthropic_batches"})
MESSAGES = MappingProxyType(
    {"chat": "anthropic_messages", "count_tokens": "anthropic_messages", **BATCHES}
)
COHERE = MappingProxyType(
    {"chat": "cohere", "embeddings": "cohere_embed", "rerank": "cohere_rerank"}
)
GEMINI = MappingProxyType(
    {"chat": "gemini", "embeddings": "gemini_embeddings", "count_tokens": "gemini"}
)
OLLAMA = MappingProxyType({"chat": "ollama", "embeddings": "ollama_embed"})
CONVERSE = MappingProxyType({"chat": "bedrock_converse"})

CAPABILITIES = frozenset(
    {
        *("chat", "stream", "tools", "vision", "json_schema", "embeddings", "reasoning"),
        *("prompt_caching", "completions", "responses", "rerank", "moderations", "batches"),
    }
)


_ROWS = (
    Row(
        kind="openai",
        title="OpenAI",
        adapters=OPENAI,
        base_url="https://api.openai.com/v1",
        key_variable="OPENAI_API_KEY",
        # https://platform.openai.com/docs/api-reference/embeddings: 300,000 tokens a call in all,
        # and no text has more tokens than bytes
        # Batches have prices of their own: a model has to be said to be priced for them.
        quirks=Quirks(embeddings_batch_bytes=300_000, only_named=frozenset(FILED)),
        prices="openai",
        tokens="openai",
    ),
    Row(
        kind="anthropic",
        title="Anthropic",
        adapters=MESSAGES,
        base_url="https://api.anthropic.com",
        auth="x-api-key",
        key_variable="ANTHROPIC_API_KEY",
        # https://docs.claude.com/en/docs/build-with-claude/structured-outputs
        # Batches have prices of their own: a model has to be said to be priced for them.
        quirks=Quirks(
            any_schema=False,
            only_named=frozenset(BATCHES),
            default_headers=(("anthropic-version", "2023-06-01"),),
        ),
        sdk="anthropic",
        prices="anthropic",
        tokens="claude-5",
    ),
    Row(
        kind="gemini",
        title="Google Gemini",
        adapters=GEMINI,
        base_url="https://generativelanguage.googleapis.com",
        auth="x-goog-api-key",
        key_variable="GEMINI_API_KEY",
        # https://ai.google.dev/api/embeddings: "at most 100 requests can be in one batch"
        quirks=Quirks(embeddings_batch=100, extras=frozenset({"safetySettings", "cachedContent"})),
        elsewhere={
            "/openai": Speech(
                adapters=CHAT_AND_EMBEDDINGS,
                quirks=Quirks(
                    max_tokens_field="max_tokens",
                    developer_role=False,
                    unsupported=frozenset({"logit_bias", "logprobs", "top_logprobs"}),
                    embeddings_batch=100,
                ),
            )
        },
        sdk="gemini",
        prices="google",
        tokens="gemini",
    ),
    Row(
        kind="openrouter",
        title="OpenRouter",
        adapters=MappingProxyType({**CHAT_AND_EMBEDDINGS, **RESPONSES, **COMPLETIONS}),
        base_url="https://openrouter.ai/api/v1",
        key_variable="OPENROUTER_API_KEY",
        # https://openrouter.ai/docs: "Parameters", "Reasoning Tokens", "Usage Accounting"
        quirks=Quirks(
            max_tokens_field="max_tokens",
            reasoning_field="reasoning",
            thought_field="reasoning_details",
            usage_unasked=True,
            top_k=True,
            only_named=NAMED,
            extras=frozenset(
                {"min_p", "plugins", "provider", "repetition_penalty", "top_a", "transforms"}
            ),
        ),
        prices="openrouter",
    ),
    Row(
        kind="ollama",
        title="Ollama",
        adapters=OLLAMA,
        base_url="http://127.0.0.1:11434",
        key_optional=True,
        key_variable="OLLAMA_API_KEY",
        quirks=Quirks(),
        elsewhere={"/v1": Speech(adapters=CHAT_AND_EMBEDDINGS)},
        windows_known=False,
        sdk_path="/v1",
    ),
    Row(
        kind="cohere",
        title="Cohere",
        adapters=COHERE,
        base_url="https://api.cohere.com",
        key_variable="COHERE_API_KEY",
        quirks=Quirks(embeddings_batch=96, paths=(("rerank", "/v2/rerank"),)),
        elsewhere={
            "/compatibility/v1": Speech(
                adapters=CHAT_AND_EMBEDDINGS,
                quirks=Quirks(
                    max_tokens_field="max_tokens",
                    developer_role=False,
                    # https://docs.cohere.com/docs/compatibility-api, "Unsupported parameters"
                    unsupported=frozenset(
                        {
                            *("logit_bias", "top_logprobs", "n", "service_tier", "store"),
                            "parallel_tool_calls",
                        }
                    ),
                    embeddings_batch=96,
                ),
            )
        },
        sdk="cohere",
        prices="cohere",
    ),
    Row(
        kind="huggingface",
        title="Hugging Face",
        adapters=MappingProxyType({**CHAT_ONLY, **RESPONSES}),
        base_url="https://router.huggingface.co/v1",
        key_variable="HF_TOKEN",
        # It hands on to others, most of which tell their usage unasked.
        quirks=Quirks(
            max_tokens_field="max_tokens",
            developer_role=False,
            usage_unasked=True,
            only_named=NAMED,
        ),
    ),
    Row(
        kind="azure_openai",
        title="Azure OpenAI",
        adapters=CHAT_AND_EMBEDDINGS,
        needs_base_url=True,  # https://{resource}.openai.azure.com
        auth="api-key",
        key_variable="AZURE_OPENAI_API_KEY",
        # A model's name there is that of its deployment.
        quirks=Quirks(
            paths=(
                ("chat", "/openai/deployments/{model}/chat/completions?api-version={api_version}"),
                ("embeddings", "/openai/deployments/{model}/embeddings?api-version={api_version}"),
            )
        ),
        options={"api_version": "2024-10-21"},
        elsewhere={
            "/v1": Speech(
                adapters=MappingProxyType({**CHAT_AND_EMBEDDINGS, **RESPONSES, **COMPLETIONS}),
                quirks=Quirks(),
            )
        },
        sdk_path="/openai/v1",
        prices="azure",
        tokens="openai",
    ),
    Row(
        kind="bedrock",
        title="Amazon Bedrock",
        adapters=CONVERSE,
        needs_base_url=True,
        regional_url="https://bedrock-runtime.{region}.amazonaws.com",
        auth="aws-sigv4",
        key_variable="AWS_BEARER_TOKEN_BEDROCK",
        quirks=Quirks(),
        options={"region": ""},
        elsewhere={"/openai/v1": Speech(adapters=CHAT_ONLY, quirks=Quirks(developer_role=False))},
        sdk=None,
        prices="aws",
    ),
    Row(
        kind="mistral",
        title="Mistral",
        adapters=MODERATED,
        base_url="https://api.mistral.ai/v1",
        key_variable="MISTRAL_API_KEY",
        # https://docs.mistral.ai/api: what is not there is refused with a 422
        quirks=Quirks(
            max_tokens_field="max_tokens",
            seed_field="random_seed",
            thought_field="content",
            include_usage=False,
            usage_unasked=True,  # the last event has it
            developer_role=False,
            short_call_ids=True,
            unsupported=frozenset(
                {"user", "logit_bias", "logprobs", "top_logprobs", "service_tier", "store"}
            ),
            extras=frozenset({"prompt_mode", "safe_prompt"}),
        ),
        prices="mistral",
    ),
    Row(
        kind="groq",
        title="Groq",
        adapters=MappingProxyType({**CHAT_ONLY, **RESPONSES}),
        base_url="https://api.groq.com/openai/v1",
        key_variable="GROQ_API_KEY",
        quirks=Quirks(
            only_named=NAMED,
            developer_role=False,
            thought_field="reasoning",
            # https://console.groq.com/docs/openai, "Currently unsupported OpenAI features"
            unsupported=frozenset({"logit_bias", "logprobs", "n", "top_logprobs"}),
            extras=frozenset({"include_reasoning", "reasoning_format", "search_settings"}),
        ),
        prices="groq",
    ),
    Row(
        kind="deepseek",
        title="DeepSeek",
        adapters=CHAT_ONLY,
        base_url="https://api.deepseek.com/v1",
        key_variable="DEEPSEEK_API_KEY",
        # https://api-docs.deepseek.com: "Thinking Mode", "Create Chat Completion"
        quirks=Quirks(
            max_tokens_field="max_tokens",
            reasoning_field="thinking, reasoning_effort",
            usage_unasked=True,
            developer_role=False,
            json_schema=False,
            unsupported=frozenset({"n", "logit_bias", "seed"}),
        ),
        prices="deepseek",
    ),
    Row(
        kind="xai",
        title="xAI",
        adapters=MappingProxyType({**CHAT_AND_EMBEDDINGS, **RESPONSES}),
        base_url="https://api.x.ai/v1",
        key_variable="XAI_API_KEY",
        # https://docs.x.ai/docs/api-reference
        quirks=Quirks(
            developer_role=False,
            usage_unasked=True,
            unsupported=frozenset({"logit_bias"}),
            extras=frozenset({"search_parameters"}),
        ),
        prices="x-ai",
    ),
    Row(
        kind="together",
        title="Together",
        adapters=MappingProxyType({**RERANKING, **COMPLETIONS}),
        base_url="https://api.together.xyz/v1",
        key_variable="TOGETHER_API_KEY",
        # https://docs.together.ai/reference/chat-completions-1
        quirks=Quirks(
            max_tokens_field="max_tokens",
            developer_role=False,
            thought_field="reasoning",
            usage_unasked=True,
            top_k=True,
            extras=frozenset({"min_p", "repetition_penalty", "safety_model"}),
        ),
        prices="together",
    ),
    Row(
        kind="perplexity",
        title="Perplexity",
        adapters=CHAT_ONLY,
        base_url="https://api.perplexity.ai",
        key_variable="PERPLEXITY_API_KEY",
        # https://docs.perplexity.ai/api-reference/chat-completions-post
        quirks=Quirks(
            max_tokens_field="max_tokens",
            include_usage=False,
            usage_unasked=True,
            done_marker=False,
            request_fee=True,
            developer_role=False,
            top_k=True,
            unsupported=frozenset(
                {
                    *("logit_bias", "logprobs", "n", "parallel_tool_calls", "seed"),
                    *("service_tier", "stop", "tool_choice", "tools", "top_logprobs", "user"),
                }
            ),
            extras=frozenset(
                {
                    *("disable_search", "image_domain_filter", "image_format_filter"),
                    *("last_updated_after_filter", "last_updated_before_filter", "return_images"),
                    *("return_related_questions", "search_after_date_filter", "search_mode"),
                    *("search_before_date_filter", "search_domain_filter", "web_search_options"),
                    "search_recency_filter",
                }
            ),
        ),
        prices="perplexity",
    ),
    Row(
        kind="cerebras",
        title="Cerebras",
        adapters=CHAT_ONLY,
        base_url="https://api.cerebras.ai/v1",
        key_variable="CEREBRAS_API_KEY",
        # https://inference-docs.cerebras.ai/resources/openai, "Currently Unsupported"
        quirks=Quirks(
            developer_role=False,
            thought_field="reasoning",
            usage_unasked=True,
            unsupported=frozenset(
                {"frequency_penalty", "logit_bias", "n", "presence_penalty", "service_tier"}
            ),
        ),
        prices="cerebras",
    ),
    Row(
        kind="zai",
        title="Z.ai",
        adapters=CHAT_ONLY,
        base_url="https://api.z.ai/api/paas/v4",
        key_variable="ZAI_API_KEY",
        # https://docs.z.ai/api-reference/llm/chat-completion
        quirks=Quirks(
            max_tokens_field="max_tokens",
            reasoning_field="thinking",
            usage_unasked=True,
            developer_role=False,
            json_schema=False,
            unsupported=frozenset({"logit_bias", "logprobs", "n", "seed", "top_logprobs"}),
        ),
        prices="zai",
    ),
    Row(
        kind="vllm",
        title="vLLM",
        adapters=MappingProxyType({**RERANKING, **RESPONSES, **COMPLETIONS}),
        needs_base_url=True,
        key_optional=True,
        # https://docs.vllm.ai/en/stable/serving/openai_compatible_server.html, "Extra parameters"
        quirks=Quirks(
            max_tokens_field="max_tokens",
            developer_role=False,
            top_k=True,
            only_named=frozenset(RESPONSES),
            extras=frozenset(
                {
                    *("chat_template_kwargs", "ignore_eos", "min_p", "min_tokens", "priority"),
                    *("repetition_penalty", "skip_special_tokens", "stop_token_ids"),
                    "structured_outputs",
                }
            ),
        ),
    ),
    Row(
        kind="openai_compatible",
        title="Anything that speaks OpenAI's protocol",
        adapters=COMPATIBLE,
        needs_base_url=True,
        key_optional=True,
        quirks=Quirks(max_tokens_field="max_tokens", developer_role=False, only_named=NAMED),
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
