"""Put a kept request into the words of the playground: those of a chat completion.

What the playground has no field for is left out and named, so that nobody takes one for the other.
"""

from typing import Any

import msgspec
from msgspec import Struct

from llm_gateway.adapters import ADAPTERS, native, openai_chat
from llm_gateway.errors import GatewayError
from llm_gateway.insight.payloads import Payload
from llm_gateway.types import Quirks

Wire = dict[str, Any]

_DOORS: dict[str, Any] = {**ADAPTERS, native.name: native}
_MODEL, _MESSAGES = "model", "messages"
_FIELDS = ("temperature", "max_tokens", "tools")
# What says how it is answered, not what.
_SILENT = frozenset({_MODEL, _MESSAGES, "stream", "stream_options", *_FIELDS})
_INSTRUCTIONS = frozenset({"system", "developer"})


class ReplayError(Exception):
    """A request cannot be asked again in the playground; the text says why."""


class Replay(Struct, frozen=True, kw_only=True):
    """What the playground is filled with; `earlier` are the turns before the last of the user."""

    model: str
    system: str
    earlier: list[Wire]
    prompt: str
    fields: Wire
    left_out: list[str]


def replay(payload: Payload, model: str) -> Replay:
    """Return what to ask again of the model that was asked for. Raises ReplayError."""
    asked = _as_chat(payload, model)
    messages = [_as_text(message) for message in asked[_MESSAGES]]
    instructions = [one["content"] for one in messages if one["role"] in _INSTRUCTIONS]
    turns = [one for one in messages if one["role"] not in _INSTRUCTIONS]
    if not turns or turns[-1]["role"] != "user":
        raise ReplayError("Its last turn is not the user's.")
    return Replay(
        model=model,
        system="\n\n".join(instructions),
        earlier=turns[:-1],
        prompt=turns[-1]["content"],
        fields={name: asked[name] for name in _FIELDS if asked.get(name) is not None},
        left_out=sorted(asked.keys() - _SILENT),
    )


def _as_chat(payload: Payload, model: str) -> Wire:
    door: Any = _DOORS.get(payload.dialect)
    body = payload.request.body
    if not hasattr(door, "writer") or not isinstance(body, dict):
        raise ReplayError("Only chats can be asked again.")
    if payload.request.cut:
        raise ReplayError("It was too long to be kept whole.")
    try:
        request = door.parse_request({_MODEL: model, **body})
        quirks = Quirks(max_tokens_field="max_tokens", top_k=True)
        told = openai_chat.render_request(request, quirks, default_max_tokens=0)
    except GatewayError as error:
        raise ReplayError(error.message) from None
    chat: Wire = msgspec.json.decode(told.body)
    return chat


def _as_text(message: Wire) -> Wire:
    """Return a message with its parts as one text: of media only type and size are kept."""
    content = message.get("content")
    if not isinstance(content, list):
        return {**message, "content": content or ""}
    texts = (part.get("text") or f"[{part.get('type')}]" for part in content)
    return {**message, "content": "\n".join(texts)}
