"""Ask and answer how many tokens a request has, in Gemini's words."""

import msgspec
from msgspec import Struct

from llm_gateway.errors import InvalidAnswerError


class _Counted(Struct, rename="camel"):
    total_tokens: int


_decode = msgspec.json.Decoder(_Counted).decode


def read_count(body: bytes) -> int:
    """Return the tokens of an answer. Raises InvalidAnswerError."""
    try:
        return _decode(body).total_tokens
    except ValueError as error:
        raise InvalidAnswerError("The provider's answer is no count of tokens.") from error


def render_counted(tokens: int) -> bytes:
    return msgspec.json.encode({"totalTokens": tokens})
