"""Ask the gateway in the words of either SDK, and read what came back, also when it was cut."""

import http.client
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.client import HTTPConnection
from typing import Any

from tests.harness.config import API_KEY

LIMIT_S = 40
Heard = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Told:
    """One answer. `clean` says whether HTTP itself ended it, rather than the connection."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    clean: bool

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def code(self) -> str | None:
        return self.headers.get("x-mobius-code")

    @property
    def request_id(self) -> str:
        return self.headers["x-request-id"]

    @property
    def events(self) -> list[Any]:
        """What each event of a stream says, `[DONE]` as it stands."""
        lines = [line for line in self.text.splitlines() if line.startswith("data: ")]
        pieces = [line.removeprefix("data: ") for line in lines]
        return [piece if piece == "[DONE]" else json.loads(piece) for piece in pieces]


@dataclass(frozen=True, slots=True)
class Dialect:
    """A wire protocol of callers; `end` is what only a complete stream holds."""

    name: str
    path: str
    end: str
    headers: Mapping[str, str] = field(default_factory=dict)

    def body(self, model: str, *, stream: bool = False, **fields: Any) -> dict[str, Any]:
        messages = [{"role": "user", "content": fields.pop("content", "count, please")}]
        streamed = {"stream": True} if stream else {}
        return {"model": model, "max_tokens": 8, "messages": messages, **streamed, **fields}

    def ask(self, url: str, model: str, *, stream: bool = False, **fields: Any) -> Told:
        """Send one request with the usual key and read its answer as far as it goes.

        `on_head` is called when the answer has begun.
        """
        key, on_head = fields.pop("key", API_KEY), fields.pop("on_head", None)
        headers = {"Authorization": f"Bearer {key}", **fields.pop("headers", {})}
        body = self.body(model, stream=stream, **fields)
        return self.post(url, body, headers, on_head=on_head)

    def post(
        self, url: str, body: object, headers: Mapping[str, str], on_head: Heard | None = None
    ) -> Told:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {**self.headers, **headers}
        return fetch(url, "POST", self.path, raw, sent, on_head=on_head)

    def error(self, told: Told) -> dict[str, Any]:
        """Return the error of a whole answer, once its envelope is that of the dialect."""
        said = told.json
        error: dict[str, Any] = said["error"]
        if self is ANTHROPIC:
            assert (said["type"], said["request_id"]) == ("error", told.request_id)
        else:
            assert (said.keys(), error["request_id"]) == ({"error"}, told.request_id)
        assert {"type", "message", "code", "param"} <= error.keys()
        assert error["code"] == told.code
        return error

    def stream_error(self, told: Told) -> dict[str, Any]:
        """Return the error that ended a stream: its last event, and no end besides."""
        assert not told.clean, "the stream was ended as if it were whole"
        assert self.end not in told.text
        error: dict[str, Any] = told.events[-1]["error"]
        if self is ANTHROPIC:
            assert "event: error\n" in told.text
        return error


OPENAI = Dialect("openai", "/v1/chat/completions", "[DONE]")
ANTHROPIC = Dialect(
    "anthropic", "/v1/messages", "message_stop", {"anthropic-version": "2023-06-01"}
)


def fetch(
    url: str,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    *,
    on_head: Heard | None = None,
) -> Told:
    """Send exactly this; the connection is this request's own."""
    connection = HTTPConnection(url.removeprefix("http://"), timeout=LIMIT_S)
    try:
        sent = {"Content-Type": "application/json"} if body is not None else {}
        connection.request(method, path, body, sent | dict(headers or {}))
        response = connection.getresponse()
        if on_head is not None:
            on_head()
        return read(response)
    finally:
        connection.close()


def read(response: http.client.HTTPResponse) -> Told:
    """Read an answer to its end, wherever that is."""
    headers = {name.lower(): value for name, value in response.getheaders()}
    pieces, clean = [], True
    try:
        while piece := response.read1(65536):
            pieces.append(piece)
    except (http.client.IncompleteRead, ConnectionError) as error:
        pieces.append(getattr(error, "partial", b""))
        clean = False
    return Told(response.status, headers, b"".join(pieces), clean)
