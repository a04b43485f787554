"""Build scripts of the upstream in words: what a test says an upstream does.

Scripts add up and can be changed: `gated("go") + failing(500)`, `answer("hi").but(bill="sent")`.
"""

from base64 import b64encode
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

Step = dict[str, Any]
How = Literal["fin", "rst", "short_length"]


@dataclass(frozen=True, slots=True)
class Script:
    """What one call gets; the fields are those of the server's script, None its default.

    `usage` is an object to report or generated, absent, zero, negative, nan, text, huge, twice,
    decreasing, misplaced; `bill` is full, generated, sent, reported or none.
    """

    steps: tuple[Step, ...] = ()
    text: int | tuple[str, ...] | None = None
    calls: tuple[tuple[str, str], ...] | None = None
    usage: str | dict[str, Any] | None = None
    bill: str | None = None
    obeys_limit: bool | None = None
    cache_read: int | None = None
    cache_write: int | None = None

    def __add__(self, other: "Script") -> "Script":
        """Return first these steps, then the other's; what the other sets holds."""
        told = other.described() | {"steps": self.steps + other.steps}
        return replace(self, **told)

    def but(self, **changes: Any) -> "Script":
        return replace(self, **changes)

    def described(self) -> dict[str, Any]:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}


# --- answers ----------------------------------------------------------------------------------


def answer(text: str) -> Script:
    """Answer with this text, whole or streamed as the request asks; a word is a token."""
    words = text.split(" ")
    return Script(text=tuple(word if i == 0 else f" {word}" for i, word in enumerate(words)))


def stream(*pieces: str) -> Script:
    """Answer with these pieces verbatim: one event, one token each."""
    return Script(text=pieces)


def words(count: int) -> Script:
    return Script(text=count)


def calling(*calls: tuple[str, str], text: int = 0) -> Script:
    """Ask for tools, each by name and JSON arguments, after that many words."""
    return Script(text=text, calls=calls)


# --- refusals ---------------------------------------------------------------------------------


def failing(status: int, message: str | None = None, **headers: str) -> Script:
    """Answer with an error in the dialect's own shape; a header's `_` is written `-`."""
    error: Step = {"status": status}
    if message is not None:
        error["message"] = message
    lines = [{"header": [name.replace("_", "-"), value]} for name, value in headers.items()]
    return Script(steps=(*lines, {"error": error}))


def throttled(retry_after_s: float | str | None = None) -> Script:
    if retry_after_s is None:
        return failing(429)
    return failing(429, retry_after=str(retry_after_s))


def error_in_stream(after_events: int, status: int = 529, message: str = "Overloaded") -> Script:
    """Begin with 200, then an error event in the dialect's own shape and no proper end."""
    error = {"status": status, "message": message}
    return Script(steps=({"status": 200}, {"events": after_events}, {"error": error}), bill="sent")


# --- silence and slowness -----------------------------------------------------------------------


def stalled(after_events: int | None = None) -> Script:
    """Say nothing at all, or nothing more after that many events (0: after the head)."""
    if after_events is None:
        return Script(steps=({"stall": True},))
    return Script(steps=({"head": True}, {"events": after_events}, {"stall": True}))


def gated(gate: str, after_events: int | None = None) -> Script:
    """Wait for `open_gate(gate)` before the head, or after that many events."""
    if after_events is None:
        return Script(steps=({"gate": gate},))
    return Script(steps=({"head": True}, {"events": after_events}, {"gate": gate}))


def delayed(ms: float) -> Script:
    return Script(steps=({"wait_ms": ms},))


def paced(every_ms: float) -> Script:
    """Pause after every event."""
    return Script(steps=({"events": None, "every_ms": every_ms},))


def dripping(bytes_per_s: int) -> Script:
    return Script(steps=({"rate": bytes_per_s},))


def split(size: int) -> Script:
    """Write the answer in pieces of that many bytes."""
    return Script(steps=({"split": size},))


def lines_ending(end: str) -> Script:
    """End the lines of a stream so, whatever the dialect's own ends are."""
    return Script(steps=({"line_end": end},))


# --- broken answers -----------------------------------------------------------------------------


def cut(how: How = "fin", *, at_event: int | None = None, at_byte: int | None = None) -> Script:
    """Close the connection: at once, or when that many events or bytes of the body are out."""
    step: Step = {"cut": how}
    if at_event is not None:
        step["at_event"] = at_event
    if at_byte is not None:
        step["at_byte"] = at_byte
    return Script(steps=(step,), bill="sent")


def ended_early(after_events: int) -> Script:
    """End the answer cleanly, without the provider's terminal event."""
    return Script(steps=({"events": after_events}, {"end": True}), bill="sent")


def raw(
    payload: bytes, *, bare: bool = False, content_type: str | None = None, status: int = 200
) -> Script:
    """Send these bytes as the whole body; `bare` ones in place of the head as well."""
    sent: Step = {"raw": b64encode(payload).decode(), "bare": bare}
    kind = [] if content_type is None else [{"header": ["Content-Type", content_type]}]
    return Script(steps=({"status": status}, *kind, sent, {"end": True}))


def poured(piece: bytes, total: int, *, before: bytes = b"", bare: bool = False) -> Script:
    """Send one piece again and again: a body, a line or, `bare`, a head that does not end."""
    steps: list[Step] = []
    if before:
        steps.append({"raw": b64encode(before).decode(), "bare": bare})
    steps.append({"raw": b64encode(piece).decode(), "bare": bare, "total": total})
    return Script(steps=(*steps, {"end": True}))


def packed(payload: bytes, coding: str, status: int = 200) -> Script:
    """Answer with bytes that say themselves how they are packed."""
    coded: Step = {"header": ["Content-Encoding", coding]}
    return Script(steps=(coded,)) + raw(payload, status=status)


def garbage(size: int = 200) -> Script:
    return Script(steps=({"garbage": size}, {"end": True}))


def gzip_bomb(unpacked_bytes: int) -> Script:
    return Script(steps=({"gzip_bomb": unpacked_bytes},))
