"""What a provider's list says of its models is read in our words; the rest is unknown."""

from typing import Any

import pytest
from anthropic.types import ModelInfo
from openai.types import Model

from llm_gateway.providers.catalog import CAPABILITIES
from llm_gateway.providers.cohere_models import _Model as CohereModel
from llm_gateway.providers.listed_capabilities import _FLAGS, _WORDS, said_of

LISTED: list[tuple[str, dict[str, Any], set[str]]] = [
    ("openai", {"owned_by": "system"}, set()),
    (
        "openrouter",
        {
            "supported_parameters": ["max_tokens", "tools", "reasoning", "structured_outputs"],
            "architecture": {"input_modalities": ["text", "image"], "tokenizer": "Claude"},
        },
        {"tools", "reasoning", "json_schema", "vision"},
    ),
    (
        "mistral",
        {"capabilities": {"completion_chat": True, "function_calling": True, "vision": False}},
        {"chat", "tools"},
    ),
    ("odd", {"capabilities": ["chat"], "supported_parameters": "tools", "thinking": "yes"}, set()),
]


@pytest.mark.parametrize(("extra", "said"), [one[1:] for one in LISTED], ids=[x[0] for x in LISTED])
def test_servers_of_the_openai_kind_say_it_in_fields_of_their_own(
    extra: dict[str, Any], said: set[str]
) -> None:
    # As their client builds it: unvalidated, with whatever else the server says.
    assert said_of(Model.construct(**{"id": "m", "object": "model", **extra})) == said


def test_anthropic_says_it_in_flags() -> None:
    flags = {"thinking": {"supported": True}, "structured_outputs": {"supported": True}}
    model = ModelInfo.construct(id="m", capabilities=flags)
    assert said_of(model) == {"reasoning", "json_schema"}
    assert said_of(ModelInfo.construct(id="m", capabilities=None)) == set()


def test_cohere_says_it_in_endpoints() -> None:
    assert said_of(CohereModel(name="m", endpoints=["embed", "classify"])) == {"embeddings"}


def test_every_word_is_a_capability_of_ours() -> None:
    assert {can for *_, can in (*_FLAGS, *_WORDS)} <= CAPABILITIES
