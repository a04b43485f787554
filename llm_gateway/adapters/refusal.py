"""Say that a target's protocol has no word for what a caller asked."""

from collections.abc import Callable, Collection, Iterable
from typing import Any

from llm_gateway.errors import InvalidRequestError, UnexpressibleError
from llm_gateway.types import (
    ChatRequest,
    DocumentPart,
    EmbeddingsRequest,
    Message,
    TextPart,
    ThinkingPart,
    ToolCallPart,
)


def unexpressible(param: str, why: str = "it has no word for it") -> UnexpressibleError:
    """Return the error that names `param`, a field in the caller's words."""
    return UnexpressibleError(
        f"'{param}' cannot be sent to the target's protocol: {why}.", param=param
    )


def refuse_extras(request: ChatRequest | EmbeddingsRequest) -> None:
    """Raise UnexpressibleError for the first field that no other dialect shares."""
    known_extras(request, ())


def known_extras(
    request: ChatRequest | EmbeddingsRequest, known: Collection[str], *, signed: bool = False
) -> dict[str, Any]:
    """Return the fields that only this target knows. Raises UnexpressibleError for another one.

    `signed`: it knows signatures of single parts, and checks them itself.
    """
    for name in request.extras:
        if name not in known:
            raise unexpressible(name)
    if not signed and isinstance(request, ChatRequest):
        _refuse_signed(request.messages)
    return request.extras


def _refuse_signed(messages: Iterable[Message]) -> None:
    for message in messages:
        for part in message.parts if message.role == "assistant" else ():
            if isinstance(part, ToolCallPart | TextPart) and part.signature is not None:
                call = "tool_calls[]." if isinstance(part, ToolCallPart) else ""
                raise unexpressible(
                    f"messages[].{call}extra_content", "a signed part is its author's only"
                )


def file_of(part: DocumentPart) -> str:
    """Return the field that a document is in: its data, or its address."""
    return "messages[].content[].file" + (".file_url" if part.url is not None else "")


def check_speaker(message: Message, param: str) -> None:
    """Raise InvalidRequestError where somebody else thinks or calls: only the model does."""
    said = () if message.role == "assistant" else message.parts
    if any(isinstance(part, ThinkingPart | ToolCallPart) for part in said):
        raise InvalidRequestError(
            f"'{param}' holds thinking or a call of a tool: only the model's turns do.", param=param
        )


def refuse_wordless(request: ChatRequest, names: Iterable[str]) -> None:
    """Raise UnexpressibleError for the first of these fields that the caller said anything with."""
    for name in names:
        if _SAID[name](request):
            raise unexpressible(name)


_SAID: dict[str, Callable[[ChatRequest], object]] = {
    "n": lambda request: request.choices > 1,
    "seed": lambda request: request.seed is not None,
    "frequency_penalty": lambda request: request.frequency_penalty,
    "presence_penalty": lambda request: request.presence_penalty,
    "logit_bias": lambda request: request.logit_bias,
    "logprobs": lambda request: request.logprobs,
    "top_logprobs": lambda request: request.top_logprobs,
    "user": lambda request: request.user,
    "metadata": lambda request: request.metadata,
    "service_tier": lambda request: request.service_tier not in {None, "auto", "default"},
    "parallel_tool_calls": lambda request: request.tools and request.parallel_tool_calls is False,
}
