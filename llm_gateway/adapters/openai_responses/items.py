"""Read the items of an input into the hub's messages.

Items stand one after another: what the model said, thought and called since somebody else spoke is
one message. Ids, states and phases of items that a provider once answered are its own and are
passed over, and so are citations and likelihoods of what was said.
"""

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from llm_gateway.adapters.fields import Fields, wrong
from llm_gateway.adapters.openai_responses.parts import read_parts
from llm_gateway.adapters.openai_responses.signatures import CALL, TEXT, thinking
from llm_gateway.types import (
    DocumentPart,
    ImagePart,
    Message,
    Part,
    Role,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)

Extras = dict[str, Any]
_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "developer",
    "user": "user",
    "assistant": "assistant",
}
_LABELS = ("id", "status", "phase")


def read_input(fields: Fields, extras: Extras) -> list[Message]:
    """Return the messages of an input: a text is one of the user's."""
    given = fields.take("input")
    if given is None:
        return []
    if isinstance(given, str):
        return [Message(role="user", parts=(TextPart(text=given),))]
    if not isinstance(given, list):
        raise wrong(fields.at("input"), "a string or a list of items")
    reading = _Reading(extras)
    for index, value in enumerate(given):
        reading.item(Fields(value, f"{fields.at('input')}[{index}]"), value)
    return reading.done()


class _Reading:
    """One input's state: the turn of the model that is being put together."""

    def __init__(self, extras: Extras) -> None:
        self._extras = extras
        self._messages: list[Message] = []
        self._turn: list[Part] = []
        self._signature: str | None = None  # of the call that comes next

    def done(self) -> list[Message]:
        self._end_turn()
        return self._messages

    def item(self, item: Fields, value: dict[str, Any]) -> None:
        held = {name: item.take(name) for name in _LABELS}
        kind = item.text("type") or "message"
        read = _ITEMS.get(kind)
        if read is None:
            self._extras[item.at(kind)] = value
            return
        read(self, item, held)
        item.close(self._extras)

    def message(self, item: Fields, _labels: Extras) -> None:
        role = item.required("role")
        if role not in _ROLES:
            self._extras[item.at("role")] = role
        parts = read_parts(item, "content", self._extras)
        if role == "assistant":
            self._turn += parts
        else:
            self._say(Message(role=_ROLES.get(role, "user"), parts=tuple(parts)))

    def reasoning(self, item: Fields, labels: Extras) -> None:
        names = ("summary", "content", "encrypted_content")
        held = {name: item.take(name) for name in names}
        sealed = held["encrypted_content"]
        if isinstance(sealed, str) and sealed.startswith(CALL):
            self._signature = sealed.removeprefix(CALL)
        elif isinstance(sealed, str) and sealed.startswith(TEXT):
            self._sign_text(sealed.removeprefix(TEXT))
        part = thinking({**held, "id": labels["id"]})
        self._turn += [] if part is None else [part]

    def call(self, item: Fields, _labels: Extras) -> None:
        self._turn.append(
            ToolCallPart(
                id=item.required("call_id"),
                name=item.required("name"),
                arguments=item.text("arguments") or "{}",
                signature=self._signature,
            )
        )
        self._signature = None

    def result(self, item: Fields, _labels: Extras) -> None:
        parts = read_parts(item, "output", self._extras)
        leaves = (part for part in parts if isinstance(part, TextPart | ImagePart | DocumentPart))
        result = ToolResultPart(call_id=item.required("call_id"), content=tuple(leaves))
        self._say(Message(role="tool", parts=(result,)))

    def _sign_text(self, signature: str) -> None:
        last = self._turn[-1] if self._turn else None
        if isinstance(last, TextPart):
            self._turn[-1] = replace(last, signature=signature)
        else:
            self._turn.append(TextPart(text="", signature=signature))

    def _say(self, message: Message) -> None:
        self._end_turn()
        self._messages.append(message)

    def _end_turn(self) -> None:
        if self._turn:
            self._messages.append(Message(role="assistant", parts=tuple(self._turn)))
            self._turn = []


_ITEMS: dict[str, Callable[[_Reading, Fields, Extras], None]] = {
    "message": _Reading.message,
    "reasoning": _Reading.reasoning,
    "function_call": _Reading.call,
    "function_call_output": _Reading.result,
}
