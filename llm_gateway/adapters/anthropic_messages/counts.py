"""Ask and answer how many tokens a request has, in the words of POST /v1/messages/count_tokens."""

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from llm_gateway.adapters.anthropic_messages.call import PATHS
from llm_gateway.adapters.anthropic_messages.outgoing import render_request
from llm_gateway.errors import InvalidAnswerError
from llm_gateway.types import ChatRequest, Outgoing, Quirks

# What has tokens; all else steers an answer, which a question for their number does not want.
FIELDS = frozenset({"model", "messages", "system", "thinking", "tool_choice", "tools"})
ANY_LIMIT = 131_072  # thinking has to be allowed less than the answer may have


class _Counted(Struct):
    input_tokens: int


_decode = msgspec.json.Decoder(_Counted).decode


def render_count(request: ChatRequest, quirks: Quirks) -> Outgoing:
    """Return the question how many tokens a request has. Raises UnexpressibleError."""
    asked = render_request(
        replace(request, stream=False, max_tokens=None), quirks, default_max_tokens=ANY_LIMIT
    )
    body = msgspec.json.decode(asked.body)
    kept = {name: body[name] for name in body if name in FIELDS}
    return replace(asked, path=PATHS["count_tokens"], body=msgspec.json.encode(kept))


def read_count(body: bytes) -> int:
    """Return the tokens of an answer. Raises InvalidAnswerError."""
    try:
        return _decode(body).input_tokens
    except ValueError as error:
        raise InvalidAnswerError("The provider's answer is no count of tokens.") from error


def render_counted(tokens: int) -> bytes:
    return msgspec.json.encode({"input_tokens": tokens})
