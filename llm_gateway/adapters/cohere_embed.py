"""Cohere's POST /v2/embed: a provider's side only.

| the caller's side says | written |
| --- | --- |
| nothing of what the vectors are for | `search_document`: the protocol asks for a purpose |
| an input that is too long | `truncate: NONE`: an error, and never a part of it alone |

Refused by name: tokens for texts, `user`, similarity as a purpose, and every extra.
"""

from typing import Any

import msgspec
from msgspec import Struct

from llm_gateway.adapters.cohere import wire
from llm_gateway.adapters.counting import RAW_KEPT, count
from llm_gateway.adapters.paths import path_for
from llm_gateway.adapters.refusal import refuse_extras, unexpressible
from llm_gateway.adapters.steering_fields import outgoing
from llm_gateway.errors import InvalidAnswerError
from llm_gateway.types import EmbeddingsAnswer, EmbeddingsRequest, Facts, Outgoing, Quirks, Usage

__all__ = ["name", "parse_error", "read_answer", "render_request"]

name = "cohere_embed"
parse_error = wire.parse_error
PATH = "/v2/embed"
_PURPOSES = {
    None: "search_document",
    "document": "search_document",
    "query": "search_query",
    "classification": "classification",
    "clustering": "clustering",
}


def render_request(request: EmbeddingsRequest, quirks: Quirks) -> Outgoing:
    """Return the request on the wire. Raises UnexpressibleError naming what has no word here."""
    refuse_extras(request)
    if request.user is not None:
        raise unexpressible("user")
    if request.purpose not in _PURPOSES:
        raise unexpressible("input_type")
    if not all(isinstance(one, str) for one in request.inputs):
        raise unexpressible("input", "it takes texts, and no tokens")
    body: dict[str, Any] = {
        "model": request.model,
        "texts": list(request.inputs),
        "input_type": _PURPOSES[request.purpose],
        "embedding_types": ["float"],
        "truncate": "NONE",
    }
    if request.dimensions is not None:
        body["output_dimension"] = request.dimensions
    path = path_for("embeddings", PATH, request.model, quirks)
    return outgoing(path, body, quirks.default_headers)


class _ByType(Struct, rename={"floats": "float"}):
    floats: list[list[float]] = []


class _Answer(Struct):
    id: Any = None
    embeddings: _ByType | None = None
    meta: Any = None


_decode = msgspec.json.Decoder(_Answer).decode


def read_answer(body: bytes) -> tuple[EmbeddingsAnswer, Facts]:
    """Return the vectors of an answer. Raises InvalidAnswerError for what holds none."""
    try:
        answer = _decode(body)
        body.decode()
    except ValueError as error:
        raise InvalidAnswerError("The provider's answer is not valid JSON.") from error
    if answer.embeddings is None or not answer.embeddings.floats:
        raise InvalidAnswerError("The provider's answer has no embeddings.")
    facts = Facts(complete=True, content=True)
    meta = answer.meta if isinstance(answer.meta, dict) else {}
    billed = meta.get("billed_units")
    if isinstance(billed, dict):
        _observe(billed, facts)
    vectors = tuple(map(tuple, answer.embeddings.floats))
    return EmbeddingsAnswer(vectors=vectors, usage=facts.usage or Usage()), facts


def _observe(billed: dict[str, Any], facts: Facts) -> None:
    try:
        told = wire.whole(billed)
        tokens = [count(told.get(name)) for name in ("input_tokens", "image_tokens")]
    except ValueError:
        facts.usage_invalid = str(billed)[:RAW_KEPT]
    else:
        facts.usage = Usage(input=sum(tokens), image_input=tokens[1])
