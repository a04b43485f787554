"""Pass a completions answer on: chunks are those of chat, with texts for messages."""

from typing import Any

import msgspec
from typing_extensions import override

from llm_gateway.adapters.openai_chat.relay import ChatRelay
from llm_gateway.adapters.openai_completions.writer import ending
from llm_gateway.types import Call, Usage


def relay(call: Call, *, model: str) -> "CompletionRelay":
    return CompletionRelay(model, keep_usage=call.wants_usage)


class CompletionRelay(ChatRelay):
    """Carries one stream."""

    __slots__ = ()

    @override
    def cut_short(self, call: Call, usage: Usage, *, created: int) -> bytes:
        head: dict[str, Any] = {
            "id": self.facts.id,
            "object": "text_completion",
            "created": created,
            "model": msgspec.Raw(self._model),
        }
        return ending(head, call.choices, usage if self._keep_usage else None)
