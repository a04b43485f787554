"""The protocol of POST /v1/messages and /v1/messages/count_tokens, both directions.

How its words cross to others stands in `request` (read) and `outgoing` (written).
"""

from llm_gateway.adapters.anthropic_messages.answer import read_answer, reader
from llm_gateway.adapters.anthropic_messages.call import parse_call, render_relay
from llm_gateway.adapters.anthropic_messages.counts import (
    read_count,
    render_count,
    render_counted,
)
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
    "read_count",
    "reader",
    "relay",
    "relay_answer",
    "render_answer",
    "render_count",
    "render_counted",
    "render_error",
    "render_relay",
    "render_request",
    "render_stream_error",
    "words",
    "writer",
]

name = "anthropic_messages"
words = {
    "stop": "stop_sequences",
    "response_format": "output_config.format",
    "reasoning_effort": "thinking",
    "parallel_tool_calls": "tool_choice.disable_parallel_tool_use",
    "user": "metadata.user_id",
    "messages[].tool_call_id": "messages[].content[].tool_use_id",
    "messages[].reasoning_content": "messages[].content[].thinking",
    "messages[].tool_calls[].function.arguments": "messages[].content[].input",
    "messages[].content[].file": "messages[].content[].source",
    "messages[].content[].file.file_url": "messages[].content[].source.url",
    "messages[].content[].image_url": "messages[].content[].source",
    "messages[].content[].image_url.url": "messages[].content[].source.url",
    "tools[].function": "tools[]",
}
