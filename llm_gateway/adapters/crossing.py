"""Write one dialect's request in another's words; what has no word there is named in the caller's.

Adapters know each field by one name, OpenAI's for chat. A dialect that calls it otherwise lists
its own name in `words`.
"""

from llm_gateway.adapters.base import ChatAdapter, ChatUpstream
from llm_gateway.errors import InvalidRequestError
from llm_gateway.types import ChatRequest, Outgoing, Quirks


def cross(
    caller: ChatAdapter,
    upstream: ChatUpstream,
    request: ChatRequest,
    quirks: Quirks,
    *,
    default_max_tokens: int,
) -> Outgoing:
    """Return the request on the upstream's wire.

    Raises InvalidRequestError, UnexpressibleError among it, naming the caller's field.
    """
    try:
        return upstream.render_request(request, quirks, default_max_tokens=default_max_tokens)
    except InvalidRequestError as error:
        # An extra is named by its path in the caller's body already.
        if error.param is None or error.param in request.extras:
            raise
        name = _named(error.param, caller)
        _rename(error, request.named.get(name, name))
        raise


def _named(param: str, caller: ChatAdapter) -> str:
    """Return what the caller's dialect calls a field; the longest name that fits decides."""
    for name in sorted(caller.words, key=len, reverse=True):
        rest = param.removeprefix(name)
        if rest != param and (not rest or rest[0] in ".["):
            return caller.words[name] + rest
    return param


def _rename(error: InvalidRequestError, name: str) -> None:
    error.message = error.message.replace(f"'{error.param}'", f"'{name}'", 1)
    error.param = name
    error.args = (error.message,)
