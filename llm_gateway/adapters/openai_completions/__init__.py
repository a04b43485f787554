"""The protocol of POST /v1/completions: passed on to who has it, else one prompt crosses over.

Chunks and errors are those of chat but for the name of the text, and so is what reads them.
"""

from collections.abc import Mapping

from llm_gateway.adapters.openai_chat.answer import read_answer, reader
from llm_gateway.adapters.openai_chat.errors import parse_error, render_error, render_stream_error
from llm_gateway.adapters.openai_chat.relay import relay_answer
from llm_gateway.adapters.openai_completions.call import parse_call, render_relay
from llm_gateway.adapters.openai_completions.relay import relay
from llm_gateway.adapters.openai_completions.request import parse_request
from llm_gateway.adapters.openai_completions.writer import render_answer, writer

__all__ = [
    "name",
    "parse_call",
    "parse_error",
    "parse_request",
    "read_answer",
    "reader",
    "relay",
    "relay_answer",
    "render_answer",
    "render_error",
    "render_relay",
    "render_stream_error",
    "words",
    "writer",
]

name = "openai_completions"
words: Mapping[str, str] = {"messages": "prompt"}
