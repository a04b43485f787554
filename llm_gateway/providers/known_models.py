"""Say what well-known models can do, by the name their provider gives them.

The facts are ours (`data/models.json`, `data/image_tokens.json`); a context window that is missing
there may be in genai-prices. What is not known stays None: unknown is not "no".
"""

import json
import re
from functools import cache
from importlib.resources import files
from typing import Any

from msgspec import Struct

from llm_gateway.providers.catalog import CATALOG, Row
from llm_gateway.providers.known_prices import known_context_window

# A snapshot of a model is called like it, with a date or a word behind.
_DATED = re.compile(r"[-@](\d{4}-\d{2}-\d{2}|\d{8}|\d{6}|\d{4}|latest|preview(-\d{2}-\d{2})?)$")


class ModelFacts(Struct, frozen=True, kw_only=True):
    """What is known of a model; None where it is not."""

    context_window: int | None = None
    max_output_tokens: int | None = None
    capabilities: frozenset[str] | None = None
    image_tokens: int | None = None
    tokens: str | None = None


def model_facts(kind: str, upstream_name: str) -> ModelFacts:
    """Return what is known of the model that a provider of this kind calls `upstream_name`."""
    row = CATALOG[kind]
    if (known := _known(upstream_name)) is not None:
        return _at(row, known)
    if not row.windows_known:
        return ModelFacts()
    window = known_context_window(row.prices, upstream_name) if row.prices else None
    return ModelFacts(context_window=window)


@cache
def token_family(kind: str, upstream_name: str) -> str:
    """Return how a model counts tokens: the name of a family of `tokens.families`."""
    known = _known(upstream_name)
    return (known.tokens if known else None) or CATALOG[kind].tokens


def _known(upstream_name: str) -> ModelFacts | None:
    """Find a name as it is, without its date, without its publisher, with dashes for dots."""
    facts = _facts()
    name = upstream_name.lower().rpartition("/")[2].partition(":")[0]
    undated = _DATED.sub("", name)
    for candidate in (name, undated, name.replace(".", "-"), undated.replace(".", "-")):
        if candidate in facts:
            return facts[candidate]
    return None


def _at(row: Row, known: ModelFacts) -> ModelFacts:
    """Leave out what the provider's adapters do not serve."""
    missing = ({"embeddings"} - row.adapters.keys()) | row.quirks.only_named
    if "chat" not in row.adapters:
        missing |= {"chat", "stream"}
    return ModelFacts(
        context_window=known.context_window if row.windows_known else None,
        max_output_tokens=known.max_output_tokens,
        image_tokens=known.image_tokens,
        capabilities=None if known.capabilities is None else known.capabilities - missing,
    )


@cache
def _facts() -> dict[str, ModelFacts]:
    images = {
        name: group["at_most"] for group in _read("image_tokens.json") for name in group["names"]
    }
    return {
        name: ModelFacts(
            context_window=group.get("context_window"),
            max_output_tokens=group.get("max_output_tokens"),
            capabilities=frozenset(group["capabilities"]),
            image_tokens=images.get(name),
            tokens=group.get("tokens"),
        )
        for group in _read("models.json")
        for name in group["names"]
    }


def _read(name: str) -> list[dict[str, Any]]:
    text = files("llm_gateway.providers").joinpath("data", name).read_text("utf-8")
    found: list[dict[str, Any]] = json.loads(text)
    return found
