"""Run batches of messages as their provider does; one ends when a test opens the gate of its id."""

import json
import re
from collections.abc import Callable
from typing import Any

from typing_extensions import override

from tests.upstream.anthropic_wire import AnthropicMessages
from tests.upstream.wire import Answer, Event, Json, Prompt, dump, words

_PATH = re.compile(r"/v1/messages/batches/([^/]+)(?:/(results|cancel))?$")
_WHEN = "2026-01-01T00:00:00Z"
_MISSING = {"type": "error", "error": {"type": "not_found_error", "message": "Not found."}}
FAILS = "fails"  # how the id of a request begins that is answered with an error


class AnthropicBatches(AnthropicMessages):
    """What begins a batch. The bill has its input alone: what was put out stands in its results."""

    name = "anthropic.batches"

    @override
    def read(self, body: Json) -> Prompt:
        asked = [one["params"] for one in body["requests"]]
        return Prompt(
            model=str(asked[0].get("model")),
            tokens=words([one["messages"] for one in asked]),
            text="",
            limit=0,
        )

    @override
    def whole(self, answer: Answer) -> list[Event]:
        return [Event(dump(batch(id_of(answer.n), len(answer.body["requests"]), ended=False)))]


class Batches:
    """Every batch of this process: the key that began it, and what it asks."""

    def __init__(self) -> None:
        self._begun: dict[str, tuple[str, list[Json]]] = {}

    def begin(self, key: str, n: int, requests: list[Json]) -> None:
        self._begun[id_of(n)] = (key, requests)

    def asks(self, path: str) -> bool:
        return bool(_PATH.search(path))

    def answer(
        self, key: str, method: str, path: str, is_open: Callable[[str], bool]
    ) -> tuple[int, Any]:
        """Return status and body; a file of results is a text."""
        found = _PATH.search(path)
        assert found is not None, "asked before"
        name, part = found.groups()
        held = self._begun.get(name)
        if held is None or held[0] != key:
            return 404, _MISSING
        if method == "DELETE":
            del self._begun[name]
            return 200, {"id": name, "type": "message_batch_deleted"}
        ended = is_open(name)
        if part == "results":
            lines = [json.dumps(_result(one)) for one in held[1]] if ended else []
            return (200, "\n".join(lines) + "\n") if ended else (404, _MISSING)
        return 200, batch(name, len(held[1]), ended=ended)


def id_of(n: int) -> str:
    return f"msgbatch_up{n}"


def batch(name: str, requests: int, *, ended: bool) -> Json:
    counts = {"processing": 0 if ended else requests, "succeeded": requests if ended else 0}
    path = f"https://api.anthropic.example/v1/messages/batches/{name}/results"
    return {
        "id": name,
        "type": "message_batch",
        "processing_status": "ended" if ended else "in_progress",
        "request_counts": {**counts, "errored": 0, "canceled": 0, "expired": 0},
        "created_at": _WHEN,
        "expires_at": _WHEN,
        "ended_at": _WHEN if ended else None,
        "archived_at": None,
        "cancel_initiated_at": None,
        "results_url": path if ended else None,
    }


def _result(request: Json) -> Json:
    name, params = request["custom_id"], request["params"]
    if name.startswith(FAILS):
        error = {"type": "error", "error": {"type": "invalid_request_error", "message": "no"}}
        return {"custom_id": name, "result": {"type": "errored", "error": error}}
    said = "answered " * params["max_tokens"]
    message = {
        "id": f"msg_{name}",
        "type": "message",
        "role": "assistant",
        "model": params["model"],
        "content": [{"type": "text", "text": said.strip()}],
        "stop_reason": "max_tokens",
        "stop_sequence": None,
        "usage": {
            "input_tokens": words(params["messages"]),
            "output_tokens": params["max_tokens"],
        },
    }
    return {"custom_id": name, "result": {"type": "succeeded", "message": message}}
