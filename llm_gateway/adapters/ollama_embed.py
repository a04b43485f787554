"""Ollama's POST /api/embed: a provider's side only.

An input that is too long is an error (`truncate: false`), and never a part of it alone. Refused by
name: tokens for texts, a purpose, `user`, and every extra.
"""

from typing import Any

import msgspec
from msgspec import Struct

from llm_gateway.adapters.counting import count
from llm_gateway.adapters.ollama.wire import parse_error
from llm_gateway.adapters.paths import path_for
from llm_gateway.adapters.refusal import refuse_extras, unexpressible
from llm_gateway.adapters.steering_fields import outgoing
from llm_gateway.errors import InvalidAnswerError
from llm_gateway.types import EmbeddingsAnswer, EmbeddingsRequest, Facts, Outgoing, Quirks, Usage

__all__ = ["name", "parse_error", "read_answer", "render_request"]

name = "ollama_embed"
PATH = "/api/embed"


def render_request(request: EmbeddingsRequest, quirks: Quirks) -> Outgoing:
    """Return the request on the wire. Raises UnexpressibleError naming what has no word here."""
    refuse_extras(request)
    for field, given in (("user", request.user), ("input_type", request.purpose)):
        if given is not None:
            raise unexpressible(field)
    if not all(isinstance(one, str) for one in request.inputs):
        raise unexpressible("input", "it takes texts, and no tokens")
    body: dict[str, Any] = {
        "model": request.model,
        "input": list(request.inputs),
        "truncate": False,
    }
    if request.dimensions is not None:
        body["dimensions"] = request.dimensions
    path = path_for("embeddings", PATH, request.model, quirks)
    return outgoing(path, body, quirks.default_headers)


class _Answer(Struct):
    embeddings: list[list[float]] = []
    model: Any = None
    prompt_eval_count: Any = None


_decode = msgspec.json.Decoder(_Answer).decode


def read_answer(body: bytes) -> tuple[EmbeddingsAnswer, Facts]:
    """Return the vectors of an answer. Raises InvalidAnswerError for what holds none."""
    try:
        answer = _decode(body)
        body.decode()
    except ValueError as error:
        raise InvalidAnswerError("The provider's answer is not valid JSON.") from error
    if not answer.embeddings:
        raise InvalidAnswerError("The provider's answer has no embeddings.")
    model = answer.model if isinstance(answer.model, str) else None
    facts = Facts(model=model, complete=True, content=True)
    if answer.prompt_eval_count is not None:
        try:
            facts.usage = Usage(input=count(answer.prompt_eval_count))
        except ValueError:
            facts.usage_invalid = str(answer.prompt_eval_count)
    vectors = tuple(map(tuple, answer.embeddings))
    return EmbeddingsAnswer(vectors=vectors, usage=facts.usage or Usage()), facts
