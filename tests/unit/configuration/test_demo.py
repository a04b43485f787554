"""The demo configuration follows the environment, and says what it cannot understand."""

import pytest

from llm_gateway.configuration import references, schema
from llm_gateway.configuration.demo import demo
from llm_gateway.configuration.document import ConfigurationError

OPENAI = {"OPENAI_API_KEY": "sk-fake-000000000001"}
ANTHROPIC = {"ANTHROPIC_API_KEY": "sk-ant-fake-00000001"}


def smart(file: schema.File) -> list[str]:
    return [target.model for target in file.routes[0].targets]


def kinds(file: schema.File) -> list[str]:
    return [provider.kind for provider in file.providers]


def test_without_any_key_there_is_the_mock() -> None:
    file = demo({})
    assert kinds(file) == ["mock"]
    assert [model.name for model in file.models] == ["mock-gpt", "mock-claude", "mock-embedding"]
    assert smart(file) == ["mock-gpt"]
    assert [budget.limit for budget in file.tenants[0].budgets] == [10 * 10**9, 100 * 10**9]


def test_every_provider_whose_key_is_found_is_there() -> None:
    names = ["OPENROUTER_API_KEY", "GEMINI_API_KEY", "COHERE_API_KEY", "HF_TOKEN"]
    variables = dict.fromkeys(names, "fake") | OPENAI | ANTHROPIC
    file = demo(variables | {"OLLAMA_HOST": "127.0.0.1:11434"})
    assert kinds(file) == [
        *("openai", "anthropic", "gemini", "openrouter", "cohere", "huggingface", "ollama"),
        "mock",
    ]
    assert references.check(file, references.Known()) == []
    assert smart(file)[-1] == "mock-gpt"
    assert file.providers[0].keys[0].value == "env:OPENAI_API_KEY"
    assert "sk-fake" not in repr(file)


def test_a_key_may_be_in_a_file() -> None:
    file = demo({"OPENAI_API_KEY_FILE": "/run/secrets/openai"})
    assert file.providers[0].keys[0].value == "file:/run/secrets/openai"


@pytest.mark.parametrize(
    ("host", "base_url"),
    [
        ("127.0.0.1:11434", None),  # the catalogue's own
        ("http://10.0.0.5:11434", "http://10.0.0.5:11434"),
        ("https://ollama.test/v1/", "https://ollama.test/v1"),
    ],
)
def test_ollama_is_found_by_its_host(host: str, base_url: str | None) -> None:
    provider = demo({"OLLAMA_HOST": host}).providers[0]
    assert provider.base_url == base_url


def test_one_switch_forces_everything_to_the_mock() -> None:
    assert kinds(demo(OPENAI | {"LLM_FORCE_MOCK": "true"})) == ["mock"]


def test_the_older_names_order_the_route() -> None:
    variables = OPENAI | ANTHROPIC
    assert smart(demo(variables | {"LLM_PROVIDER": "anthropic"}))[0] == "claude-haiku-4-5"
    ordered = demo(variables | {"PRIMARY_LLM": "gpt-4o", "FALLBACK_LLM": "anthropic"})
    assert smart(ordered)[:2] == ["gpt-4o", "claude-haiku-4-5"]
    assert smart(demo({"PRIMARY_LLM": "openai"})) == ["mock-gpt"]  # no key, so not to be had


def test_the_older_names_set_limits() -> None:
    variables = OPENAI | {
        "LLM_DAILY_BUDGET": "5.5",
        "LLM_MONTHLY_BUDGET": "50",
        "LLM_CIRCUIT_FAILURE_THRESHOLD": "7",
        "LLM_CIRCUIT_TIMEOUT": "60",
        "LLM_MAX_RETRIES": "4",
        "LLM_RETRY_BACKOFF_BASE": "1.5",
        "LLM_CACHE_ENABLED": "true",
        "LLM_CACHE_TTL": "60",
        "LLM_ROUTER_STRATEGY": "round-robin",
        "REQUEST_TIMEOUT": "30",
        "OPENAI_API_BASE": "http://127.0.0.1:9999/v1",
        "OPENAI_MODEL": "gpt-4.1",
        "OPENAI_MAX_TOKENS": "1000",
        "OPENAI_TEMPERATURE": "0.7",
    }
    file = demo(variables)
    (tenant,), (openai, _mock) = file.tenants, file.providers
    assert [budget.limit for budget in tenant.budgets] == [5_500_000_000, 50 * 10**9]
    assert tenant.cache == schema.Cache(enabled=True, ttl=60)
    assert openai.circuit_breaker == schema.CircuitBreaker(failure_threshold=7, recovery_timeout=60)
    assert openai.retry == schema.Retry(max_attempts=5, base=1.5)
    assert (openai.timeouts.total, openai.allow_private_network) == (30, True)
    assert (file.models[0].name, file.models[0].max_output_tokens) == ("gpt-4.1", 1000)
    assert file.routes[0].strategy == "round_robin"


def test_enabled_models_choose_and_add() -> None:
    file = demo(OPENAI | {"ENABLED_MODELS": "gpt-4o, gpt-4.1,claude-3-5-sonnet"})
    assert [model.name for model in file.models if model.provider == "openai"] == [
        "gpt-4o",
        "gpt-4.1",
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LLM_PROVIDER", "nobody"),
        ("LLM_FORCE_MOCK", "maybe"),
        ("LLM_DAILY_BUDGET", "lots"),
        ("LLM_MONTHLY_BUDGET", "1e3"),
        ("LLM_CIRCUIT_FAILURE_THRESHOLD", "0"),
        ("LLM_CIRCUIT_TIMEOUT", "soon"),
        ("LLM_MAX_RETRIES", "-1"),
        ("LLM_RETRY_BACKOFF_BASE", "0"),
        ("LLM_CACHE_ENABLED", "2"),
        ("LLM_CACHE_TTL", "1.5"),
        ("LLM_ROUTER_STRATEGY", "smartest"),
        ("PRIMARY_LLM", "no-such-model"),
        ("FALLBACK_LLM", "no-such-model"),
        ("ENABLED_MODELS", "gpt-4o,no-such-model"),
        ("REQUEST_TIMEOUT", "nan"),
        ("OPENAI_API_BASE", "localhost"),
        ("OPENAI_MODEL", "gpt 4"),
        ("OPENAI_MAX_TOKENS", "many"),
        ("OPENAI_TEMPERATURE", "9"),
        ("OLLAMA_HOST", "user@host"),
    ],
)
def test_a_value_that_cannot_be_understood_is_named(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        demo(OPENAI | {name: value})
    (problem,) = raised.value.problems
    assert problem.path == name
