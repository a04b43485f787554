"""The catalogue covers every kind of the contract, and what it says holds together."""

from datetime import date

import pytest

from llm_gateway.providers.addresses import check_base_url
from llm_gateway.providers.auth import AUTH_STYLES
from llm_gateway.providers.catalog import CAPABILITIES, CATALOG
from llm_gateway.providers.endpoint import MOCK_URL
from llm_gateway.providers.known_models import _facts, model_facts
from llm_gateway.providers.known_prices import known_context_window, known_prices, source
from llm_gateway.types import Price

KINDS = (
    "openai anthropic gemini openrouter ollama cohere huggingface azure_openai bedrock mistral groq"
    " deepseek xai together perplexity cerebras zai vllm openai_compatible mock"
)


def test_every_kind_of_the_contract_has_its_row() -> None:
    assert list(CATALOG) == KINDS.split()


@pytest.mark.parametrize("kind", KINDS.split())
def test_a_row_can_be_called(kind: str) -> None:
    row = CATALOG[kind]
    assert row.auth in AUTH_STYLES
    assert "chat" in row.adapters
    assert row.needs_base_url == (not row.base_url)
    if row.base_url not in {"", MOCK_URL}:
        check_base_url(row.base_url, allow_private=kind == "ollama")


@pytest.mark.parametrize("kind", [kind for kind in KINDS.split() if CATALOG[kind].prices])
def test_a_rows_prices_are_in_the_price_catalogue(kind: str) -> None:
    from genai_prices.data_snapshot import get_snapshot  # noqa: PLC0415 - slow to load

    assert CATALOG[kind].prices in {provider.id for provider in get_snapshot().providers}


def test_every_fact_about_a_model_is_in_the_contracts_words() -> None:
    facts = _facts()
    assert len(facts) > 60
    for known in facts.values():
        assert known.capabilities
        assert known.capabilities <= CAPABILITIES


@pytest.mark.parametrize(
    ("kind", "name", "window"),
    [
        ("openai", "gpt-4o-2024-08-06", 128_000),
        ("openai", "gpt-4o", 128_000),
        ("anthropic", "claude-sonnet-4-20250514", 200_000),
        ("anthropic", "claude-3-5-haiku-latest", 200_000),
        ("gemini", "models/gemini-embedding-001", 2048),
        ("openrouter", "anthropic/claude-haiku-4.5", 200_000),
        ("openrouter", "openai/gpt-4o:free", 128_000),
        ("groq", "qwen/qwen3-32b", 131_072),  # known to the price catalogue alone
    ],
)
def test_a_model_is_found_under_every_name_it_has(kind: str, name: str, window: int) -> None:
    assert model_facts(kind, name).context_window == window


def test_an_unknown_model_has_no_facts() -> None:
    facts = model_facts("openai", "no-such-model")
    assert (facts.context_window, facts.max_output_tokens, facts.capabilities) == (None, None, None)


def test_a_provider_without_embeddings_does_not_offer_them() -> None:
    assert model_facts("groq", "text-embedding-3-small").capabilities == frozenset()


def test_prices_are_nano_dollars_a_million_with_their_source() -> None:
    assert known_prices("openai", "gpt-4o-2024-08-06") == (
        Price(
            id=0,
            input=2_500_000_000,
            output=10_000_000_000,
            cache_read=1_250_000_000,
            tool_call=10_000_000,
            valid_from=date(1970, 1, 1),
            source=source(),
        ),
    )


def test_tiers_hold_every_line_above_their_bound() -> None:
    (price,) = known_prices("anthropic", "claude-sonnet-4-5")
    (tier,) = price.tiers
    assert (tier.above_input_tokens, tier.input, tier.output) == (
        200_000,
        6 * 10**9,
        22_500_000_000,
    )
    assert (price.cache_write, price.cache_write_1h) == (3_750_000_000, 6 * 10**9)


def test_a_price_that_changed_has_a_version_for_each_span() -> None:
    found = known_prices("openai", "o3")
    assert [price.valid_from for price in found] == [date(1970, 1, 1), date(2025, 6, 10)]
    assert found[0].input == 10 * 10**9


def test_an_unknown_model_has_no_price_instead_of_a_free_one() -> None:
    assert known_prices("openai", "no-such-model") == ()
    assert known_context_window("openai", "no-such-model") is None
