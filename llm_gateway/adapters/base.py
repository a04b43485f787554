"""What an adapter is: one wire protocol, both directions, pure.

Bytes and dicts in, values and bytes out; no sockets, clocks or settings. A caller's side is what
`edge` and `service` use towards the client; an upstream's side towards the provider. Same dialect
on both sides: `relay_*` pass bytes on and read only facts. Otherwise events cross over.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from llm_gateway.errors import GatewayError
from llm_gateway.types import Call, ChatRequest, Event, Facts, Outgoing, Quirks


class Changes(Protocol):
    """What the gateway adds to a relayed body, and nothing else (contract §4)."""

    upstream_name: str
    max_output_tokens: int | None  # set only where a hard budget needs a bound


class Relay(Protocol):
    """Passes one answer of the same dialect on, byte for byte but for the model name."""

    facts: Facts

    def feed(self, frame: bytes) -> bytes:
        """Return the frame as the caller gets it; b'' where it is taken out. Updates `facts`."""
        ...


class EventReader(Protocol):
    """Reads one upstream stream into events."""

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


class ChatAdapter(Protocol):
    """A chat dialect. Every function is pure; readers and writers carry one answer's state."""

    name: str

    # the caller's side
    def parse_call(self, body: dict[str, Any], *, size: int) -> Call: ...
    def parse_request(self, body: dict[str, Any]) -> ChatRequest: ...
    def writer(self, call: Call, *, model: str, request_id: str) -> EventWriter: ...
    def render_answer(self, events: Iterable[Event], call: Call, *, model: str, request_id: str) -> bytes: ...
    def render_error(self, error: GatewayError, *, request_id: str) -> dict[str, Any]: ...
    def render_stream_error(self, error: GatewayError, *, request_id: str) -> bytes: ...

    # the upstream's side
    def render_relay(self, call: Call, changes: Changes, quirks: Quirks) -> Outgoing: ...
    def render_request(self, request: ChatRequest, quirks: Quirks) -> Outgoing: ...
    def relay(self, call: Call, *, model: str) -> Relay: ...
    def relay_answer(self, body: bytes, *, model: str) -> tuple[bytes, Facts]: ...
    def reader(self) -> EventReader: ...
    def read_answer(self, body: bytes) -> tuple[list[Event], Facts]: ...
    def parse_error(self, status: int, headers: Mapping[str, str], body: bytes) -> GatewayError: ...
