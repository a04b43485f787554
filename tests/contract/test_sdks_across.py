"""Whoever answered, each official SDK reads it in its own dialect, whole and streamed alike.

What OpenAI's chat and Anthropic's messages say to each other is in `test_answers_across`.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from google import genai

from tests.contract.clients import Body, Clients, ask, whole
from tests.contract.conftest import Stage
from tests.contract.recordings import DOORS, UNREADABLE, Recording, everything
from tests.contract.test_gemini_answers_across import chunks_of
from tests.contract.test_gemini_answers_across import said as said_by_google
from tests.contract.test_gemini_sdk import client as google_client

HI: Body = {"messages": [{"role": "user", "content": "hi"}]}
ASKED: dict[str, tuple[str, Body]] = {
    "openai": ("openai.chat", HI),
    "anthropic": ("anthropic.messages", {**HI, "max_tokens": 100}),
    "responses": ("openai.responses", {"input": "hi"}),
}
CHATS = [
    api
    for api in DOORS
    if api.endswith((".chat", "_chat", ".messages", ".responses", "enerateContent"))
]
# Others count in ways of their own: what becomes of that is in `test_providers_recorded`.
COUNTED = [api for api in CHATS if DOORS[api].kind in {"openai", "anthropic", "gemini"}]
ROWS = [
    row
    for row in everything(*CHATS)
    if row.status < 400 and not row.breaks and not row.id.endswith(UNREADABLE)
]


def own(row: Recording) -> str:
    return "responses" if row.api == "openai.responses" else row.sdk


def pairs() -> Iterator[Any]:
    """Yield each answer with each SDK of another dialect that no other test has read it."""
    for row in ROWS:
        readers = {"responses", "gemini"} | (set(ASKED) if own(row) == "responses" else set())
        for reader in sorted(readers - {own(row)}):
            yield pytest.param(row, reader, id=f"{row.id}-{reader}")


@pytest.fixture(scope="module")
def google(served: Stage) -> Iterator[genai.Client]:
    with google_client(served.url) as made:
        yield made


@pytest.mark.parametrize(("row", "reader"), [*pairs()])
def test_an_answer_says_the_same_to_every_sdk(
    stage: Stage, clients: Clients, google: genai.Client, row: Recording, reader: str
) -> None:
    stage.play(row)
    wanted = said(stage, clients, row)
    for got in read(stage, clients, google, row.id, reader):
        assert got["text"] == wanted["text"]
        assert got["calls"] == wanted["calls"]
        counted = row.api in COUNTED and not row.id.endswith("usage_that_is_no_number")
        if counted and wanted["tokens"] is not None:
            assert got["tokens"] == wanted["tokens"]


def read(
    stage: Stage, clients: Clients, google: genai.Client, model: str, reader: str
) -> Iterator[Body]:
    """Yield what an SDK makes of the answer, whole and put together of its stream."""
    if reader == "gemini":
        models = google.models
        yield of_google([dumped(models.generate_content(model=model, contents="hi"))])
        chunks = models.generate_content_stream(model=model, contents="hi")
        yield of_google([dumped(chunk) for chunk in chunks])
        return
    api, body = ASKED[reader]
    client = clients.of("anthropic" if reader == "anthropic" else "openai", stage.url)
    yield READ[reader](ask(client, api, {**body, "model": model}).to_dict(mode="json"))
    streamed = {"stream_options": {"include_usage": True}} if reader == "openai" else {}
    yield READ[reader](
        whole(client, api, {**body, **streamed, "model": model}).to_dict(mode="json")
    )


def said(stage: Stage, clients: Clients, row: Recording) -> Body:
    """Return what the provider said, as its own SDK reads it from there."""
    if row.sdk == "gemini":
        return of_google(chunks_of(row.response))
    address, model = stage.provider(row)
    get = whole if row.streamed else ask
    answer = get(clients.of(row.sdk, address), row.api, {**row.request, "model": model})
    return READ[own(row)](answer.to_dict(mode="json", warnings=False))


def dumped(answer: Any) -> Body:
    found: Body = answer.model_dump(mode="json", by_alias=True, exclude_none=True)
    return found


def of_google(chunks: list[Body]) -> Body:
    found = said_by_google(chunks)
    usage = found["usage"]
    return {**found, "tokens": usage and usage[:2]}


def of_chat(body: Body) -> Body:
    message, usage = body["choices"][0].get("message") or {}, body.get("usage") or {}
    content = message.get("content")
    parts = content if isinstance(content, list) else [{"type": "text", "text": content or ""}]
    calls = [call["function"] for call in message.get("tool_calls") or ()]
    return {
        "text": "".join(part["text"] for part in parts if part["type"] == "text")
        + (message.get("refusal") or ""),
        "calls": [(call["name"], json.loads(call["arguments"] or "{}")) for call in calls],
        "tokens": tokens(usage.get("prompt_tokens"), usage.get("completion_tokens")),
    }


def of_message(body: Body) -> Body:
    usage = body["usage"]
    cached = [usage.get(f"cache_{kind}_input_tokens") or 0 for kind in ("read", "creation")]
    given = usage.get("input_tokens")
    taken = given + sum(cached) if isinstance(given, int) else None
    return {
        "text": "".join(one["text"] for one in body["content"] if one["type"] == "text"),
        "calls": [(o["name"], o["input"]) for o in body["content"] if o["type"] == "tool_use"],
        "tokens": tokens(taken, usage.get("output_tokens")),
    }


def of_response(body: Body) -> Body:
    items, usage = body["output"], body.get("usage") or {}
    parts = [part for one in items if one["type"] == "message" for part in one["content"]]
    calls = [one for one in items if one["type"] == "function_call"]
    return {
        "text": "".join(part.get("text") or part.get("refusal") or "" for part in parts),
        "calls": [(one["name"], json.loads(one["arguments"] or "{}")) for one in calls],
        "tokens": tokens(usage.get("input_tokens"), usage.get("output_tokens")),
    }


def tokens(*counts: object) -> tuple[int, ...] | None:
    """Return input and output; None where the provider told none, or no numbers."""
    told = tuple(count for count in counts if isinstance(count, int) and count >= 0)
    return told if len(told) == len(counts) else None


READ = {"openai": of_chat, "anthropic": of_message, "responses": of_response}
