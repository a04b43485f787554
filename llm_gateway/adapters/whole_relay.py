"""Pass a list of results on but for the model's name; for operations that are never streamed."""

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Struct

from llm_gateway.adapters import splice
from llm_gateway.adapters.counting import RAW_KEPT
from llm_gateway.adapters.openai_chat.wire import error_in_answer
from llm_gateway.errors import InvalidAnswerError, InvalidRequestError
from llm_gateway.types import Facts, Usage


class Listed(Struct):
    """What of such an answer is looked at."""

    results: list[Any] | None = None
    model: Any = None
    usage: Any = None
    meta: Any = None
    error: Any = None


_decode = msgspec.json.Decoder(Listed).decode


def refuse_stream(body: dict[str, Any]) -> None:
    """Raise InvalidRequestError for a caller who asks for a stream."""
    if body.get("stream"):
        raise InvalidRequestError("'stream' is not possible here.", param="stream")


def relay_listed(
    body: bytes, *, model: str, read_usage: Callable[[Listed], Usage | None]
) -> tuple[bytes, Facts]:
    """Return the answer with its model renamed, and its facts.

    `read_usage` raises ValueError for what is no usage. Raises InvalidAnswerError for what holds no
    results, or the error it names instead.
    """
    try:
        answer = _decode(body)
        body.decode()  # parts that are passed over may hold what is no UTF-8
        renamed = splice.substitute(body, ("model",), msgspec.json.encode(model))
    except ValueError as error:
        raise InvalidAnswerError("The provider's answer is not valid JSON.") from error
    if answer.error is not None:
        raise error_in_answer(answer.error)
    if answer.results is None:
        raise InvalidAnswerError("The provider's answer has no results.")
    named = answer.model if isinstance(answer.model, str) else None
    facts = Facts(model=named, complete=True, content=True)
    try:
        facts.usage = read_usage(answer)
    except ValueError:
        facts.usage_invalid = str(answer.usage or answer.meta)[:RAW_KEPT]
    return body if named is None else renamed, facts
