"""Write events as a responses answer, streamed or whole from the same items."""

from collections.abc import Iterable

import msgspec

from llm_gateway.adapters.openai_responses.items_out import Items
from llm_gateway.adapters.openai_responses.response import Head, Wire, render_event
from llm_gateway.adapters.openai_responses.wire import render_usage
from llm_gateway.types import Call, Event, Finish, Start, Usage, UsageSeen

_CUT = {"length", "content_filter"}


def writer(call: Call, *, model: str, request_id: str, created: int = 0) -> "ResponseWriter":
    """Return a writer of one stream; `created` stands in where the provider gave no time."""
    return ResponseWriter(Head(call, model, request_id, created))


class Frame:
    """What stands around the items: who answered, why it ended, what was used."""

    __slots__ = ("head", "items", "reason", "usage")

    def __init__(self, head: Head) -> None:
        self.head = head
        self.items = Items(head.suffix)
        self.reason = "stop"
        self.usage = Usage()

    def takes(self, event: Event) -> bool:
        """Take what is no part of an item; False leaves the event to the items."""
        match event:
            case Start(created=created):
                self.head.start(created)
            case UsageSeen(usage=usage):
                self.usage = usage
            case Finish(choice=0, reason=reason):
                self.reason = reason
            case _:
                return False
        return True

    def end(self) -> tuple[list[Wire], Wire]:
        """Return the events that end what goes on, and the whole response."""
        closed = self.items.close("incomplete" if self.reason in _CUT else "completed")
        usage = render_usage(self.usage)
        return closed, self.head.ended(self.items.output, usage, self.reason)


class ResponseWriter:
    """One stream. What ends items and the response, with its usage, waits for `end`."""

    __slots__ = ("_begun", "_frame", "_next")

    def __init__(self, head: Head) -> None:
        self._frame = Frame(head)
        self._begun = False
        self._next = 0  # number of the next event

    def feed(self, event: Event) -> bytes:
        if self._frame.takes(event):
            return b""
        events = self._frame.items.of(event)
        return self._write([*self._opening(), *events]) if events else b""

    def end(self) -> bytes:
        opening = self._opening()
        closed, response = self._frame.end()
        last = {"type": f"response.{response['status']}", "response": response}
        return self._write([*opening, *closed, last])

    def _opening(self) -> list[Wire]:
        if self._begun:
            return []
        self._begun = True
        running = self._frame.head.running()
        return [
            {"type": f"response.{name}", "response": running} for name in ("created", "in_progress")
        ]

    def _write(self, events: list[Wire]) -> bytes:
        first, self._next = self._next, self._next + len(events)
        return b"".join(render_event(event, number) for number, event in enumerate(events, first))


def render_answer(
    events: Iterable[Event], call: Call, *, model: str, request_id: str, created: int = 0
) -> bytes:
    """Return the whole answer that a client would have put together from the stream."""
    frame = Frame(Head(call, model, request_id, created))
    for event in events:
        if not frame.takes(event):
            frame.items.of(event)
    _closed, response = frame.end()
    return msgspec.json.encode(response)
