"""Write events as an Anthropic answer, streamed or whole from the same block events."""

from collections.abc import Iterable
from typing import Any

import msgspec

from llm_gateway.adapters import sse
from llm_gateway.adapters.anthropic_messages.blocks_out import BlockEvents, WholeBlocks
from llm_gateway.adapters.anthropic_messages.wire import render_usage
from llm_gateway.types import Call, Event, Finish, Start, Usage, UsageSeen

_PREFIX = "msg_"
_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
    "refusal": "refusal",
    "pause": "pause_turn",
}
Wire = dict[str, Any]


def writer(call: Call, *, model: str, request_id: str, created: int = 0) -> "MessageWriter":
    """Return a writer of one stream; the protocol has no place for `created`."""
    del call, created
    return MessageWriter(Frame(model, request_id))


class Frame:
    """What stands around the blocks: who answered, why it ended, what was used."""

    __slots__ = ("_finish", "_id", "_model", "_usage")

    def __init__(self, model: str, request_id: str) -> None:
        self._model, self._id = model, _PREFIX + request_id
        self._finish = Finish(reason="stop")
        self._usage = Usage()

    def takes(self, event: Event) -> bool:
        """Take what is no part of a block; False leaves the event to the blocks."""
        match event:
            case Start(id=given):
                if given:
                    self._id = given if given.startswith(_PREFIX) else _PREFIX + given
            case UsageSeen(usage=usage):
                self._usage = usage
            case Finish(choice=0):
                self._finish = event
            case _:
                return False
        return True

    def message(self, content: list[Wire], *, ended: bool) -> Wire:
        ending = self.ending() if ended else dict.fromkeys(self.ending())
        return {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": content,
            **ending,
            "usage": self.usage(),
        }

    def ending(self) -> Wire:
        sequence = self._finish.stop_sequence
        stopped = self._finish.reason == "stop" and sequence is not None
        return {
            "stop_reason": "stop_sequence" if stopped else _REASONS[self._finish.reason],
            "stop_sequence": sequence,
            "stop_details": None,
            "container": None,
        }

    def usage(self) -> Wire:
        return render_usage(self._usage)


class MessageWriter:
    """One stream. message_delta with reason and usage, and message_stop, wait for `end`."""

    __slots__ = ("_begun", "_blocks", "_frame")

    def __init__(self, frame: Frame) -> None:
        self._frame = frame
        self._blocks = BlockEvents()
        self._begun = False

    def feed(self, event: Event) -> bytes:
        if self._frame.takes(event):
            return b""
        events = self._blocks.of(event)
        return self._opening() + b"".join(map(_event, events)) if events else b""

    def end(self) -> bytes:
        last = {
            "type": "message_delta",
            "delta": self._frame.ending(),
            "usage": self._frame.usage(),
        }
        events = (*self._blocks.close(), last, {"type": "message_stop"})
        return self._opening() + b"".join(map(_event, events))

    def _opening(self) -> bytes:
        if self._begun:
            return b""
        self._begun = True
        message = self._frame.message([], ended=False)
        return _event({"type": "message_start", "message": message})


def render_answer(
    events: Iterable[Event], call: Call, *, model: str, request_id: str, created: int = 0
) -> bytes:
    """Return the whole answer that a client would have put together from the stream."""
    del call, created
    frame, blocks, whole = Frame(model, request_id), BlockEvents(), WholeBlocks()
    for event in events:
        if not frame.takes(event):
            for block_event in blocks.of(event):
                whole.add(block_event)
    return msgspec.json.encode(frame.message(whole.done(), ended=True))


def _event(value: Wire) -> bytes:
    return sse.event(value["type"], msgspec.json.encode(value))
