"""Read the recorded exchanges of real providers, and send one through a gateway."""

import http.client
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct

from tests.harness.config import API_KEY
from tests.harness.replay import RECORDINGS

PATHS = {
    "openai.chat": "/v1/chat/completions",
    "openai.embeddings": "/v1/embeddings",
    "anthropic.messages": "/v1/messages",
    "anthropic.count_tokens": "/v1/messages/count_tokens",
}


class Recording(Struct, frozen=True):
    """One exchange as a provider had it."""

    id: str
    api: str
    request: dict[str, Any]
    status: int
    response: Any
    features: list[str]

    @property
    def streamed(self) -> bool:
        return self.status < 400 and isinstance(self.response, str)


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
