"""Name the values between a wire protocol and the player: no sockets, no clock, no state."""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

Json = dict[str, Any]

CREATED = 1_700_000_000  # the same in every answer, so that answers can be compared
CANARY = re.compile(r"CANARY-[a-z0-9-]+-[0-9a-f]{8,}")
MARKER = re.compile(r"\[\[script:([^\]]+)\]\]")


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the upstream must know of a request; one word is one token."""

    model: str
    tokens: int
    text: str = ""
    last_user: str = ""
    stream: bool = False
    limit: int | None = None
    choices: int = 1
    wants_usage: bool = True


@dataclass(frozen=True, slots=True)
class Tokens:
    """What one call really used. `input` includes `cache_read` and `cache_write`."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0


class ToolCall(NamedTuple):
    """A tool the model asks for; `arguments` is JSON text. It is one token."""

    id: str
    name: str
    arguments: str

    def halves(self) -> tuple[str, str]:
        """Return the arguments as they are streamed: in two parts that are no JSON yet."""
        middle = len(self.arguments) // 2
        return self.arguments[:middle], self.arguments[middle:]


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer before it is put into a protocol; each piece is one token.

    `usages` are the usage objects to report, in order; `usage_path` says where they are put.
    """

    n: int
    prompt: Prompt
    body: Json
    pieces: tuple[str, ...]
    calls: tuple[ToolCall, ...]
    finish: str  # stop | length | tool_calls
    tokens: Tokens
    usages: tuple[Json, ...]
    usage_path: tuple[str, ...] = ("usage",)


class Event(NamedTuple):
    """One flush of an answer: its bytes, the tokens they carry and the usage they report."""

    payload: bytes
    tokens: int = 0
    usage: Json | None = None


class Dialect(Protocol):
    """A wire protocol. `billable` says whether its calls cost anything."""

    name: str
    billable: bool

    def read(self, body: Json) -> Prompt: ...
    def usage(self, tokens: Tokens) -> Json: ...
    def tokens(self, usage: Json) -> Tokens: ...
    def whole(self, answer: Answer) -> list[Event]: ...
    def stream(self, answer: Answer) -> list[Event]: ...
    def error(self, status: int, message: str) -> Json: ...
    def error_event(self, error: Json) -> bytes: ...


def dump(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def data(value: Any) -> bytes:
    return b"data: " + dump(value) + b"\n\n"


def texts(value: Any) -> Iterator[str]:
    """Yield every text of a message tree: strings, and the texts inside lists and parts."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)
    elif isinstance(value, dict):
        yield from texts(value.get("text"))
        yield from texts(value.get("content"))


def words(value: Any) -> int:
    return sum(len(text.split()) for text in texts(value))


def last_user(messages: Sequence[Any]) -> str:
    for message in reversed(messages):
        if isinstance(message, dict) and message.get("role") == "user":
            return " ".join(texts(message.get("content")))
    return ""


def placed(usage: Json, path: tuple[str, ...]) -> Json:
    """Return the usage object under the given path of keys."""
    value = usage
    for key in reversed(path):
        value = {key: value}
    return value


def _leaves(value: Any, change: Callable[[int], Any]) -> Any:
    if isinstance(value, dict):
        return {key: _leaves(item, change) for key, item in value.items()}
    return change(value) if isinstance(value, int) else value


def _all(change: Callable[[int], Any]) -> Callable[[Json], list[Json]]:
    return lambda usage: [_leaves(usage, change)]


# What a usage object can be made into: the objects that are reported instead of it, in order.
USAGE_VARIANTS: dict[str, Callable[[Json], list[Json]]] = {
    "generated": lambda usage: [usage],
    "misplaced": lambda usage: [usage],
    "absent": lambda _usage: [],
    "zero": _all(lambda _value: 0),
    "negative": _all(lambda value: -value - 1),
    "nan": _all(lambda _value: float("nan")),
    "text": _all(str),
    "huge": _all(lambda _value: 2**63),
    "twice": lambda usage: [usage, usage],
    "decreasing": lambda usage: [_leaves(usage, lambda value: value * 2 + 1), usage],
}
