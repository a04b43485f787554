"""Turn events into the protocol's items and the events that say how they grow.

Text, refusals and thinking follow one another: another kind of output ends the item before it.
Calls of tools stay open to the end, since other protocols may tell several by turns.
"""

from collections.abc import Callable
from typing import Any

from llm_gateway.adapters.openai_responses.closing import item_ends, part_ends
from llm_gateway.adapters.openai_responses.response import Wire
from llm_gateway.adapters.openai_responses.signatures import CALL, HIDDEN, TEXT, sealed
from llm_gateway.types import (
    Citation,
    Event,
    Logprobs,
    RefusalDelta,
    TextDelta,
    ThinkingDelta,
    TokenLogprob,
    ToolCallDelta,
    ToolCallStart,
)

_PREFIX = {"message": "msg", "reasoning": "rs", "function_call": "fc"}


class Items:
    """One answer's items; only the first choice has a place in the protocol."""

    __slots__ = ("_calls", "_open", "_suffix", "output")

    def __init__(self, suffix: str) -> None:
        self._suffix = suffix
        self.output: list[Wire] = []
        self._open = False  # the last item is a message or reasoning that goes on
        self._calls: dict[int, int] = {}  # call -> its item

    def of(self, event: Event) -> list[Wire]:
        """Return the events that one of the hub's becomes."""
        write = _WRITERS.get(type(event))
        return write(self, event) if write and not getattr(event, "choice", 0) else []

    def close(self, status: str) -> list[Wire]:
        """Return the end of everything that goes on."""
        calls, self._calls = list(self._calls.values()), {}
        ended = [event for index in calls for event in self._ended(index, status)]
        return [*self._close(status), *ended]

    # --- text ---------------------------------------------------------------------------------

    def text(self, event: TextDelta) -> list[Wire]:
        written: list[Wire] = []
        if event.text:
            begun, place = self._text_part()
            self._item["content"][-1]["text"] += event.text
            said = {"delta": event.text, "logprobs": []}
            written = [*begun, {"type": "response.output_text.delta", **place, **said}]
        if event.signature is not None:
            written += self._seal(TEXT + event.signature)
        return written

    def refusal(self, event: RefusalDelta) -> list[Wire]:
        begun, place = self._part("refusal", {"refusal": ""})
        self._item["content"][-1]["refusal"] += event.text
        return [*begun, {"type": "response.refusal.delta", **place, "delta": event.text}]

    def logprobs(self, event: Logprobs) -> list[Wire]:
        """Tell them with a piece of no text: they come apart from the text they are of."""
        tokens = [_token(token) for token in event.tokens]
        begun, place = self._text_part()
        self._item["content"][-1]["logprobs"] += tokens
        said = {"delta": "", "logprobs": tokens}
        return [*begun, {"type": "response.output_text.delta", **place, **said}]

    def citation(self, event: Citation) -> list[Wire]:
        """Tell a source in the web; the protocol has no place for any other."""
        if event.url is None:
            return []
        begun, place = self._text_part()
        part = self._item["content"][-1]
        annotation = {
            "type": "url_citation",
            "url": event.url,
            "title": event.title or "",
            "start_index": event.start or 0,
            "end_index": len(part["text"]) if event.end is None else event.end,
        }
        number = len(part["annotations"])
        part["annotations"].append(annotation)
        said = {"annotation_index": number, "annotation": annotation}
        return [*begun, {"type": "response.output_text.annotation.added", **place, **said}]

    def _text_part(self) -> tuple[list[Wire], Wire]:
        return self._part("output_text", {"text": "", "annotations": [], "logprobs": []})

    def _part(self, kind: str, empty: Wire) -> tuple[list[Wire], Wire]:
        """Return what begins a part of a message where none of this kind goes on, and its place."""
        written: list[Wire] = []
        if not self._goes_on("message"):
            written = self._begin("message", {"role": "assistant", "content": []})
        parts = self._item["content"]
        new = not parts or parts[-1]["type"] != kind
        if new and parts:
            written += part_ends(self._item, self._last, len(parts) - 1)
        if new:
            parts.append({"type": kind, **empty})
        place = {**self._place, "content_index": len(parts) - 1}
        if new:
            part = _as_begun(parts[-1])
            written.append({"type": "response.content_part.added", **place, "part": part})
        return written, place

    # --- thinking -----------------------------------------------------------------------------

    def thinking(self, event: ThinkingDelta) -> list[Wire]:
        written = self._thought(event.text) if event.text else []
        encrypted = sealed(event)
        return written if encrypted is None else [*written, *self._seal(encrypted)]

    def _thought(self, text: str) -> list[Wire]:
        written: list[Wire] = []
        if not self._goes_on("reasoning"):
            written = self._begin("reasoning", {"summary": [], "encrypted_content": None})
            part = {"type": "summary_text", "text": ""}
            self._item["summary"].append(part)
            added = "response.reasoning_summary_part.added"
            written.append({"type": added, **self._place, "summary_index": 0, "part": {**part}})
        self._item["summary"][0]["text"] += text
        delta = {"type": "response.reasoning_summary_text.delta", **self._place}
        return [*written, {**delta, "summary_index": 0, "delta": text}]

    def _seal(self, encrypted: str) -> list[Wire]:
        """Put what was signed or hidden into the reasoning that goes on, else into its own."""
        begun: list[Wire] = []
        if encrypted.startswith(HIDDEN) or not self._goes_on("reasoning"):
            begun = self._begin("reasoning", {"summary": [], "encrypted_content": encrypted})
        self._item["encrypted_content"] = encrypted
        return [*begun, *self._close("completed")]

    # --- calls --------------------------------------------------------------------------------

    def call(self, event: ToolCallStart) -> list[Wire]:
        signed = [] if event.signature is None else self._seal(CALL + event.signature)
        item = {"call_id": event.id, "name": event.name, "arguments": ""}
        begun = self._begin("function_call", item)
        self._calls[event.index] = self._last
        self._open = False
        return [*signed, *begun]

    def arguments(self, event: ToolCallDelta) -> list[Wire]:
        index = self._calls[event.index]
        item = self.output[index]
        item["arguments"] += event.arguments
        said = {"item_id": item["id"], "output_index": index, "delta": event.arguments}
        return [{"type": "response.function_call_arguments.delta", **said}]

    # --- items --------------------------------------------------------------------------------

    @property
    def _last(self) -> int:
        return len(self.output) - 1

    @property
    def _item(self) -> Wire:
        return self.output[-1]

    @property
    def _place(self) -> Wire:
        return {"item_id": self._item["id"], "output_index": self._last}

    def _goes_on(self, kind: str) -> bool:
        return self._open and bool(self._item["type"] == kind)

    def _begin(self, kind: str, fields: Wire) -> list[Wire]:
        """Return the end of the item that goes on, and the beginning of another."""
        written, index = self._close("completed"), len(self.output)
        identifier = f"{_PREFIX[kind]}_{self._suffix}_{index}"
        status = {} if kind == "reasoning" else {"status": "in_progress"}
        self.output.append({"id": identifier, "type": kind, **status, **fields})
        self._open = True
        item = _as_begun(self._item)
        added = {"type": "response.output_item.added", "output_index": index, "item": item}
        return [*written, added]

    def _close(self, status: str) -> list[Wire]:
        if not self._open:
            return []
        self._open = False
        return self._ended(self._last, status)

    def _ended(self, index: int, status: str) -> list[Wire]:
        item = self.output[index]
        if "status" in item:
            item["status"] = status
        parts = len(item["content"]) if item["type"] == "message" else 1
        return item_ends(item, index, frozenset(range(parts - 1)))


_WRITERS: dict[type, Callable[[Items, Any], list[Wire]]] = {
    TextDelta: Items.text,
    RefusalDelta: Items.refusal,
    ThinkingDelta: Items.thinking,
    ToolCallStart: Items.call,
    ToolCallDelta: Items.arguments,
    Logprobs: Items.logprobs,
    Citation: Items.citation,
}


def _as_begun(value: Wire) -> Wire:
    """Return an item or a part as it is now: its texts and lists go on growing."""
    return {name: [*held] if isinstance(held, list) else held for name, held in value.items()}


def _token(token: TokenLogprob) -> Wire:
    return {
        "token": token.token,
        "logprob": token.logprob,
        "bytes": list(token.token.encode() if token.raw is None else token.raw),
        "top_logprobs": [
            {name: value for name, value in _token(other).items() if name != "top_logprobs"}
            for other in token.top
        ],
    }
