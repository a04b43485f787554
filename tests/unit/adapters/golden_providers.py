"""Play what a provider answers in words that no caller speaks, or with an accent of its own.

A case is a folder `tests/golden_providers/<kind>/<case>/`, written by us in the provider's shapes:
`request.<dialect>.json` (a client's body) and what the provider answers: `upstream.json`,
`upstream.sse`, `upstream.ndjson`, or `upstream.events.json` for Amazon's binary messages, as a list
of [event type, payload]. The rest is what must come of it: `sent.json`, the request as the row of
that kind has it sent; `refused.json`, what the target has no word for; `events.json`, and
`client.<dialect>.*`. `python -m tests.unit.adapters.golden_providers` writes what is missing; read
it before it is committed.
"""

import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from llm_gateway.adapters import (
    ADAPTERS,
    CHAT_ADAPTERS,
    CHAT_UPSTREAMS,
    EMBEDDINGS_ADAPTERS,
    EMBEDDINGS_UPSTREAMS,
    eventstream,
    ndjson,
    sse,
)
from llm_gateway.adapters.base import ChatAdapter, ChatUpstream
from llm_gateway.adapters.crossing import cross
from llm_gateway.adapters.framing import Framing
from llm_gateway.errors import GatewayError, UnexpressibleError
from llm_gateway.providers.catalog import CATALOG
from llm_gateway.providers.row import Speech, address_of, speech_at
from llm_gateway.types import Call, Event, Facts, Outgoing
from tests.unit.adapters.golden import (
    CREATED,
    LIMIT,
    MODEL,
    REQUEST_ID,
    events_json,
    failure,
    pretty,
    whole,
)

ROOT = Path(__file__).parents[2] / "golden_providers"
UPSTREAM_NAME, WINDOW = "upstream-name", 8192
FRAMERS: dict[str, Callable[[], Framing]] = {
    "upstream.sse": sse.Framer,
    "upstream.ndjson": ndjson.Framer,
    "upstream.events.json": eventstream.Framer,
}
# Where a kind without an address of its own is called in these cases.
REGION = {"region": "eu-central-1"}


class Case:
    """One folder: who asks what, of whom, and what comes back."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.kind = folder, folder.parent.name
        request = next(folder.glob("request.*.json"))
        self.dialect = request.name.split(".")[1]
        self.body: dict[str, Any] = json.loads(request.read_bytes())

    @property
    def id(self) -> str:
        return f"{self.kind}/{self.folder.name}"

    @property
    def speech(self) -> Speech:
        row = CATALOG[self.kind]
        return speech_at(row, address_of(row, "", REGION), REGION)

    @property
    def call(self) -> Call:
        return ADAPTERS[self.dialect].parse_call(self.body, size=len(json.dumps(self.body)))

    @property
    def upstream(self) -> ChatUpstream:
        return CHAT_UPSTREAMS[self.speech.adapters["chat"]]

    @property
    def stream(self) -> tuple[bytes, Callable[[], Framing]] | None:
        """Return the bytes of a streamed answer and what cuts them, None for a whole one."""
        for name, framer in FRAMERS.items():
            path = self.folder / name
            if path.exists():
                return binary(path) if name.endswith(".json") else path.read_bytes(), framer
        return None


def cases() -> list[Case]:
    return [Case(path) for path in sorted(ROOT.glob("*/*")) if path.is_dir()]


def binary(path: Path) -> bytes:
    """Return a list of events as Amazon's binary messages."""
    return b"".join(packed(kind, payload) for kind, payload in json.loads(path.read_bytes()))


def packed(kind: str, payload: Any) -> bytes:
    """Return one message; a kind that ends in Exception is one."""
    about = (
        {":exception-type": kind, ":message-type": "exception"}
        if kind.endswith("Exception")
        else {":event-type": kind, ":message-type": "event"}
    )
    headers = b"".join(
        struct.pack(">B", len(name)) + name.encode() + struct.pack(">BH", 7, len(value))
        + value.encode()
        for name, value in {**about, ":content-type": "application/json"}.items()
    )  # fmt: skip
    body = json.dumps(payload, separators=(",", ":")).encode()
    lengths = struct.pack(">II", 16 + len(headers) + len(body), len(headers))
    message = lengths + struct.pack(">I", zlib.crc32(lengths)) + headers + body
    return message + struct.pack(">I", zlib.crc32(message))


def outputs(case: Case) -> dict[str, bytes]:
    """Return every file that follows from the inputs, by name."""
    if case.dialect in EMBEDDINGS_ADAPTERS:
        return embeddings(case)
    door = CHAT_ADAPTERS[case.dialect]
    written = request_of(case, door)
    if case.stream is not None:
        return written | streamed(case, frames_of(case))
    events, facts = case.upstream.read_answer((case.folder / "upstream.json").read_bytes())
    written["events.json"] = events_json(events, facts)
    for name, adapter in CHAT_ADAPTERS.items():
        written[f"client.{name}.json"] = whole(adapter, events, case.call)
    return written


def request_of(case: Case, door: ChatAdapter) -> dict[str, bytes]:
    asked = door.parse_request(case.body)
    asked = replace(asked, model=UPSTREAM_NAME, stream=True, window=WINDOW)
    try:
        out = cross(door, case.upstream, asked, case.speech.quirks, default_max_tokens=LIMIT)
    except UnexpressibleError as error:
        named = {"param": error.param, "message": error.message}
        return {"refused.json": msgspec.json.encode(named)}
    return {"sent.json": sent(out)}


def sent(out: Outgoing) -> bytes:
    return msgspec.json.encode(
        {"path": out.path, "headers": out.headers, "body": msgspec.Raw(out.body)}
    )


def embeddings(case: Case) -> dict[str, bytes]:
    door = EMBEDDINGS_ADAPTERS[case.dialect]
    upstream = EMBEDDINGS_UPSTREAMS[case.speech.adapters["embeddings"]]
    asked = replace(door.parse_request(case.body), model=UPSTREAM_NAME)
    answer, facts = upstream.read_answer((case.folder / "upstream.json").read_bytes())
    told = door.render_answer(answer, case.call, model=MODEL, request_id=REQUEST_ID)
    return {
        "sent.json": sent(upstream.render_request(asked, case.speech.quirks)),
        "events.json": events_json((), facts),
        f"client.{case.dialect}.json": told,
    }


def frames_of(case: Case, pieces: list[bytes] | None = None) -> list[bytes]:
    assert case.stream is not None
    body, make = case.stream
    framer = make()
    return [frame for piece in pieces or [body] for frame in framer.feed(piece)]


def streamed(case: Case, frames: list[bytes]) -> dict[str, bytes]:
    """Return what a stream becomes; an error in it ends it in the caller's dialect."""
    events, facts = read(case.upstream, frames)
    written = {"events.json": events_json(events, facts)}
    for name, adapter in CHAT_ADAPTERS.items():
        writer = adapter.writer(case.call, model=MODEL, request_id=REQUEST_ID, created=CREATED)
        body = b"".join(map(writer.feed, events))
        body += failure(adapter, facts) if facts.error else writer.end()
        written[f"client.{name}.sse"] = body
    return written


def read(upstream: ChatUpstream, frames: list[bytes]) -> tuple[list[Event], Facts]:
    reader, events = upstream.reader(), list[Event]()
    try:
        for frame in frames:
            events += reader.feed(frame)
    except GatewayError as error:
        assert error is reader.facts.error  # noqa: PT017  any other error is a failure
    return events, reader.facts


if __name__ == "__main__":
    for one in cases():
        for file, made in outputs(one).items():
            if not (one.folder / file).exists():
                (one.folder / file).write_bytes(pretty(file, made))
