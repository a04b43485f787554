"""Cohere's POST /v2/chat: a provider's side only, no caller speaks it.

How the hub's words are written stands in `outgoing`, how answers are read in `answer`.
"""

from llm_gateway.adapters.cohere.answer import read_answer, reader
from llm_gateway.adapters.cohere.outgoing import render_request
from llm_gateway.adapters.cohere.wire import parse_error

__all__ = ["name", "parse_error", "read_answer", "reader", "render_request"]

name = "cohere"
