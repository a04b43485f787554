"""What an adapter is: one wire protocol, both directions, pure.

Bytes and dicts in, values and bytes out; no sockets, clocks or settings. A caller's side is what
`edge` and `service` use towards the client; an upstream's side towards the provider. Same dialect
on both sides: `relay_*` pass bytes on and read only facts. Otherwise events cross over.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from llm_gateway.errors import GatewayError
from llm_gateway.types import (
    Call,
    ChatRequest,
    EmbeddingsAnswer,
    EmbeddingsRequest,
    Event,
    Facts,
    Outgoing,
    Quirks,
    Usage,
)


class Changes(Protocol):
    """What the gateway adds to a relayed body, and nothing else (contract §4)."""

    @property
    def upstream_name(self) -> str: ...
    @property
    def max_output_tokens(self) -> int | None:
        """Set only where a hard budget needs a bound."""
        ...


class Relay(Protocol):
    """Passes one answer of the same dialect on, byte for byte but for the model name."""

    facts: Facts

    def feed(self, frame: bytes) -> bytes:
        """Return the frame as the caller gets it; b'' where it is taken out. Updates `facts`.

        The empty frame says that the stream ended cleanly: some protocols have no other end.
        """
        ...

    def cut_short(self, call: Call, usage: Usage, *, created: int) -> bytes:
        """Return what ends the answer here as if its limit of tokens were reached."""
        ...


class EventReader(Protocol):
    """Reads one upstream stream into events; the empty frame is its end, as for a Relay."""

    facts: Facts

    def feed(self, frame: bytes) -> Iterable[Event]: ...


class EventWriter(Protocol):
    """Writes events as one answer of the caller's dialect."""

    def feed(self, event: Event) -> bytes:
        """Return the SSE bytes this event becomes; b'' where it has none."""
        ...

    def end(self) -> bytes:
        """Return the terminal bytes ([DONE], message_stop), usage included where it belongs."""
        ...


class Upstream(Protocol):
    """A provider's side of a protocol. Every function is pure; modules fulfil these protocols."""

    @property
    def name(self) -> str: ...

    def parse_error(self, status: int, headers: Mapping[str, str], body: bytes) -> GatewayError: ...


class Adapter(Upstream, Protocol):
    """A dialect of callers: read the steering fields, send the body on, pass the answer back."""

    # the caller's side
    def parse_call(self, body: dict[str, Any], *, size: int) -> Call: ...
    def render_error(self, error: GatewayError, *, request_id: str) -> dict[str, Any]: ...

    # the upstream's side
    def render_relay(self, call: Call, changes: Changes, quirks: Quirks) -> Outgoing: ...
    def relay_answer(self, body: bytes, *, model: str) -> tuple[bytes, Facts]: ...


class ChatUpstream(Upstream, Protocol):
    """A provider of chats, asked in the hub's words; a reader carries one answer's state.

    The service sets `model`, `stream`, `window` and a bound of `max_tokens` on the request itself.
    """

    def render_request(
        self, request: ChatRequest, quirks: Quirks, *, default_max_tokens: int
    ) -> Outgoing: ...
    def reader(self) -> EventReader: ...
    def read_answer(self, body: bytes) -> tuple[list[Event], Facts]: ...


class ChatAdapter(Adapter, ChatUpstream, Protocol):
    """A chat dialect of callers and providers; a writer carries one answer's state.

    `created` (Unix seconds) stands in an answer whose provider gave no time. `words` are the fields
    that this dialect calls otherwise than `openai_chat` does.
    """

    @property
    def words(self) -> Mapping[str, str]: ...

    # the caller's side
    def parse_request(self, body: dict[str, Any]) -> ChatRequest: ...
    def writer(
        self, call: Call, *, model: str, request_id: str, created: int = 0
    ) -> EventWriter: ...
    def render_answer(
        self,
        events: Iterable[Event],
        call: Call,
        *,
        model: str,
        request_id: str,
        created: int = 0,
    ) -> bytes: ...
    def render_stream_error(
        self, error: GatewayError, *, request_id: str, after: bytes = b""
    ) -> bytes:
        """Return the event that ends a broken stream; `after` is what the caller got last."""
        ...

    # the upstream's side
    def relay(self, call: Call, *, model: str) -> Relay: ...


class CountingAdapter(ChatAdapter, Protocol):
    """A chat dialect that has a question for the tokens of a request."""

    # the caller's side
    def render_counted(self, tokens: int) -> bytes: ...

    # the upstream's side
    def render_count(self, request: ChatRequest, quirks: Quirks) -> Outgoing: ...
    def read_count(self, body: bytes) -> int: ...


class EmbeddingsUpstream(Upstream, Protocol):
    """A provider of embeddings, asked in the hub's words; the service sets `model`."""

    def render_request(self, request: EmbeddingsRequest, quirks: Quirks) -> Outgoing: ...
    def read_answer(self, body: bytes) -> tuple[EmbeddingsAnswer, Facts]: ...


class EmbeddingsAdapter(Adapter, EmbeddingsUpstream, Protocol):
    """An embeddings dialect: a call may be more inputs than a provider takes at once, or fewer."""

    # the caller's side
    def parse_request(self, body: dict[str, Any]) -> EmbeddingsRequest: ...
    def render_answer(
        self,
        answer: EmbeddingsAnswer,
        call: Call,
        *,
        model: str,
        request_id: str,
        created: int = 0,
    ) -> bytes: ...
    def split(self, call: Call, quirks: Quirks) -> list[Call]: ...
    def likeness(self, call: Call) -> object:
        """Return all but its inputs: calls that are equal in it may be merged."""
        ...

    def merge(self, calls: Sequence[Call]) -> Call: ...
    def join(self, bodies: Sequence[bytes], usage: Usage) -> bytes: ...
    def cut(
        self, body: bytes, calls: Sequence[Call], usage: Usage | None
    ) -> list[tuple[bytes, Usage | None]]: ...
