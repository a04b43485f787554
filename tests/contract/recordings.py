"""Read exchanges with providers, recorded ones and our own golden ones, and send one's request."""

import http.client
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct

from tests.harness.config import API_KEY
from tests.harness.processes import PROJECT
from tests.harness.replay import RECORDINGS

GOLDEN = PROJECT / "tests" / "golden"
PATHS = {
    "openai.chat": "/v1/chat/completions",
    "openai.embeddings": "/v1/embeddings",
    "anthropic.messages": "/v1/messages",
    "anthropic.count_tokens": "/v1/messages/count_tokens",
}
CHATS = ("openai.chat", "anthropic.messages")
API = {"openai": "openai.chat", "anthropic": "anthropic.messages"}
OTHER = {"openai": "anthropic", "anthropic": "openai"}
# Golden streams that the gateway is there to mend: an SDK reads them from nobody else.
UNREADABLE = ("nested_model_and_spaces", "odd_lines", "usage_not_asked_for")


_ERROR = 400


class Recording(Struct, frozen=True):
    """One exchange as a provider had it, or as we wrote it in the provider's shapes."""

    id: str
    api: str
    request: dict[str, Any]
    status: int
    response: Any
    features: list[str]
    golden: bool = False
    relayed: Any = None  # what a golden case says a caller of its own dialect gets

    @property
    def streamed(self) -> bool:
        return self.status < 400 and isinstance(self.response, str)

    @property
    def kind(self) -> str:
        """The provider, as the catalogue names it."""
        return self.api.partition(".")[0]


class Reply(Struct, frozen=True):
    """What the gateway answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def recordings(*apis: str) -> list[Recording]:
    """Return the recordings of these apis; none where the folder is not here."""
    if not RECORDINGS.is_dir():
        return []
    found = []
    for path in sorted(RECORDINGS.glob("*.json")):
        row = json.loads(path.read_text())
        if row["api"] in apis:
            answer = row["response"]
            found.append(
                Recording(
                    row["id"],
                    row["api"],
                    row["request"]["body"],
                    answer["status"],
                    answer["body"],
                    row["features"],
                )
            )
    return found


def recorded_errors(*apis: str) -> list[Recording]:
    """Return the recordings of errors, or one that stands for their absence.

    The test asks for `replay_upstream` before anything else, and that names the leg as absent.
    """
    found = [row for row in recordings(*apis) if row.status >= _ERROR]
    return found or [Recording("absent", apis[0], {}, _ERROR, None, [])]


def golden(*apis: str) -> list[Recording]:
    """Return the golden cases of these apis; an error inside a stream is no answer."""
    found = []
    for path in sorted(GOLDEN.glob("*/*/request.json")):
        folder, api = path.parent, path.parts[-3].replace("_", ".", 1)
        if api not in apis or folder.name == "error_in_stream":
            continue
        found.append(
            Recording(
                f"golden-{folder.parent.name.replace('_', '-')}-{folder.name}",
                api,
                json.loads(path.read_text()),
                200,
                _body(folder, "upstream"),
                [],
                golden=True,
                relayed=_body(folder, f"client.{folder.parent.name}"),
            )
        )
    return found


def _body(folder: Path, stem: str) -> Any:
    """Return a stream as text, a whole answer as what its JSON says."""
    stream = folder / f"{stem}.sse"
    if stream.exists():
        return stream.read_text()
    return json.loads((folder / f"{stem}.json").read_text())


def everything(*apis: str) -> list[Recording]:
    return golden(*apis) + recordings(*apis)


def identifier(row: Recording) -> str:
    return row.id


def send(url: str, path: str, body: object, headers: Mapping[str, str] | None = None) -> Reply:
    """Post JSON, as a client without an SDK does."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)
    try:
        connection.request(
            "POST",
            path,
            json.dumps(body).encode(),
            {"Authorization": f"Bearer {API_KEY}", **(headers or {})},
        )
        answer = connection.getresponse()
        return Reply(answer.status, dict(answer.headers), answer.read())
    finally:
        connection.close()
