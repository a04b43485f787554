"""Ollama's own POST /api/chat: a provider's side only, no caller speaks it.

Unlike its imitation of OpenAI's protocol it can be told how much context to hold. How the hub's
words are written stands in `outgoing`, how answers are read in `answer`.
"""

from llm_gateway.adapters.ollama.answer import read_answer, reader
from llm_gateway.adapters.ollama.outgoing import render_request
from llm_gateway.adapters.ollama.wire import parse_error

__all__ = ["name", "parse_error", "read_answer", "reader", "render_request"]

name = "ollama"
