"""Turn events into the protocol's block events, and those into whole blocks.

Blocks follow one another: a new kind of output ends the block before it. Thinking that its author
did not sign has an empty signature, since the protocol wants one. What Google signs is a call or a
text: that signature stands on the thinking before the call, or on thinking of its own.
"""

from typing import Any

import jiter

from llm_gateway.types import (
    Citation,
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
            case TextDelta(choice=0) | RefusalDelta(choice=0):
                return self._text(event)
            case ThinkingDelta(choice=0):
                return self._thinking(event)
            case ToolCallStart(choice=0):
                signed = self._signed(event.signature)
                self._calls[event.index] = self._count
                return [*signed, *self.close(), self._start("tool_use", _tool_use(event))]
            case ToolCallDelta(choice=0) | Citation(choice=0, url=str()):
                return self._further(event)
            case _:
                return []

    def _further(self, event: ToolCallDelta | Citation) -> list[Wire]:
        """Return what belongs to a block that has begun; a source of no text has no place."""
        if isinstance(event, ToolCallDelta):
            delta = {"type": "input_json_delta", "partial_json": event.arguments}
            return [_block_delta(self._calls[event.index], delta)]
        return [self._delta(_citation(event))] if self._open == "text" else []

    def close(self) -> list[Wire]:
        """Return the end of the block that goes on, if one does."""
        if self._open is None:
            return []
        self._open = None
        return [{"type": "content_block_stop", "index": self._count - 1}]

    def _text(self, event: TextDelta | RefusalDelta) -> list[Wire]:
        signature = event.signature if isinstance(event, TextDelta) else None
        if signature is not None and not event.text:
            return self._signed(signature)
        # A list at once: the schema requires the field, and Vercel's SDK takes no null in it.
        opening = self._switch("text", {"type": "text", "text": "", "citations": []})
        written = [*opening, self._delta({"type": "text_delta", "text": event.text})]
        return written + self._signed(signature)

    def _signed(self, signature: str | None) -> list[Wire]:
        return [] if signature is None else self._thinking(ThinkingDelta(signature=signature))

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
        if delta["type"] == "citations_delta":
            block = self.content[index]
            block["citations"] = [*block["citations"], delta["citation"]]
            return
        for name in delta.keys() - {"type"}:
            self.content[index][name] += delta[name]


def _citation(event: Citation) -> Wire:
    """Return a source in the web; what it is proven by is Anthropic's own, so it is empty."""
    cited = {
        "type": "web_search_result_location",
        "url": event.url,
        "title": event.title,
        "cited_text": event.quote or "",
        "encrypted_index": "",
    }
    return {"type": "citations_delta", "citation": cited}


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
