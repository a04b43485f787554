"""The protocol of POST /v1/responses, both directions.

How its words cross to others stands in `request` (read) and `outgoing` (written).
"""

from llm_gateway.adapters.openai_responses.answer import read_answer, reader
from llm_gateway.adapters.openai_responses.call import parse_call, render_relay
from llm_gateway.adapters.openai_responses.errors import (
    parse_error,
    render_error,
    render_stream_error,
)
from llm_gateway.adapters.openai_responses.outgoing import render_request
from llm_gateway.adapters.openai_responses.relay import relay, relay_answer, shown
from llm_gateway.adapters.openai_responses.request import parse_request
from llm_gateway.adapters.openai_responses.writer import render_answer, writer

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
    "shown",
    "words",
    "writer",
]

name = "openai_responses"
words = {
    "messages": "input",
    "messages[].reasoning_content": "input[].reasoning",
    "messages[].extra_content": "input[].encrypted_content",
    "messages[].tool_calls[].extra_content": "input[].encrypted_content",
    "messages[].tool_calls[].function.arguments": "input[].arguments",
    "messages[].content[].image_url.detail": "input[].content[].detail",
    "messages[].content[].file": "input[].content[].file_data",
    "messages[].content[].file.file_url": "input[].content[].file_url",
    "messages[].content[].image_url.url": "input[].content[].image_url",
    "messages[].content[].content": "input[].output",
    "tools[].function": "tools[]",
    "max_tokens": "max_output_tokens",
    "max_completion_tokens": "max_output_tokens",
    "response_format": "text.format",
    "reasoning_effort": "reasoning.effort",
    "logprobs": "include",
}
