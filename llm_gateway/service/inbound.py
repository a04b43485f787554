"""What a door hands to the service, and what it gets back; the same for every door."""

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Literal, Protocol
from uuid import UUID

from msgspec import Struct

from llm_gateway.errors import GatewayError
from llm_gateway.prompts.answer_schema import Expected
from llm_gateway.types import Call
from tenants.types import Caller

Headers = list[tuple[bytes, bytes]]


class Controls(Struct, frozen=True, kw_only=True):
    """Gateway controls of one request; of a public dialect from its headers, never its body."""

    waits: Mapping[str, float] = {}  # connect, first_token, idle, total: seconds at most
    strategy: str | None = None
    further: tuple[str, ...] = ()  # models to go on to after the one asked for
    fallbacks: bool = True
    provider: str | None = None
    cache: Literal["no-cache", "no-store"] | None = None
    tags: Mapping[str, str] = {}
    run: str | None = None
    hops: int = 0


class Idempotency(Struct, frozen=True):
    """The key under which a request is to run once; `fingerprint` says what it asks."""

    key: str
    fingerprint: str


class Door(Protocol):
    """What a door needs of a dialect: the caller's side of an adapter."""

    name: str

    def parse_call(self, body: dict[str, Any], *, size: int) -> Call: ...
    def render_error(self, error: GatewayError, *, request_id: str) -> dict[str, Any]: ...


class Inbound(Struct, frozen=True, kw_only=True):
    """One client request: who, what, how. `body` is raw bytes, or an object already parsed.

    `started` is monotonic seconds; `door` is the adapter of the caller's dialect. `passed_on` are
    headers meant for the provider, such as anthropic-beta: sent where it speaks the same dialect.
    `named` is what the path says and the body does not, as arguments of the door's `parse_call`.
    `conversation` is the native one that it is a turn of. `expects` is what the answer has to be,
    where the door asks for a shape. `has_left` says whether the caller hung up meanwhile.
    """

    request_id: UUID
    caller: Caller
    door: Any  # a Door; chat doors are ChatAdapters
    operation: str
    endpoint: str
    body: bytes | dict[str, Any]
    started: float
    controls: Controls = Controls()
    passed_on: tuple[tuple[str, str], ...] = ()
    idempotency: Idempotency | None = None
    conversation: str | None = None
    expects: Expected | None = None
    has_left: Callable[[], bool] = lambda: False
    named: Mapping[str, Any] = {}


class Answer(Struct, kw_only=True):
    """What the caller gets: a whole `body`, or `chunks` whose end waits for the ledger.

    `on_gone` tells the service that the caller left. `cost_nano` is what it has cost so far: a
    stream's whole cost once its last chunk is there.
    """

    headers: Headers
    body: bytes = b""
    chunks: AsyncIterator[bytes] | None = None
    on_gone: Callable[[], None] = lambda: None
    cost_nano: Callable[[], int] = lambda: 0


class Unfinished(Exception):  # noqa: N818 - the caller was told inside the stream
    """A running stream broke; what had to be said was said, and there is no clean end."""
