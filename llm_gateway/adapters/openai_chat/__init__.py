"""The protocol of POST /v1/chat/completions, both directions.

How its words cross to others stands in `request` (read) and `outgoing` (written).
"""

from collections.abc import Mapping

from llm_gateway.adapters.openai_chat.answer import read_answer, reader
from llm_gateway.adapters.openai_chat.call import parse_call, render_relay
from llm_gateway.adapters.openai_chat.errors import parse_error, render_error, render_stream_error
from llm_gateway.adapters.openai_chat.outgoing import render_request
from llm_gateway.adapters.openai_chat.relay import relay, relay_answer
from llm_gateway.adapters.openai_chat.request import parse_request
from llm_gateway.adapters.openai_chat.writer import render_answer, writer

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
    "render_request",
    "render_stream_error",
    "words",
    "writer",
]

name = "openai_chat"
words: Mapping[str, str] = {}
