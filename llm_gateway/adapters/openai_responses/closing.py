"""Say how what has begun in a stream is ended: its texts, its parts, its items.

The same events whether we wrote the item ourselves, or a provider's answer is ended at its hold.
"""

from typing import Any

import msgspec

from llm_gateway.adapters.openai_responses import wire
from llm_gateway.adapters.openai_responses.response import Wire, incomplete

_LIST_OF = {"message": "content", "reasoning": "summary"}
_TEXT_FIELDS = {"output_text": "text", "refusal": "refusal"}
_KNOWN = {*_TEXT_FIELDS, "summary_text"}
# Which event says a piece of which list of an item, and what a part of that list is.
_LISTS = {
    "response.output_text.delta": ("content", "output_text"),
    "response.refusal.delta": ("content", "refusal"),
    "response.reasoning_summary_text.delta": ("summary", "summary_text"),
    "response.reasoning_text.delta": ("content", "reasoning_text"),
}
_STRINGS = {
    "response.function_call_arguments.delta": "arguments",
    "response.custom_tool_call_input.delta": "input",
}


def part_ends(item: Wire, output_index: int, index: int) -> list[Wire]:
    """Return the events that end part `index` of a message or of a reasoning item."""
    part = item[_LIST_OF[item["type"]]][index]
    place = {"item_id": item["id"], "output_index": output_index}
    if item["type"] == "reasoning":
        place["summary_index"] = index
        return [
            {"type": "response.reasoning_summary_text.done", **place, "text": part["text"]},
            {"type": "response.reasoning_summary_part.done", **place, "part": part},
        ]
    place["content_index"] = index
    field = _TEXT_FIELDS[part["type"]]
    said = {field: part[field]}
    if field == "text":
        said["logprobs"] = part["logprobs"]
    return [
        {"type": f"response.{part['type']}.done", **place, **said},
        {"type": "response.content_part.done", **place, "part": part},
    ]


def item_ends(item: Wire, output_index: int, closed: frozenset[int] = frozenset()) -> list[Wire]:
    """Return the events that end an item; parts that are `closed` ended before."""
    events: list[Wire] = []
    if item["type"] == "function_call":
        place = {"item_id": item["id"], "output_index": output_index}
        said = {"name": item["name"], "arguments": item["arguments"]}
        events = [{"type": "response.function_call_arguments.done", **place, **said}]
    elif item["type"] in _LIST_OF:
        for index, part in enumerate(item.get(_LIST_OF[item["type"]]) or ()):
            if index not in closed and part["type"] in _KNOWN:
                events += part_ends(item, output_index, index)
    done = {"type": "response.output_item.done", "output_index": output_index, "item": item}
    return [*events, done]


class _Begun:
    """An item that has begun: as it was announced, and the pieces that came since."""

    __slots__ = ("closed", "data", "pieces")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.pieces: dict[tuple[str, int], list[str]] = {}
        self.closed: set[int] = set()

    def say(self, event: wire.Event) -> None:
        place = (event.type, max(event.content_index, event.summary_index))
        self.pieces.setdefault(place, []).append(event.delta)

    def item(self) -> Wire:
        """Return the item as far as it goes."""
        item: Wire = msgspec.json.decode(self.data)["item"]
        for (kind, index), pieces in self.pieces.items():
            said = "".join(pieces)
            if kind in _STRINGS:
                item[_STRINGS[kind]] = said
            elif kind in _LISTS:
                _say(item, kind, index, said)
        return {**item, "status": "incomplete"}


class Unfinished:
    """Remembers of a relayed stream what is needed to end it at any point.

    Pieces of what is unfinished are kept, and put together when it is cut.
    """

    __slots__ = ("_begun", "_done", "_running")

    def __init__(self) -> None:
        self._running = b"{}"
        self._begun: dict[int, _Begun] = {}
        self._done: dict[int, bytes] = {}

    def see(self, event: wire.Event, data: bytes) -> None:
        place = event.output_index
        if event.delta is not None:
            if place in self._begun and isinstance(event.delta, str):
                self._begun[place].say(event)
        elif event.type == "response.output_item.added":
            self._begun[place] = _Begun(data)
        elif event.type == "response.output_item.done":
            self._begun.pop(place, None)
            self._done[place] = data
        elif event.response is not None:
            self._running = data
        elif event.type.endswith("_part.done") and place in self._begun:
            self._begun[place].closed.add(max(event.content_index, event.summary_index))

    def cut(self, usage: Wire, *, model: str) -> list[Wire]:
        """Return the events that end the answer here, as if its limit of tokens were reached."""
        events: list[Wire] = []
        output = {place: msgspec.json.decode(data)["item"] for place, data in self._done.items()}
        for place, begun in sorted(self._begun.items()):
            output[place] = item = begun.item()
            events += item_ends(item, place, frozenset(begun.closed))
        running: dict[str, Any] = msgspec.json.decode(self._running).get("response") or {}
        whole = incomplete(running, [output[place] for place in sorted(output)], usage, model)
        return [*events, {"type": "response.incomplete", "response": whole}]


def _say(item: Wire, kind: str, index: int, said: str) -> None:
    """Put a text into the part that it belongs to; parts before it are there."""
    name, part_type = _LISTS[kind]
    field = _TEXT_FIELDS.get(part_type, "text")
    parts: list[Wire] = item.setdefault(name, [])
    while len(parts) <= index:
        extra: Wire = {"annotations": [], "logprobs": []} if part_type == "output_text" else {}
        parts.append({"type": part_type, field: "", **extra})
    parts[index][field] = said
