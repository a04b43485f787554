"""The protocol of POST /v1/rerank, as Cohere, Jina, vLLM and others speak it, both directions.

Cohere bills searches (`search_units`): they are counted as calls of a tool that the provider runs.
The others bill tokens. One search is a query over up to a hundred documents; a long document is cut
into pieces, each of which counts as one (docs.cohere.com, "How Does Cohere's Pricing Work").
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from llm_gateway.adapters.base import Changes
from llm_gateway.adapters.cohere import wire
from llm_gateway.adapters.counting import count, count_in
from llm_gateway.adapters.paths import path_for
from llm_gateway.adapters.steering import refuse_steering
from llm_gateway.adapters.steering_fields import model_name, outgoing, positive, wrong
from llm_gateway.adapters.upstream_errors import Complaint, upstream_error
from llm_gateway.adapters.whole_relay import Listed, refuse_stream, relay_listed
from llm_gateway.errors import GatewayError
from llm_gateway.types import Call, Facts, Outgoing, Quirks, Usage

__all__ = ["name", "parse_call", "parse_error", "relay_answer", "render_error", "render_relay"]

name = "cohere_rerank"
PATH = "/rerank"
DOCUMENTS_OF_A_SEARCH = 100
SHORTEST_PIECE = 100  # bytes: pieces have 500 tokens, the query's included
KNOWN = frozenset({
    "documents", "max_chunks_per_doc", "max_tokens_per_doc", "model", "priority", "query",
    "rank_fields", "relevant_spans", "return_documents", "top_n", "truncate", "user",
})  # fmt: skip
# Where servers of this kind say what is wrong.
_COMPLAINTS = ("message", "detail", "error")


def parse_call(body: dict[str, Any], *, size: int) -> Call:
    """Return what steers the gateway; `items` is the number of documents.

    Raises InvalidRequestError naming the field.
    """
    refuse_steering(body, KNOWN)
    refuse_stream(body)
    positive(body, "top_n")
    if not isinstance(body.get("query"), str | dict) or not body["query"]:
        raise wrong("query", "a text")
    documents = body.get("documents")
    if not isinstance(documents, list) or not documents:
        raise wrong("documents", "a list with at least one document")
    user = body.get("user")
    return Call(
        dialect=name,
        operation="rerank",
        model=model_name(body),
        body=body,
        size=size,
        end_user=user if isinstance(user, str) and user else None,
        needs=frozenset({"rerank"}),
        items=len(documents),
        searches=-(-(len(documents) + size // SHORTEST_PIECE) // DOCUMENTS_OF_A_SEARCH),
        units=frozenset({"tool_call"}),
    )


def render_error(error: GatewayError, *, request_id: str) -> dict[str, Any]:
    """Return the body of an error as Cohere's; `code` and `param` are ours."""
    body = {
        "id": request_id,
        "message": error.message,
        "code": error.code,
        "param": error.param,
        "request_id": request_id,
    }
    return body | ({"attempts": error.detail["attempts"]} if "attempts" in error.detail else {})


def render_relay(call: Call, changes: Changes, quirks: Quirks) -> Outgoing:
    """Return the caller's own body under the upstream's model name."""
    body = {**call.body, "model": changes.upstream_name}
    path = path_for("rerank", PATH, changes.upstream_name, quirks)
    return outgoing(path, body, quirks.default_headers)


def relay_answer(body: bytes, *, model: str) -> tuple[bytes, Facts]:
    """Return the answer with its model renamed, and its facts.

    Raises InvalidAnswerError for what holds no results, or the error it names instead.
    """
    return relay_listed(body, model=model, read_usage=_usage)


def parse_error(status: int, headers: Mapping[str, str], body: bytes) -> GatewayError:
    """Return a provider's error as ours, by its status first."""
    return upstream_error(status, headers, body, _read)


def _usage(answer: Listed) -> Usage | None:
    if isinstance(answer.usage, dict):
        told = wire.whole(answer.usage)
        return Usage(input=count(told.get("prompt_tokens", told.get("total_tokens"))))
    meta = wire.whole(answer.meta)
    billed = meta.get("billed_units") if isinstance(meta, dict) else None
    if not isinstance(billed, dict):
        return None
    return Usage(
        input=count(billed.get("input_tokens")) or count_in(meta, "tokens", "input_tokens"),
        tool_calls=count(billed.get("search_units")),
    )


def _read(body: bytes) -> Complaint:
    try:
        answer = msgspec.json.decode(body)
    except ValueError:
        return Complaint()
    for field in _COMPLAINTS if isinstance(answer, dict) else ():
        said = answer.get(field)
        text = said.get("message") if isinstance(said, dict) else said
        if isinstance(text, str):
            return Complaint(message=text, context_length=text.startswith("too many tokens"))
    return Complaint()
