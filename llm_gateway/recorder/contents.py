"""Make what a request said and was told ready to be kept: one answer, cleaned, bounded, sealed.

All of it is work of the recorder's thread; what a request itself does is hold on to the bytes.
"""

from collections.abc import Callable, Iterable
from typing import Any, Literal
from uuid import UUID

import msgspec
from msgspec import Struct
from typing_extensions import override

from llm_gateway.adapters import CHAT_ADAPTERS, sse
from llm_gateway.errors import GatewayError
from llm_gateway.guardrails.redaction import redact
from llm_gateway.insight.payloads import Payload, Side, sealed
from llm_gateway.recorder.trimmed import Trimmer
from llm_gateway.types import Call, Event

Wire = dict[str, Any]
Clean = Callable[[str], str]

# Of a stream as it went out: about ten times what is kept of its text.
MOST_OF_ANSWER = 2 * 2**20


class Contents(Struct, kw_only=True):
    """A request of a tenant that keeps contents, in the words of the caller's dialect.

    `asked` is its body as it came or as it was parsed; `pieces` are bytes of the answer, of which
    `answer_bytes` went out.
    """

    level: Literal["redacted", "full"]
    dialect: str
    asked: bytes | Wire
    call: Call | None = None
    streamed: bool = False
    pieces: list[bytes] = []
    answer_bytes: int = 0

    def hear(self, piece: bytes) -> None:
        """Remember a piece of the answer, as far as there is room."""
        self.answer_bytes += len(piece)
        if self.answer_bytes <= MOST_OF_ANSWER or not self.streamed:
            self.pieces.append(piece)

    @property
    def asked_bytes(self) -> int:
        """How many bytes the body had, 0 where nobody has counted them."""
        if self.call is not None:
            return self.call.size
        return len(self.asked) if isinstance(self.asked, bytes) else 0

    @property
    def size(self) -> int:
        """About how many bytes of memory it takes."""
        return self.asked_bytes + min(self.answer_bytes, MOST_OF_ANSWER)

    @override
    def __repr__(self) -> str:
        return f"Contents({self.level}, {self.asked_bytes} and {self.answer_bytes} bytes)"


def packed(contents: Contents, tenant_id: int, request_id: UUID) -> bytes:
    """Return what is kept of a request, sealed for its row."""
    clean = redact if contents.level == "redacted" else None
    payload = Payload(
        level=contents.level,
        dialect=contents.dialect,
        request=_side(_asked(contents), contents.asked_bytes, clean),
        answer=_answer(contents, clean) if contents.pieces else None,
    )
    return sealed(payload, tenant_id, request_id)


def _side(body: Any, size: int, clean: Clean | None) -> Side:  # noqa: ANN401 - JSON
    trimmer = Trimmer(clean)
    return Side(body=trimmer.copy(body), size=size, cut=trimmer.cut)


def _asked(contents: Contents) -> Any:  # noqa: ANN401 - JSON
    if contents.call is not None:
        return contents.call.body
    return contents.asked if isinstance(contents.asked, dict) else _parsed(contents.asked)


def _answer(contents: Contents, clean: Clean | None) -> Side:
    heard, size = b"".join(contents.pieces), contents.answer_bytes
    if not contents.streamed:
        return _side(_parsed(heard), size, clean)
    side = _side(assembled(contents, heard), size, clean)
    if len(heard) == size:
        return side
    return Side({**side.body, "…": "[cut: the rest of the stream]"}, size, cut=True)


def _parsed(body: bytes) -> Any:  # noqa: ANN401 - JSON
    """Return what JSON says; what is none is a text."""
    try:
        return msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return body.decode("utf-8", "replace")


# --- streams -----------------------------------------------------------------------------------


def assembled(contents: Contents, heard: bytes) -> Wire:
    """Return a stream as the whole answer that a client puts together of it.

    In pieces, as it came, nothing could be found in it that has to go.
    """
    adapter = CHAT_ADAPTERS.get(contents.dialect)
    frames = _frames(heard)
    if adapter is None or contents.call is None:
        return _joined(frames)
    events: list[Event] = []
    reader = adapter.reader()
    try:
        for frame in (*frames, b""):
            events.extend(reader.feed(frame))
    except GatewayError:  # the stream broke here; what came before was told
        pass
    call = contents.call
    whole = adapter.render_answer(events, call, model=call.model, request_id="")
    told: Wire = msgspec.json.decode(whole)
    return told


def _frames(heard: bytes) -> list[bytes]:
    try:
        return sse.Framer().feed(heard)
    except GatewayError:
        return []


def _joined(frames: Iterable[bytes]) -> Wire:
    """Return the last frame with the texts of all: of dialects that only callers speak."""
    last: Wire = {}
    texts: dict[int, str] = {}
    for frame in frames:
        said = _parsed(sse.frame_data(frame))
        if not isinstance(said, dict):
            continue
        last |= said
        choices = said.get("choices", [{"text": said.get("content", "")}])
        for place, choice in enumerate(choices):
            number = choice.get("index", place)
            texts[number] = texts.get(number, "") + choice.get("text", "")
    if "choices" not in last:
        return {**last, "content": texts.get(0, "")}
    told = [{"index": number, "text": texts[number]} for number in sorted(texts)]
    return {**last, "choices": told}
