"""Amazon Bedrock's Converse and ConverseStream: a provider's side only, no caller speaks it.

How the hub's words are written stands in `outgoing`, how answers are read in `answer`. Requests are
signed where they are sent (`providers/sigv4.py`).
"""

from llm_gateway.adapters.bedrock_converse.answer import read_answer, reader
from llm_gateway.adapters.bedrock_converse.outgoing import render_request
from llm_gateway.adapters.bedrock_converse.wire import parse_error

__all__ = ["name", "parse_error", "read_answer", "reader", "render_request"]

name = "bedrock_converse"
