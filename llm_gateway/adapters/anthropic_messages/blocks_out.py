"""Turn events into the protocol's block events, and those into whole blocks.

Blocks follow one another: a new kind of output ends the block before it. Thinking that its author
did not sign has an empty signature, since the protocol wants one.
"""

from typing import Any

import jiter

from llm_gateway.types import (
    Event,
    RefusalDelta,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    ToolCallStart,
)

Wire = dict[str, Any]


class BlockEvents:
    """One answer's blocks; only the first choice has a place in the protocol."""

    __slots__ = ("_calls", "_count", "_open")

    def __init__(self) -> None:
        self._count = 0
        self._open: str | None = None  # kind of the block that goes on
        self._calls: dict[int, int] = {}  # call -> its block

    def of(self, event: Event) -> list[Wire]:
        """Return the block events one event becomes."""
        match event:
            case TextDelta(choice=0, text=text) | RefusalDelta(choice=0, text=text):
                opening = self._switch("text", {"type": "text", "text": "", "citations": None})
                return [*opening, self._delta({"type": "text_delta", "text": text})]
            case ThinkingDelta(choice=0):
                return self._thinking(event)
            case ToolCallStart(choice=0):
                block = _tool_use(event)
                self._calls[event.index] = self._count
                return [*self.close(), self._start("tool_use", block)]
            case ToolCallDelta(choice=0, index=call, arguments=arguments):
                delta = {"type": "input_json_delta", "partial_json": arguments}
                return [_block_delta(self._calls[call], delta)]
            case _:
                return []

    def close(self) -> list[Wire]:
        """Return the end of the block that goes on, if one does."""
        if self._open is None:
            return []
        self._open = None
        return [{"type": "content_block_stop", "index": self._count - 1}]

    def _thinking(self, event: ThinkingDelta) -> list[Wire]:
        if event.redacted is not None:
            block = {"type": "redacted_thinking", "data": event.redacted}
            return [*self.close(), self._start("redacted_thinking", block), *self.close()]
        written = self._switch("thinking", {"type": "thinking", "thinking": "", "signature": ""})
        if event.text:
            written.append(self._delta({"type": "thinking_delta", "thinking": event.text}))
        if event.signature:  # comes last: more thinking is another block
            written.append(self._delta({"type": "signature_delta", "signature": event.signature}))
            written += self.close()
        return written

    def _switch(self, kind: str, block: Wire) -> list[Wire]:
        return [] if self._open == kind else [*self.close(), self._start(kind, block)]

    def _start(self, kind: str, block: Wire) -> Wire:
        self._open = kind
        self._count += 1
        return {"type": "content_block_start", "index": self._count - 1, "content_block": block}

    def _delta(self, delta: Wire) -> Wire:
        return _block_delta(self._count - 1, delta)


class WholeBlocks:
    """Puts block events together, as a client does."""

    __slots__ = ("_arguments", "content")

    def __init__(self) -> None:
        self.content: list[Wire] = []
        self._arguments: dict[int, str] = {}

    def add(self, event: Wire) -> None:
        if event["type"] == "content_block_start":
            self.content.append(dict(event["content_block"]))
        elif event["type"] == "content_block_delta":
            self._merge(event["index"], event["delta"])

    def done(self) -> list[Wire]:
        """Return the content; arguments cut by a limit are read as far as they go."""
        for index, text in self._arguments.items():
            self.content[index]["input"] = _object(text)
        return self.content

    def _merge(self, index: int, delta: Wire) -> None:
        if delta["type"] == "input_json_delta":
            self._arguments[index] = self._arguments.get(index, "") + delta["partial_json"]
            return
        for name in delta.keys() - {"type"}:
            self.content[index][name] += delta[name]


def _block_delta(index: int, delta: Wire) -> Wire:
    return {"type": "content_block_delta", "index": index, "delta": delta}


def _tool_use(event: ToolCallStart) -> Wire:
    caller = {"type": "direct"}
    return {"type": "tool_use", "id": event.id, "name": event.name, "input": {}, "caller": caller}


def _object(text: str) -> Wire:
    try:
        value = jiter.from_json(text.encode(), partial_mode=True)
    except ValueError:
        value = None
    return value if isinstance(value, dict) else {"arguments": text}
