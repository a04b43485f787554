"""Look at an answer event by event, whole or streamed: one path for both.

A text is held back as far as a match may still grow in it. What a tool is called with is looked
at once it is there: half of a JSON text cannot be rewritten.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from llm_gateway.guardrails.bodies import arguments_guarded
from llm_gateway.guardrails.window import Looker, Window, looked_at
from llm_gateway.types import (
    Citation,
    End,
    Event,
    Finish,
    Logprobs,
    RefusalDelta,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    ToolCallStart,
)

Said = TextDelta | ThinkingDelta | RefusalDelta


class _Call(Struct):
    start: ToolCallStart | None = None  # None: it was told before, with text between
    arguments: list[str] = []


class _Choice:
    """What one choice of an answer has said and not told yet."""

    def __init__(self) -> None:
        self.kind: type[Any] | None = None  # of the text that is open
        self.window: Window | None = None
        self.calls: dict[int, _Call] = {}
        self.changed = False


class AnswerGuard:
    """Stands between who reads an answer and who writes it for its caller."""

    def __init__(self, lookers: Sequence[Looker]) -> None:
        self.lookers = lookers
        self.rewrites = any(one.action != "flag" for one in lookers)
        self._choices: dict[int, _Choice] = {}

    def all(self, events: Iterable[Event]) -> list[Event]:
        """Return the events of an answer that is over. Raises ContentBlockedError."""
        return [*(told for one in events for told in self.feed(one)), *self.end()]

    def feed(self, event: Event) -> Iterator[Event]:
        """Yield what may be told now. Raises ContentBlockedError."""
        match event:
            case TextDelta() | ThinkingDelta() | RefusalDelta():
                yield from self._say(event)
            case ToolCallStart():
                choice = self._choice(event.choice)
                yield from _closed(choice, event.choice)
                choice.calls[event.index] = _Call(event)
            case ToolCallDelta():
                calls = self._choice(event.choice).calls
                calls.setdefault(event.index, _Call()).arguments.append(event.arguments)
            case Logprobs():
                pass  # they spell the text, in pieces in which nothing would be found
            case Citation():
                yield self._cited(event)
            case Finish():
                yield from self._over(event.choice)
                yield event
            case End():
                yield from self.end()
                yield event
            case _:
                yield event

    def end(self) -> Iterator[Event]:
        """Yield what is still held back. Raises ContentBlockedError."""
        for number in self._choices:
            yield from self._over(number)

    def _choice(self, number: int) -> _Choice:
        return self._choices.setdefault(number, _Choice())

    def _say(self, event: Said) -> Iterator[Event]:
        choice = self._choice(event.choice)
        if choice.kind is not type(event):
            yield from self._over(event.choice)
            choice.kind, choice.window = type(event), Window(self.lookers)
        assert choice.window is not None  # noqa: S101 - opened with its kind
        text = choice.window.feed(event.text)
        if isinstance(event, RefusalDelta) or _is_plain(event):
            if text:
                yield replace(event, text=text)
            return
        # What is signed is all of the text before it.
        text += choice.window.end()
        signed = not choice.window.changed
        yield replace(event, text=text) if signed else replace(event, text=text, signature=None)

    def _over(self, number: int) -> Iterator[Event]:
        choice = self._choice(number)
        yield from _closed(choice, number)
        for index, call in sorted(choice.calls.items()):
            if call.start is not None:
                yield call.start
            said = arguments_guarded("".join(call.arguments), self.lookers)
            yield ToolCallDelta(index=index, arguments=said, choice=number)
        choice.calls.clear()

    def _cited(self, event: Citation) -> Citation:
        choice = self._choice(event.choice)
        changed = choice.changed or (choice.window is not None and choice.window.changed)
        said = {
            name: None if text is None else looked_at(text, self.lookers)
            for name, text in (("title", event.title), ("quote", event.quote))
        }
        # The places are those of the text as it was.
        return replace(event, **said, **({"start": None, "end": None} if changed else {}))


def _closed(choice: _Choice, number: int) -> Iterator[Event]:
    """Yield the rest of the text that is open, and close it."""
    if choice.window is None or choice.kind is None:
        return
    text = choice.window.end()
    choice.changed |= choice.window.changed
    kind, choice.kind, choice.window = choice.kind, None, None
    if text:
        yield kind(text=text, choice=number)


def _is_plain(event: TextDelta | ThinkingDelta) -> bool:
    return event.signature is None and getattr(event, "redacted", None) is None
