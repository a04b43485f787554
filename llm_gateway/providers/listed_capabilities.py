"""Read what a line of a provider's model list says that the model can do.

Providers say it in words of their own, or not at all: what is not said is unknown and no "no".
"""

from collections.abc import Mapping

# A flag, by where it stands → what it says.
_FLAGS = (
    # https://docs.claude.com/en/api/models-list
    ("capabilities.image_input.supported", "vision"),
    ("capabilities.structured_outputs.supported", "json_schema"),
    ("capabilities.thinking.supported", "reasoning"),
    ("capabilities.batch.supported", "batches"),
    # https://docs.mistral.ai/api/#tag/models
    ("capabilities.completion_chat", "chat"),
    ("capabilities.function_calling", "tools"),
    ("capabilities.vision", "vision"),
    # https://ai.google.dev/api/models
    ("thinking", "reasoning"),
)
# A list, a word in it → what that says.
_WORDS = (
    # https://openrouter.ai/docs/api-reference/list-available-models
    ("supported_parameters", "tools", "tools"),
    ("supported_parameters", "structured_outputs", "json_schema"),
    ("supported_parameters", "reasoning", "reasoning"),
    ("architecture.input_modalities", "image", "vision"),
    ("supported_generation_methods", "generateContent", "chat"),
    ("supported_generation_methods", "embedContent", "embeddings"),
    # https://docs.cohere.com/reference/list-models
    ("endpoints", "chat", "chat"),
    ("endpoints", "embed", "embeddings"),
    ("endpoints", "rerank", "rerank"),
)


def said_of(model: object) -> frozenset[str]:
    """Return the capabilities that a line says, in our words; `model` is an SDK's object."""
    flags = {can for place, can in _FLAGS if _at(model, place) is True}
    return frozenset(flags | {can for place, word, can in _WORDS if _has(_at(model, place), word)})


def _at(model: object, place: str) -> object:
    found = model
    for name in place.split("."):
        found = found.get(name) if isinstance(found, Mapping) else getattr(found, name, None)
    return found


def _has(listed: object, word: str) -> bool:
    return isinstance(listed, list) and word in listed
