"""Play a golden case through the adapters: what came in, what each client dialect gets.

A case is a folder `tests/golden/<adapter>/<case>/`, written by us in the provider's shapes:
`request.json` (a client's body in the adapter's own dialect) and `upstream.json` or `upstream.sse`
(what the provider answers). The rest is what must come of it: `events.json`, `client.<dialect>.*`,
and `crossed.<dialect>.json`, the request as sent to a provider of the other dialect.
`python -m tests.unit.adapters.golden` writes what is missing; read it before it is committed.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from llm_gateway.adapters import ADAPTERS, CHAT_ADAPTERS, openai_chat, openai_completions
from llm_gateway.adapters.base import ChatAdapter
from llm_gateway.adapters.crossing import cross
from llm_gateway.adapters.sse import Framer
from llm_gateway.errors import GatewayError, UnexpressibleError
from llm_gateway.types import Call, Event, Facts, Quirks

ROOT = Path(__file__).parents[2] / "golden"
MODEL, REQUEST_ID, CREATED = "public-name", "req_1", 1_700_000_000
INPUTS = ("request.json", "upstream.json", "upstream.sse")
LIMIT = 4096
END = b""  # the frame that says that nothing follows


class Bound:
    upstream_name = "upstream-name"
    max_output_tokens: int | None = None


def cases() -> list[Path]:
    return sorted(path for path in ROOT.glob("*/*") if path.is_dir() and path.name[0] != "_")


def name_of(case: Path) -> str:
    return f"{case.parent.name}/{case.name}"


def call_of(case: Path) -> Call:
    body = json.loads((case / "request.json").read_bytes())
    return ADAPTERS[case.parent.name].parse_call(body, size=len(json.dumps(body)), **named(case))


def named(case: Path) -> dict[str, Any]:
    """Return what the path of a request says, in dialects whose bodies do not."""
    stream = {"stream": True} if (case / "upstream.sse").exists() else {}
    return {"model": "asked", **stream} if case.parent.name.startswith("gemini") else {}


def outputs(case: Path) -> dict[str, bytes]:
    """Return every file that follows from the inputs, by name."""
    call, adapter = call_of(case), ADAPTERS[case.parent.name]
    written = {"sent.json": adapter.render_relay(call, Bound(), Quirks()).body}
    if case.parent.name == openai_completions.name:
        written["crossed.openai_chat.json"] = crossed(openai_completions, openai_chat, call)
    if (case / "upstream.sse").exists() and case.parent.name not in CHAT_ADAPTERS:
        relay = openai_completions.relay(call, model=MODEL)
        sent = b"".join(map(relay.feed, Framer().feed((case / "upstream.sse").read_bytes())))
        return written | {f"client.{adapter.name}.sse": sent}
    if case.parent.name not in CHAT_ADAPTERS:
        answer, _facts = adapter.relay_answer((case / "upstream.json").read_bytes(), model=MODEL)
        return written | {f"client.{adapter.name}.json": answer}
    chat = CHAT_ADAPTERS[case.parent.name]
    written |= {f"crossed.{name}.json": crossed(chat, other, call) for name, other in others(chat)}
    if (case / "upstream.sse").exists():
        framer = Framer()
        frames = framer.feed((case / "upstream.sse").read_bytes())
        frames += [rest, END] if (rest := framer.rest()) else [END]
        return written | played(chat, call, frames)
    return written | answered(chat, call, (case / "upstream.json").read_bytes())


def others(chat: ChatAdapter) -> Iterator[tuple[str, ChatAdapter]]:
    return ((name, other) for name, other in CHAT_ADAPTERS.items() if name != chat.name)


def crossed(chat: Any, other: ChatAdapter, call: Call) -> bytes:
    try:
        request = chat.parse_request(call.body)
        return cross(chat, other, request, Quirks(), default_max_tokens=LIMIT).body
    except UnexpressibleError as error:
        return msgspec.json.encode({"refused": error.param, "message": error.message})


def answered(chat: ChatAdapter, call: Call, body: bytes) -> dict[str, bytes]:
    relayed, facts = chat.relay_answer(body, model=MODEL)
    events, again = chat.read_answer(body)
    assert again == facts, "relay and reader see the same facts"
    written = {"events.json": events_json(events, facts), f"client.{chat.name}.json": relayed}
    for name, other in others(chat):
        written[f"client.{name}.json"] = whole(other, events, call)
    return written


def whole(adapter: ChatAdapter, events: Iterable[Event], call: Call) -> bytes:
    return adapter.render_answer(events, call, model=MODEL, request_id=REQUEST_ID, created=CREATED)


def played(chat: ChatAdapter, call: Call, frames: list[bytes]) -> dict[str, bytes]:
    """Return what a stream becomes; an error in it ends it in the caller's dialect."""
    relay = chat.relay(call, model=MODEL)
    sent = b"".join(map(relay.feed, frames)) + failure(chat, relay.facts)
    events, facts = read(chat, frames)
    assert str(facts.error) == str(relay.facts.error), "relay and reader see the same error"
    written = {"events.json": events_json(events, facts), f"client.{chat.name}.sse": sent}
    for name, other in others(chat):
        writer = other.writer(call, model=MODEL, request_id=REQUEST_ID, created=CREATED)
        body = b"".join(map(writer.feed, events))
        body += failure(other, facts) if facts.error else writer.end()
        written[f"client.{name}.sse"] = body
    return written


def read(chat: ChatAdapter, frames: Iterable[bytes]) -> tuple[list[Event], Facts]:
    reader, events = chat.reader(), list[Event]()
    try:
        for frame in frames:
            events += reader.feed(frame)
    except GatewayError as error:
        assert error is reader.facts.error  # noqa: PT017  any other error is a failure
    return events, reader.facts


def failure(adapter: ChatAdapter, facts: Facts) -> bytes:
    if not isinstance(facts.error, GatewayError):
        return b""
    return adapter.render_stream_error(facts.error, request_id=REQUEST_ID)


def events_json(events: Iterable[Event], facts: Facts) -> bytes:
    return msgspec.json.encode(
        {
            "events": [[type(event).__name__, plain(event)] for event in events],
            "facts": {**plain(facts), "error": type(facts.error).__name__},
        }
    )


def plain(value: msgspec.Struct) -> dict[str, Any]:
    """Return the fields that are not at their default."""
    found = {}
    for field in msgspec.structs.fields(value):
        held = getattr(value, field.name)
        if held == field.default:
            continue
        found[field.name] = plain(held) if isinstance(held, msgspec.Struct) else str(held)
    return found


def pretty(name: str, content: bytes) -> bytes:
    """Return JSON the way it is read best; streams as they are."""
    if name.endswith(".sse"):
        return content
    return json.dumps(json.loads(content), indent=1, ensure_ascii=False).encode() + b"\n"


if __name__ == "__main__":
    for folder in cases():
        for file, made in outputs(folder).items():
            if not (folder / file).exists():
                (folder / file).write_bytes(pretty(file, made))
