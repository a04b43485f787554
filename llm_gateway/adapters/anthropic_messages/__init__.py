"""The protocol of POST /v1/messages and /v1/messages/count_tokens, both directions.

How its words cross to others stands in `request` (read) and `outgoing` (written).
"""

from llm_gateway.adapters.anthropic_messages.answer import read_answer, reader
from llm_gateway.adapters.anthropic_messages.call import parse_call, render_relay
from llm_gateway.adapters.anthropic_messages.errors import (
    parse_error,
    render_error,
    render_stream_error,
)
from llm_gateway.adapters.anthropic_messages.outgoing import render_request
from llm_gateway.adapters.anthropic_messages.relay import relay, relay_answer
from llm_gateway.adapters.anthropic_messages.request import parse_request
from llm_gateway.adapters.anthropic_messages.writer import render_answer, writer

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
    "writer",
]

name = "anthropic_messages"
