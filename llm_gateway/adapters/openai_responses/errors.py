"""Errors of the responses dialect: as in chat, but for the event inside a stream."""

import re

from llm_gateway.adapters.openai_chat.errors import parse_error, render_error
from llm_gateway.adapters.openai_responses.response import render_event
from llm_gateway.errors import GatewayError

__all__ = ["parse_error", "render_error", "render_stream_error"]

_NUMBER = re.compile(rb'"sequence_number":\s*(\d+)')


def render_stream_error(error: GatewayError, *, request_id: str, after: bytes = b"") -> bytes:
    """Return the event that tells of an error inside a running stream, numbered on.

    The protocol's document has its fields beside `type`; official SDKs raise what they find in
    `error`, where the provider too was seen to put them.
    """
    numbers = _NUMBER.findall(after)
    body = render_error(error, request_id=request_id)
    flat = {name: body["error"][name] for name in ("code", "message", "param")}
    event = {"type": "error", **flat, **body}
    return render_event(event, int(numbers[-1]) + 1 if numbers else 0)
